"""Files that are replaced atomically, and files whose content is verified by a digest."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from dcgan_jax.errors import UserError

PARTIAL = ".partial"  # the suffix of a file being written; a killed process leaves it behind


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Create or replace a file atomically: no reader ever sees a partial file, even after a crash.

    Args:
      path: the file.
      write: writes the whole content to the path it is given, ``<name>.partial`` next to ``path``, which is then
        flushed to disk and renamed.

    Raises:
      OSError: if the file cannot be written; it names ``path``, or its directory if that is missing. ``path`` is then
        unchanged, also if ``write`` raises.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with errors_name(path):
            write(partial)
            flush(partial)
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            partial.unlink(missing_ok=True)
        raise


def create_dir(path: Path, write: Callable[[Path], object]) -> None:
    """Create a directory, or fill an empty one, atomically: it never has only part of its files.

    Args:
      path: the directory, which is new or empty.
      write: writes all files into the directory it is given, ``<name>.partial`` next to ``path``. They are then flushed
        to disk, and the directory is renamed.

    Raises:
      OSError: if a file cannot be written, or ``<name>.partial`` exists: another process is writing it, or was killed.
        ``path`` is then unchanged, also if ``write`` raises.
    """
    partial = path.with_name(path.name + PARTIAL)
    partial.mkdir()
    try:
        with errors_name(path):
            write(partial)
            for each in (*partial.iterdir(), partial):
                flush(each)
            if os.name == "nt" and path.is_dir():  # Windows cannot rename to an existing directory
                path.rmdir()
            os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Within this context, an OSError names the file being written: ``path``, or its directory if that is missing."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not from the operating system
            raise
        missing = isinstance(error, FileNotFoundError) and not path.parent.exists()
        raise OSError(error.errno, error.strerror, str(path.parent if missing else path)) from error


def flush(path: Path) -> None:
    """Flush a file's content, or a directory's entries, to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot flush directories
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_verified(path: Path, sha256: str, error: type[UserError], remedy: str) -> bytes:
    """The bytes of a file whose SHA-256 digest is known.

    Args:
      path: the file.
      sha256: the digest, in hexadecimal.
      error: the class of error to raise.
      remedy: what the user should do, as the end of the error message.

    Raises:
      error: if the file cannot be read, or has another digest.
    """
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise error(f"cannot read {path} ({failure.strerror}): {remedy}") from failure
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise error(f"{path} is damaged or another file (SHA-256 {found[:12]}..., expected {sha256[:12]}...): {remedy}")
    return content


def replace_text(path: Path, text: str) -> None:
    """`replace_file` with text."""
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))
