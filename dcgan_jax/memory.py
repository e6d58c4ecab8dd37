"""Memory: how much is free, whether a compiled step fits, and returning the compiler's memory to the system."""

import ctypes
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from jax.sharding import Mesh
from jax.stages import Compiled

from dcgan_jax.errors import UserError

_NO_LIMIT = 2**62  # bytes; cgroup v1 reports 2**63 minus a page if there is no limit


class NotEnoughMemoryError(UserError):
    """A step needs more memory than is free."""


class _Hierarchy(NamedTuple):
    """Where a version of Linux's control groups reports a group's memory limit and its usage."""

    mount: str
    controller: str  # in /proc/self/cgroup
    limit: str
    used: str
    cached: str  # in memory.stat: file pages that are reclaimed before the group runs out of memory


_HIERARCHIES = (
    _Hierarchy("sys/fs/cgroup", "", "memory.max", "memory.current", "inactive_file"),
    _Hierarchy(
        "sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    ),
)


def is_large(size: int, free: int | None) -> bool:
    """Whether images of this many bytes are to stay in a file: more than a third of the free memory, if known."""
    return free is not None and 3 * size > free


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory available without swapping, or None if the system does not report them.

    On Linux it is the minimum of what the machine has available and what each control group around this process may
    still take, in cgroup v1 and v2: those of containers, of cluster jobs and of their steps.

    Args:
      root: the directory that has ``proc`` and ``sys``.
    """
    free = [kib * 1024 for kib in _named_numbers(root / "proc/meminfo", "MemAvailable:")]
    for hierarchy in _HIERARCHIES:
        mount = root / hierarchy.mount
        group = mount / _group_of_process(root, hierarchy.controller)
        # A limit at any level applies. A container may see only its own group, as the mount itself.
        for level in (group, *group.parents):
            free += _left(level, hierarchy)
            if level == mount:
                break
    return min(free, default=None)


def check_step_fits(step: Compiled, batch_size: int, mesh: Mesh) -> int | None:
    """Bytes that a step needs besides its arguments, on a CPU for all its devices; None if XLA does not report them.

    Raises:
      NotEnoughMemoryError: if that exceeds the memory that is free now.
    """
    device = mesh.local_devices[0]
    needed, free = _needed_bytes(step), free_on(device)
    if needed is not None and device.platform == "cpu":
        needed *= len(mesh.local_devices)
    if needed is None or free is None or needed <= free:
        return needed
    raise NotEnoughMemoryError(
        f"`batch_size` {batch_size:,}: a step takes {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are "
        "free: choose a smaller one, or smaller images"
    )


def release_free_memory() -> None:
    """Return freed memory to the system if the C library, glibc, keeps it.

    It keeps what the compiler or a checkpoint used, 0.1 to 0.3 GiB, and the step's arrays would come on top of it.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
    trim(0)


def _group_of_process(root: Path, controller: str) -> PurePosixPath:
    """The path of this process's group below the mount; the mount itself if none is given."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]  # such as 4:memory:/docker/3f2a, or 0::/job_5/step_0
        if controller in controllers.split(","):
            return PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in ("/", "..")))
    return PurePosixPath()


def _left(group: Path, hierarchy: _Hierarchy) -> Iterator[int]:
    """The bytes that a group may still take, if it has a limit."""
    try:
        limit, used = (int((group / name).read_text()) for name in (hierarchy.limit, hierarchy.used))
    except (OSError, ValueError):  # no such group or file, or "max"
        return
    if limit < _NO_LIMIT:
        yield max(limit - used + sum(_named_numbers(group / "memory.stat", hierarchy.cached)), 0)


def _named_numbers(path: Path, name: str) -> Iterator[int]:
    """The numbers of lines such as ``inactive_file 4096`` and ``MemAvailable: 4096 kB``."""
    for line in _lines(path):
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            yield int(words[1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:  # not Linux, or a file of the other version
        return []


def _needed_bytes(step: Compiled) -> int | None:
    """Besides the arguments; None if XLA does not report them."""
    sizes = step.memory_analysis()
    return None if sizes is None else sizes.temp_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes


def free_on(device: Any) -> int | None:
    """Free bytes of a device's memory, or None if it does not report them."""
    if device.platform == "cpu":
        return free_memory()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats or "bytes_in_use" not in stats:
        return None
    return stats["bytes_limit"] - stats["bytes_in_use"]
