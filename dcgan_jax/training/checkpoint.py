"""Checkpoints: the whole state of a run on disk, in a directory per saved step.

    checkpoints/500/
      state/        parameters, batch statistics, optimizer states and the step, by Orbax
      run.json      the format's version, the config and the record, the run's key, the monitor's state, the
                    environment, and the paths, shapes and dtypes of the state
      SHA256SUMS    the digest of each file above; ``sha256sum -c SHA256SUMS`` checks them by hand

A checkpoint is written as ``500.partial``, flushed to disk, and renamed when it is complete. Orbax restores
damaged files without an error, so every digest is verified before anything is restored.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dcgan_jax.files import PARTIAL, flush
from dcgan_jax.state import GANState
from dcgan_jax.training.array_store import (
    describe_tree,
    failure_reason,
    first_difference,
    load_tree,
    save_tree,
    verify_tree,
)
from dcgan_jax.training.digests import (
    CheckpointError,
    DamagedCheckpointError,
    unreadable,
    verify_digests,
    write_digests,
)
from dcgan_jax.training.environment import environment_info
from dcgan_jax.training.record import EARLIER, FORMAT

_REPLACED = ".replaced" + PARTIAL  # the suffix of a complete checkpoint while another of its step replaces it


class Verified(NamedTuple):
    """A checkpoint whose files all match their digests, and the content of its ``run.json``.

    Attributes:
      path: its directory, ``<folder>/<step>``.
      step: its step.
      key: the run's key.
      config, record, collapse: as passed to `save_checkpoint`.
      environment: `environment_info` when it was saved.
      tree: `describe_tree` of its state.
    """

    path: Path
    step: int
    key: jax.Array
    config: dict[str, Any]
    record: dict[str, Any]
    collapse: dict[str, Any]
    environment: dict[str, Any]
    tree: dict[str, str]


def save_checkpoint(
    folder: Path,
    state: GANState,
    key: jax.Array,
    config: dict[str, Any],
    keep: int = 3,
    keep_steps: Collection[int] = (),
    record: dict[str, Any] | None = None,
    collapse: dict[str, Any] | None = None,
    devices: int = 1,
) -> list[str]:
    """Write ``folder/<step>``, then delete all but the newest ``keep`` checkpoints and those of ``keep_steps``.

    Args:
      folder: the run's ``checkpoints``; it is created if it does not exist.
      state: the state; its ``step`` is the checkpoint's name. In a job of several processes only the primary saves.
      key: the run's PRNG key.
      config: the run's config as a JSON object.
      keep: the number of newest checkpoints to keep, this one included.
      keep_steps: steps whose checkpoints are kept as well.
      record: the run's record as a JSON object.
      collapse: `Monitor.state_dict`.
      devices: the number of devices that share the run's batches.

    Returns:
      A line for each expired checkpoint that could not be deleted.

    Raises:
      CheckpointError: if it cannot be written completely. Earlier checkpoints are then unchanged.
    """
    step = int(state.step)
    final, partial = folder / str(step), folder / f"{step}{PARTIAL}"
    description = {
        "format": FORMAT,
        "step": step,
        "config": config,
        "record": record or {},
        "collapse": collapse or {},
        "key": {"impl": str(jax.random.key_impl(key)), "data": jax.random.key_data(key).tolist()},
        "environment": environment_info(devices),
        "tree": describe_tree(state),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        partial.mkdir()
        save_tree(partial / "state", state)
        verify_tree(partial / "state", state)
        (partial / "run.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        write_digests(partial)
        _publish(partial, final)
    except Exception as error:  # Orbax raises whatever its storage layers raise
        with contextlib.suppress(OSError):  # the next start removes it
            _remove(partial)
        raise CheckpointError(f"cannot write the checkpoint {final} ({failure_reason(error)})") from error
    problems = []
    for each in expired_steps(checkpoint_steps(folder), keep, keep_steps):
        expired = folder / f"{each}.old{PARTIAL}"  # a checkpoint's name never has only part of one
        try:
            _remove(expired)
            os.rename(folder / str(each), expired)
            _remove(expired)
        except OSError as error:  # the run can continue
            problems.append(f"cannot delete the expired checkpoint {folder / str(each)} ({failure_reason(error)})")
    return problems


def _publish(partial: Path, final: Path) -> None:
    """Rename a complete checkpoint to its final name, and flush the directory to disk.

    An existing checkpoint of that name is moved aside first; `remove_partial` restores it after an interruption.
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
    """Those of ``steps``, newest first, that are neither among the first ``keep`` nor in ``keep_steps``."""
    return [step for step in steps[keep:] if step not in keep_steps]


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of all checkpoints in ``folder``, valid or damaged, newest first; none if it does not exist.

    Raises:
      CheckpointError: if ``folder`` cannot be listed, as it must not be mistaken for an empty one.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((int(e.name) for e in entries if e.name.isdecimal() and e.is_dir()), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"cannot list the checkpoints in {folder} ({failure_reason(error)})") from error


def latest_checkpoint(folder: Path) -> tuple[Verified | None, list[str]]:
    """The newest checkpoint with valid digests, and a line for each newer one, which is damaged.

    Raises:
      CheckpointError: if there are checkpoints and none is valid, or the newest valid one is of another format.
    """
    problems: list[str] = []
    for step in checkpoint_steps(folder):
        try:
            return verify_checkpoint(folder / str(step)), problems
        except DamagedCheckpointError as error:
            problems.append(str(error))
    if problems:
        others = f" (as are {len(problems) - 1} others)" if len(problems) > 1 else ""
        raise CheckpointError(f"no checkpoint in {folder} is valid: {problems[0]}{others}; nothing was changed")
    return None, []


def verify_checkpoint(path: Path) -> Verified:
    """Compare every file of a checkpoint with its digest, and read its ``run.json``.

    Raises:
      DamagedCheckpointError: if a file is missing or does not match its digest.
      CheckpointError: if the checkpoint has another format, or cannot be read for a reason other than damage.
    """
    verify_digests(path)
    try:
        description = json.loads((path / "run.json").read_text(encoding="utf-8"))
        version = description["format"]
    except OSError as error:
        raise unreadable(path, "run.json", error) from error
    except (ValueError, KeyError, TypeError) as error:  # another program wrote the digests
        raise DamagedCheckpointError(f"the checkpoint {path} is damaged: run.json names no format") from error
    if version != FORMAT:
        advice = f": {EARLIER}" if version == 1 else ""
        raise CheckpointError(
            f"the checkpoint {path} has format {version}, and this version reads format {FORMAT}{advice}"
        )
    try:
        data = jax.numpy.asarray(description["key"]["data"], jax.numpy.uint32)
        key = jax.random.wrap_key_data(data, impl=description["key"]["impl"])
        texts = (dict(description[name]) for name in ("config", "record", "collapse", "environment", "tree"))
        return Verified(path, int(description["step"]), key, *texts)
    except (KeyError, TypeError, ValueError) as error:  # written by another program, with matching digests
        raise CheckpointError(f"cannot read the checkpoint {path}: its run.json is incomplete") from error


def check_structure(checkpoint: Verified, like: GANState) -> None:
    """Raises: CheckpointError if a checkpoint's arrays have other paths, shapes or dtypes than those of ``like``."""
    different = first_difference(checkpoint.tree, describe_tree(like), "in the checkpoint", "in the state")
    if different:
        raise CheckpointError(
            f"cannot read the checkpoint {checkpoint.path} for a state of this structure: {different}"
        )


def restore_checkpoint(checkpoint: Verified, like: GANState) -> GANState:
    """The state of a checkpoint.

    Args:
      checkpoint: from `verify_checkpoint` or `latest_checkpoint`.
      like: a state of the same structure, for shapes, dtypes, shardings and static fields.

    Raises:
      CheckpointError: if it cannot be read, or holds a state of another structure.
    """
    check_structure(checkpoint, like)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    try:
        return load_tree(checkpoint.path / "state", abstract)
    except Exception as error:  # Orbax raises whatever its storage layers raise
        raise CheckpointError(f"cannot read the checkpoint {checkpoint.path} ({failure_reason(error)})") from error


def quarantine_after(folder: Path, step: int) -> None:
    """Rename the checkpoints after ``step`` to ``<step>.damaged``: they stay on disk, but are no longer listed.

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

    A checkpoint whose replacement by another of its step was interrupted gets its name back.

    Returns:
      A line for each one that could not be removed.
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


def _remove(path: Path) -> None:
    """Remove a file, a link or a directory, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
