"""The memory of a compiled step: whether it is free, and giving back what the compiler had."""

import ctypes
from typing import Any

from jax.sharding import Mesh
from jax.stages import Compiled

from dcgan_jax.data.fitting import free_memory
from dcgan_jax.training.config import ConfigError


def check_step_fits(step: Compiled, batch_size: int, mesh: Mesh) -> None:
    """Raises: ConfigError if the step needs more memory than is free now; of a CPU for all of its devices."""
    device = mesh.local_devices[0]
    needed, free = _needed_bytes(step), _free_bytes(device)
    if needed is not None and device.platform == "cpu":
        needed *= len(mesh.local_devices)
    if needed is None or free is None or needed <= free:
        return
    raise ConfigError(
        f"--batch-size {batch_size:,}: a step takes {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are "
        "free: choose a smaller one, or smaller images"
    )


def release_free_memory() -> None:
    """Give freed memory back to the system, where the C library keeps it: glibc.

    It keeps what the compiler or a checkpoint had, 0.1 to 0.3 GiB, and the step's arrays would come on top of it.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
    trim(0)


def _needed_bytes(step: Compiled) -> int | None:
    """Beside the arguments; None where XLA does not say."""
    sizes = step.memory_analysis()
    return None if sizes is None else sizes.temp_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes


def _free_bytes(device: Any) -> int | None:
    if device.platform == "cpu":
        return free_memory()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats or "bytes_in_use" not in stats:
        return None
    return stats["bytes_limit"] - stats["bytes_in_use"]
