"""Checkpoints: the whole state of a run on disk, a folder for each step saved.

    checkpoints/500/
      state/        parameters, batch statistics, optimizer slots and the step, by Orbax
      run.json      the format's version, the settings, the run's key, what the watchdog saw, and what wrote it
      SHA256SUMS    the digest of each file above; ``sha256sum -c SHA256SUMS`` checks them by hand

A checkpoint is written as ``500.partial``, flushed to the disk, and renamed when it is whole. Orbax reads
damaged files without a word, so nothing is restored before every digest has been verified.
"""

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dcgan_jax.errors import first_line
from dcgan_jax.state import GANState

FORMAT = 1  # counts up when a checkpoint of the last version cannot be read as before
_SUMS = "SHA256SUMS"
_PACKAGES = ("dcgan-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message is one line that says which and why."""


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is not as it was written; the message names it."""


class Checkpoint(NamedTuple):
    """What `restore_checkpoint` returns.

    Attributes:
      state: the state, its step included.
      key: the run's key.
      settings: as given to `save_checkpoint`.
      watchdog: likewise.
      written_by: versions of packages, the kind of device, and threads.
    """

    state: GANState
    key: jax.Array
    settings: dict[str, Any]
    watchdog: dict[str, Any]
    written_by: dict[str, Any]


def save_checkpoint(
    folder: Path,
    state: GANState,
    key: jax.Array,
    settings: dict[str, Any],
    keep: int = 3,
    spare: Collection[int] = (),
    watchdog: dict[str, Any] | None = None,
    devices: int = 1,
) -> None:
    """Write ``folder/<step>``, and keep the newest ``keep`` checkpoints and those at the steps to ``spare``.

    Args:
      folder: the run's ``checkpoints``; it is made if need be.
      state: what to save; its ``step`` gives the name. In a job of several processes the first alone saves.
      key: the run's PRNG key.
      settings: the run's, as JSON can hold them.
      keep: how many checkpoints to keep, this one included.
      spare: steps whose checkpoints are kept beside these.
      watchdog: what it has seen, as JSON can hold it.
      devices: how many share the run's batches.

    Raises:
      CheckpointError: if it cannot be written whole. Earlier checkpoints are then as they were.
    """
    step = int(state.step)
    final, partial, old = folder / str(step), folder / f"{step}.partial", folder / f"{step}.old.partial"
    description = {
        "format": FORMAT,
        "step": step,
        "settings": settings,
        "watchdog": watchdog or {},
        "key": {"impl": str(jax.random.key_impl(key)), "data": jax.random.key_data(key).tolist()},
        "written_by": written_by(devices),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        partial.mkdir()
        _save_tree(partial / "state", state)
        (partial / "run.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        _seal(partial)
        if final.exists():
            os.rename(final, old)
        os.rename(partial, final)
        _flush(folder)
    except Exception as error:  # Orbax raises whatever its storage layers raise
        _remove(partial)
        raise CheckpointError(f"cannot write the checkpoint {final} ({_reason(error)})") from error
    _remove(old)
    for each in (each for each in checkpoint_steps(folder)[keep:] if each not in spare):
        dropped = folder / f"{each}.old.partial"  # never half a checkpoint under a checkpoint's name
        os.rename(folder / str(each), dropped)
        _remove(dropped)


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of all checkpoints in ``folder``, whole or damaged, the newest first."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted((int(p.name) for p in entries if p.name.isdecimal() and p.is_dir()), reverse=True)


def newest_intact(folder: Path) -> tuple[int | None, list[str]]:
    """The step of the newest checkpoint that is as it was written, and a line on each newer one that is not.

    Raises:
      CheckpointError: if there are checkpoints and none is intact, or the newest intact one is of another format.
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
        raise CheckpointError(f"no checkpoint in {folder} is intact: {problems[0]}{others}; nothing was changed")
    return None, []


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """Compare every file of a checkpoint with its digest; the content of its ``run.json``.

    Raises:
      DamagedCheckpointError: if a file is missing or is not as it was written.
      CheckpointError: if the checkpoint is of another format.
    """
    if not path.is_dir():  # a newer one has taken its place meanwhile
        raise CheckpointError(f"there is no checkpoint {path}")
    if not (path / _SUMS).exists() and not (path / "run.json").exists() and any(path.iterdir()):
        raise CheckpointError(f"the checkpoint {path} has format 0, and this version reads format {FORMAT}")
    for name, expected in _read_sums(path).items():
        try:
            found = _digest(path / name)
        except OSError as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {name} {reason}") from error
        if found != expected:
            raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {name} is not as it was written")
    try:
        description = json.loads((path / "run.json").read_text(encoding="utf-8"))
        version = description["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:  # sealed by another hand
        raise DamagedCheckpointError(f"the checkpoint {path} is damaged: run.json names no format") from error
    if version != FORMAT:
        raise CheckpointError(f"the checkpoint {path} has format {version}, and this version reads format {FORMAT}")
    return description


def restore_checkpoint(path: Path, like: GANState) -> Checkpoint:
    """Read ``path``, once it is verified.

    Args:
      path: ``<folder>/<step>``.
      like: a state of the same structure, for shapes, types and the static fields.

    Raises:
      CheckpointError: if it is missing, damaged, of another format, or holds another structure.
    """
    description = verify_checkpoint(path)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    try:
        state = _load_tree(path / "state", abstract)
    except Exception as error:  # Orbax raises whatever its storage layers raise
        raise CheckpointError(f"cannot read the checkpoint {path} ({_reason(error)})") from error
    try:
        data = jax.numpy.asarray(description["key"]["data"], jax.numpy.uint32)
        key = jax.random.wrap_key_data(data, impl=description["key"]["impl"])
        watchdog = dict(description.get("watchdog", {}))  # a later part of the format: without it, it begins afresh
        return Checkpoint(state, key, dict(description["settings"]), watchdog, dict(description["written_by"]))
    except (KeyError, TypeError, ValueError) as error:  # written by another program, with digests that fit
        raise CheckpointError(f"cannot read the checkpoint {path}: its run.json is incomplete") from error


def set_aside(folder: Path, newer_than: int) -> None:
    """Rename the checkpoints that lie past a step to ``<step>.damaged``: kept, and no longer counted."""
    for step in checkpoint_steps(folder):
        if step > newer_than:
            name, n = f"{step}.damaged", 1
            while (folder / name).exists():
                n += 1
                name = f"{step}.damaged.{n}"
            os.rename(folder / str(step), folder / name)


def clear_leftovers(folder: Path) -> None:
    """Remove what a save that was cut off left in ``folder``."""
    for path in folder.glob("*.partial"):
        _remove(path)


def written_by(devices: int) -> dict[str, Any]:
    """What a run's bits depend on beside its settings: versions, the kind of device, how many, threads."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # imported from a folder, not installed
            versions[name] = None
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        **versions,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "devices": devices,
        "threads": int(os.environ.get("PJRT_NPROC") or affinity or 1),
    }


def _save_tree(path: Path, tree: Any) -> None:
    _quiet()
    if jax.process_count() == 1:
        from orbax.checkpoint import v1  # imported when used: it takes about a second

        v1.save(str(path.absolute()), tree)
        return
    import orbax.checkpoint as ocp

    # The newer interface would have every process of a job save; with this one the first does it alone.
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(path.absolute(), args=ocp.args.PyTreeSave(jax.device_get(tree)))


def _load_tree(path: Path, like: Any) -> Any:
    _quiet()
    from orbax.checkpoint import v1

    alone = v1.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    with v1.Context(multiprocessing_options=alone):
        return v1.load(str(path.absolute()), like)


def _quiet() -> None:
    """Orbax tells of every file it writes, and of an error at length before it raises it."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)


def _seal(path: Path) -> None:
    """Flush every file of a checkpoint to the disk, then write their digests, and flush those."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    lines = "".join(f"{_digest(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    own = hashlib.sha256(lines.encode()).hexdigest()
    (path / _SUMS).write_text(f"{lines}# {own}\n", encoding="utf-8")  # a comment to sha256sum
    for each in [*files, path / _SUMS, *(p for p in path.rglob("*") if p.is_dir()), path]:
        _flush(each)


def _read_sums(path: Path) -> dict[str, str]:
    try:
        text = (path / _SUMS).read_bytes()
    except OSError as error:
        raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {_SUMS} is missing") from error
    lines, _, own = text.rpartition(b"# ")
    if own != hashlib.sha256(lines).hexdigest().encode() + b"\n":
        raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {_SUMS} is not as it was written")
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines.decode().splitlines())}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows flushes no folders
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "RESOURCE_EXHAUSTED" in str(error):  # TensorStore's words for it run over several lines
        return "no space left on the disk"
    return first_line(error)
