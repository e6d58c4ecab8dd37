"""Checkpoints: the whole state of a run on disk, a directory for each saved step.

    checkpoints/500/
      state/        parameters, batch statistics, optimizer states and the step, by Orbax
      run.json      the format's version, the config, the run's key, the collapse detector's state, the environment
      SHA256SUMS    the digest of each file above; ``sha256sum -c SHA256SUMS`` checks them by hand

A checkpoint is written as ``500.partial``, flushed to the disk, and renamed when it is complete. Orbax restores
damaged files without an error, so every digest is verified before anything is restored.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dcgan_jax.errors import UserError
from dcgan_jax.files import PARTIAL, flush
from dcgan_jax.state import GANState
from dcgan_jax.training.array_store import failure_reason, load_tree, save_tree, verify_tree
from dcgan_jax.training.environment import environment_info

FORMAT = 1  # incremented when checkpoints of the last version can no longer be read
_SUMS = "SHA256SUMS"
_REPLACED = ".replaced" + PARTIAL  # the suffix of a whole checkpoint while one of the same step takes its place
_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO}  # others say nothing about the content


class CheckpointError(UserError):
    """A checkpoint cannot be written or read."""


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is missing or has another digest; the message names it."""


class Checkpoint(NamedTuple):
    """What `restore_checkpoint` returns.

    Attributes:
      state: the state, its step included.
      key: the run's key.
      config: as passed to `save_checkpoint`; ``run.json`` keeps the key ``settings`` of earlier versions for it.
      collapse: likewise; ``watchdog`` in ``run.json``.
      environment: `environment_info` when it was saved; ``written_by`` in ``run.json``.
    """

    state: GANState
    key: jax.Array
    config: dict[str, Any]
    collapse: dict[str, Any]
    environment: dict[str, Any]


def save_checkpoint(
    folder: Path,
    state: GANState,
    key: jax.Array,
    config: dict[str, Any],
    keep: int = 3,
    keep_steps: Collection[int] = (),
    collapse: dict[str, Any] | None = None,
    devices: int = 1,
) -> list[str]:
    """Write ``folder/<step>``, then delete all but the newest ``keep`` checkpoints and those of ``keep_steps``.

    Args:
      folder: the run's ``checkpoints``; it is created if it does not exist.
      state: what to save; its ``step`` gives the name. In a job of several processes the primary alone saves.
      key: the run's PRNG key.
      config: the run's, as JSON can hold it.
      keep: the number of newest checkpoints to keep, this one included.
      keep_steps: steps whose checkpoints are kept as well.
      collapse: the collapse detector's state, as JSON can hold it.
      devices: the number of devices that share the run's batches.

    Returns:
      A line on each expired checkpoint that could not be deleted.

    Raises:
      CheckpointError: if it cannot be written completely. Earlier checkpoints are then as they were.
    """
    step = int(state.step)
    final, partial = folder / str(step), folder / f"{step}{PARTIAL}"
    description = {
        "format": FORMAT,
        "step": step,
        "settings": config,
        "watchdog": collapse or {},
        "key": {"impl": str(jax.random.key_impl(key)), "data": jax.random.key_data(key).tolist()},
        "written_by": environment_info(devices),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        partial.mkdir()
        save_tree(partial / "state", state)
        verify_tree(partial / "state", state)
        (partial / "run.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        _write_digests(partial)
        _publish(partial, final)
    except Exception as error:  # Orbax raises whatever its storage layers raise
        with contextlib.suppress(OSError):  # the next start removes it
            _remove(partial)
        raise CheckpointError(f"cannot write the checkpoint {final} ({failure_reason(error)})") from error
    problems = []
    for each in expired_steps(checkpoint_steps(folder), keep, keep_steps):
        expired = folder / f"{each}.old{PARTIAL}"  # never part of a checkpoint under a checkpoint's name
        try:
            _remove(expired)
            os.rename(folder / str(each), expired)
            _remove(expired)
        except OSError as error:  # the run can continue
            problems.append(f"cannot delete the expired checkpoint {folder / str(each)} ({failure_reason(error)})")
    return problems


def _publish(partial: Path, final: Path) -> None:
    """Rename a complete checkpoint to its own name, and flush that to the disk.

    One that already has the name keeps it, or one that `remove_partial` restores it from, until the new one has it.
    """
    replaced = final.with_name(final.name + _REPLACED)
    if final.exists():
        _remove(replaced)
        os.rename(final, replaced)
    try:
        os.rename(partial, final)
    except OSError:
        if replaced.exists():
            os.rename(replaced, final)
        raise
    flush(final.parent)
    with contextlib.suppress(OSError):  # the next start removes it
        _remove(replaced)


def expired_steps(steps: Sequence[int], keep: int, keep_steps: Collection[int]) -> list[int]:
    """Those of ``steps``, the newest first, that are neither among the first ``keep`` nor in ``keep_steps``."""
    return [step for step in steps[keep:] if step not in keep_steps]


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of all checkpoints in ``folder``, valid or damaged, the newest first; none if it does not exist.

    Raises:
      CheckpointError: if ``folder`` cannot be listed: what it holds must not be taken for nothing.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((int(e.name) for e in entries if e.name.isdecimal() and e.is_dir()), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"cannot list the checkpoints in {folder} ({failure_reason(error)})") from error


def latest_valid_step(folder: Path) -> tuple[int | None, list[str]]:
    """The step of the newest checkpoint whose digests are right, and a line on each newer one that is damaged.

    Raises:
      CheckpointError: if there are checkpoints and none is valid, or the newest valid one is of another format.
    """
    problems: list[str] = []
    for step in checkpoint_steps(folder):
        try:
            verify_checkpoint(folder / str(step))
        except DamagedCheckpointError as error:
            problems.append(str(error))
        else:
            return step, problems
    if problems:
        others = f" (as are {len(problems) - 1} others)" if len(problems) > 1 else ""
        raise CheckpointError(f"no checkpoint in {folder} is valid: {problems[0]}{others}; nothing was changed")
    return None, []


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """Compare every file of a checkpoint with its digest, and return the content of its ``run.json``.

    Raises:
      DamagedCheckpointError: if a file is missing or is not as it was written.
      CheckpointError: if the checkpoint is of another format, or cannot be read for a reason that is not its own.
    """
    try:
        names = set(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError) as error:  # a running process may have replaced it by a newer one
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except OSError as error:
        raise _unreadable(path, "its directory", error) from error
    if names and not names & {_SUMS, "run.json"}:
        raise CheckpointError(f"the checkpoint {path} has format 0, and this version reads format {FORMAT}")
    for name, expected in _read_sums(path).items():
        try:
            found = _digest(path / name)
        except OSError as error:
            raise _unreadable(path, name, error) from error
        if found != expected:
            raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {name} is not as it was written")
    try:
        description = json.loads((path / "run.json").read_text(encoding="utf-8"))
        version = description["format"]
    except OSError as error:
        raise _unreadable(path, "run.json", error) from error
    except (ValueError, KeyError, TypeError) as error:  # another program wrote the digests
        raise DamagedCheckpointError(f"the checkpoint {path} is damaged: run.json names no format") from error
    if version != FORMAT:
        raise CheckpointError(f"the checkpoint {path} has format {version}, and this version reads format {FORMAT}")
    return description


def restore_checkpoint(path: Path, like: GANState) -> Checkpoint:
    """Verify the checkpoint ``path``, and restore it.

    Args:
      path: ``<folder>/<step>``.
      like: a state of the same structure, for shapes, types and the static fields.

    Raises:
      CheckpointError: if it is missing, damaged, of another format, or holds another structure.
    """
    description = verify_checkpoint(path)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    try:
        state = load_tree(path / "state", abstract)
    except Exception as error:  # Orbax raises whatever its storage layers raise
        raise CheckpointError(f"cannot read the checkpoint {path} ({failure_reason(error)})") from error
    try:
        data = jax.numpy.asarray(description["key"]["data"], jax.numpy.uint32)
        key = jax.random.wrap_key_data(data, impl=description["key"]["impl"])
        collapse = dict(description.get("watchdog", {}))  # the first checkpoints of this format do not have it
        return Checkpoint(state, key, dict(description["settings"]), collapse, dict(description["written_by"]))
    except (KeyError, TypeError, ValueError) as error:  # written by another program, with matching digests
        raise CheckpointError(f"cannot read the checkpoint {path}: its run.json is incomplete") from error


def quarantine_after(folder: Path, step: int) -> None:
    """Rename the checkpoints after ``step`` to ``<step>.damaged``: they stay on the disk and are no longer listed.

    Raises:
      CheckpointError: if one cannot be renamed.
    """
    for newer in checkpoint_steps(folder):
        if newer > step:
            name, n = f"{newer}.damaged", 1
            while (folder / name).exists():
                n += 1
                name = f"{newer}.damaged.{n}"
            try:
                os.rename(folder / str(newer), folder / name)
            except OSError as error:
                damaged = folder / str(newer)
                raise CheckpointError(
                    f"cannot rename the damaged checkpoint {damaged} ({failure_reason(error)})"
                ) from error


def remove_partial(folder: Path) -> list[str]:
    """Remove the ``.partial`` files and directories that an interrupted write left in ``folder``.

    A checkpoint that was about to be replaced by another of its step, and has not been, gets its name back.

    Returns:
      A line on each that could not be removed.
    """
    problems = []
    for path in folder.glob("*" + PARTIAL):
        final = folder / path.name.removesuffix(_REPLACED)
        try:
            if path.name.endswith(_REPLACED) and not final.exists():
                os.rename(path, final)
            else:
                _remove(path)
        except OSError as error:
            problems.append(f"cannot delete {path}, which an interrupted write left ({failure_reason(error)})")
    return problems


def _write_digests(path: Path) -> None:
    """Write the digest of every file of a checkpoint, and flush all of it to the disk."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    lines = "".join(f"{_digest(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    of_lines = hashlib.sha256(lines.encode()).hexdigest()
    (path / _SUMS).write_text(f"{lines}# {of_lines}\n", encoding="utf-8")  # a comment to sha256sum
    for each in [*files, path / _SUMS, *(p for p in path.rglob("*") if p.is_dir()), path]:
        flush(each)


def _read_sums(path: Path) -> dict[str, str]:
    try:
        text = (path / _SUMS).read_bytes()
    except OSError as error:
        raise _unreadable(path, _SUMS, error) from error
    lines, _, of_lines = text.rpartition(b"# ")
    if of_lines != hashlib.sha256(lines).hexdigest().encode() + b"\n":
        raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {_SUMS} is not as it was written")
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines.decode().splitlines())}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, name: str, error: OSError) -> CheckpointError:
    """The error for a file of a checkpoint that cannot be read: damage, or too many open files for example."""
    if error.errno not in _DAMAGE:
        return CheckpointError(f"cannot read the checkpoint {path}: {name} ({error.strerror})")
    reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    return DamagedCheckpointError(f"the checkpoint {path} is damaged: {name} {reason}")


def _remove(path: Path) -> None:
    """Remove a file, a link or a directory, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
