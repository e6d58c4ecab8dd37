"""The digests of a checkpoint's files, which are verified before anything is restored."""

import errno
import hashlib
import os
from pathlib import Path

from dcgan_jax.errors import UserError
from dcgan_jax.files import flush

SUMS = "SHA256SUMS"
_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO}  # other errors do not concern the content


class CheckpointError(UserError):
    """A checkpoint cannot be written or read."""


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is missing or has another digest; the message names it."""


def write_digests(path: Path) -> None:
    """Write the SHA-256 of every file of a checkpoint to ``SHA256SUMS``, and flush the whole checkpoint to disk."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    lines = "".join(f"{_digest(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    of_lines = hashlib.sha256(lines.encode()).hexdigest()
    (path / SUMS).write_text(f"{lines}# {of_lines}\n", encoding="utf-8")  # a comment to sha256sum
    for each in [*files, path / SUMS, *(p for p in path.rglob("*") if p.is_dir()), path]:
        flush(each)


def verify_digests(path: Path) -> None:
    """Compare every file of a checkpoint with its digest.

    Raises:
      DamagedCheckpointError: if a file is missing or does not match its digest.
      CheckpointError: if there is no checkpoint, or it cannot be read for a reason other than damage.
    """
    try:
        os.listdir(path)
    except (FileNotFoundError, NotADirectoryError) as error:  # a running process may have replaced it by a newer one
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except OSError as error:
        raise unreadable(path, "its directory", error) from error
    for name, expected in _read_sums(path).items():
        try:
            found = _digest(path / name)
        except OSError as error:
            raise unreadable(path, name, error) from error
        if found != expected:
            raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {name} is not as it was written")


def _read_sums(path: Path) -> dict[str, str]:
    try:
        text = (path / SUMS).read_bytes()
    except OSError as error:
        raise unreadable(path, SUMS, error) from error
    lines, _, of_lines = text.rpartition(b"# ")
    if of_lines != hashlib.sha256(lines).hexdigest().encode() + b"\n":
        raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {SUMS} is not as it was written")
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines.decode().splitlines())}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unreadable(path: Path, name: str, error: OSError) -> CheckpointError:
    """The error for a checkpoint's file that cannot be read: damage, or another reason such as too many open files."""
    if error.errno not in _DAMAGE:
        return CheckpointError(f"cannot read the checkpoint {path}: {name} ({error.strerror})")
    reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    return DamagedCheckpointError(f"the checkpoint {path} is damaged: {name} {reason}")
