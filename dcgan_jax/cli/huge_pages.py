"""Huge pages for a command's memory, on Linux: the process restarts itself, as only a new one can request them.

On a CPU, XLA allocates a step's temporary arrays, a third of a gigabyte at batch size 64, as one block and frees it
after each step. With pages of 4 KiB the next step has 90,000 page faults, a sixth of its time; with pages of 2 MiB a
few hundred. The bits are the same.
"""

import contextlib
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

FLAG = "--no-huge-pages"
_COMMANDS = ("train", "evaluate", "train-classifier", "data")  # those that compute for minutes, or measure train
_TUNABLES = "GLIBC_TUNABLES"
_GLIBC = (2, 35)  # the first version with the setting
_SYSTEM_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_ACCELERATORS = ("nvidia[0-9]*", "kfd", "accel*", "vfio/[0-9]*")  # NVIDIA's, AMD's and Google's, in /dev


def restart_with_huge_pages(argv: Sequence[str]) -> None:
    """Restart this program, in the same process, with huge pages for its allocations, if that is useful.

    Only the first lines of a program may call it, before JAX is imported, because everything before it is repeated. It
    returns without a restart in the restarted program (where ``GLIBC_TUNABLES`` is set), for commands that do not
    compute on a CPU, under a debugger, in a program that cannot be run again, with another C library, and if the system
    uses huge pages for all programs or for none.

    Args:
      argv: the command and its arguments.
    """
    computes = argv[:1] and argv[0] in _COMMANDS and not {FLAG, "-h", "--help"} & set(argv)
    is_watched = sys.gettrace() is not None or sys.getprofile() is not None  # by a debugger or a profiler
    if computes and not is_watched and is_started_by(sys.orig_argv, sys.argv) and is_of_use():
        environment = {**os.environ, _TUNABLES: "glibc.malloc.hugetlb=1"}
        with contextlib.suppress(OSError):  # the program continues without huge pages
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def is_of_use() -> bool:
    """Whether programs that request huge pages get them, this one has not requested them, and the CPU computes."""
    try:
        library, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # pyright: ignore[reportOptionalMemberAccess]
        on_request = "[madvise]" in _SYSTEM_SETTING.read_text()
    except (AttributeError, OSError, ValueError):
        return False
    new = library == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= _GLIBC
    return new and on_request and _TUNABLES not in os.environ and not _has_accelerator()


def is_started_by(command_line: Sequence[str], argv: Sequence[str]) -> bool:
    """Whether the command line starts this program directly, so that it can be run again.

    It does not if it starts another program that runs this one, such as a notebook or a debugger, or reads it from a
    pipe.

    Args:
      command_line: as `sys.orig_argv`: Python, its options, and what it runs.
      argv: as `sys.argv`.
    """
    words = list(
        itertools.dropwhile(lambda word: word.startswith("-") and word not in ("-m", "-c", "-"), command_line[1:])
    )
    return words[:1] != ["-"] and words in (list(argv), ["-m", "dcgan_jax", *argv[1:]])


def _has_accelerator() -> bool:
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    return any(any(Path("/dev").glob(pattern)) for pattern in _ACCELERATORS)
