"""Output paths of a command: new files in existing directories, checked before the work begins."""

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from dcgan_jax.files import PARTIAL
from dcgan_jax.paths import local_path
from dcgan_jax.training.config import ConfigError


def no_names(path: str) -> Iterable[str]:
    """No files beside one."""
    return ()


def new_path(
    out: str | None, stem: str, suffix: str, beside: Callable[[str], Iterable[str]] = no_names, flag: str = "--out"
) -> Path:
    """The path ``out``, or if it is None the first of ``stem``, ``stem-2``, ... that is free in the working directory.

    A name is free if no file has it with the suffix, or one of the names of ``beside``, which takes the name without
    suffix. ``flag`` is the flag of ``out``, for messages.

    Raises:
      ConfigError, PathError: if the path cannot be printed, or is not a local one.
    """
    if out is not None:
        check_printable(out)
        return local_path(out, flag)
    stems = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
    free = (each for each in stems if not any(map(os.path.lexists, (each + suffix, *beside(each)))))
    return Path(next(free) + suffix)


def new_file(
    out: str | None,
    stem: str,
    suffixes: tuple[str, ...],
    note: str = "",
    beside: Callable[[str], Iterable[str]] = no_names,
    flag: str = "--out",
) -> Path:
    """`new_path` with the first of the suffixes, checked as by `check_new_file`."""
    path = new_path(out, stem, suffixes[0], beside, flag)
    check_new_file(path, suffixes, note, flag)
    return path


def check_printable(*names: str) -> None:
    """Raises: ConfigError for a file name that is not printable, as it is printed when the work is done."""
    for name in names:
        if not name.isprintable():
            raise ConfigError(f"file names must be printable text, got {name!r}")


def check_new_file(path: Path, suffixes: tuple[str, ...], note: str = "", flag: str = "--out") -> None:
    """Raises: ConfigError unless ``--out`` has one of the suffixes, is new, and its directory can be written."""
    check_suffix(path, suffixes, note, flag)
    if os.path.lexists(path):
        raise ConfigError(f"{path} already exists: choose another {flag}")
    check_folder(path.parent, flag)


def check_suffix(path: Path, suffixes: tuple[str, ...], note: str = "", flag: str = "--out") -> None:
    """Raises: ConfigError unless ``--out`` has one of the suffixes."""
    if not path.name.endswith(suffixes):
        raise ConfigError(f"{flag} must end in {' or '.join(suffixes)}{note}, got {path}")


def check_folder(folder: Path, flag: str = "--out") -> None:
    """Raises: ConfigError unless the directory of ``--out`` exists and can be written."""
    if not folder.is_dir():
        problem = "is not a directory" if os.path.lexists(folder) else "does not exist"
        raise ConfigError(f"the directory {folder} of {flag} {problem}: create it, or choose another {flag}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write in the directory {folder} of {flag}: choose another {flag}")


def check_no_partial(folder: Path) -> None:
    """Raises: ConfigError if the directory ``--out`` is being written, or an interrupted write left its partial one."""
    partial = folder.with_name(folder.name + PARTIAL)
    if os.path.lexists(partial):
        raise ConfigError(f"{partial} exists: another command writes it, or one that was killed left it: remove it")
