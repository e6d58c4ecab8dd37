"""Checkpoints: the whole state of a run on disk, one folder per step, by Orbax."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from dcgan_jax.state import GANState

_KEEP = 3


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message is one line that says which and why."""


@contextlib.contextmanager
def _checkpointer(folder: Path) -> Iterator[Any]:
    from orbax.checkpoint import v1 as ocp  # imported when used: it takes about a second

    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of every file it writes
    newest: Any = ocp.training.preservation_policies.LatestN(_KEEP)
    with ocp.training.Checkpointer(str(folder.absolute()), preservation_policy=newest) as checkpointer:
        yield checkpointer


def _contents(state: GANState, key: jax.Array) -> dict[str, Any]:
    # A typed key can come back as bare numbers: its data is stored, and the implementation is fixed by the loop.
    return {"state": state, "key": jax.random.key_data(key)}


def save_checkpoint(folder: Path, state: GANState, key: jax.Array) -> None:
    """Write ``state`` and the run's ``key`` as ``folder/<step>``, and keep the newest three.

    The checkpoint appears under its name only when it is whole.
    """
    with _checkpointer(folder) as checkpointer:
        checkpointer.save(int(state.step), _contents(state, key), force=True, overwrite=True)


def latest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, or None if there is none."""
    if not folder.is_dir():
        return None
    with _checkpointer(folder) as checkpointer:
        return None if checkpointer.latest is None else checkpointer.latest.step


def restore_checkpoint(folder: Path, step: int, like: GANState, key: jax.Array) -> tuple[GANState, jax.Array]:
    """Read ``folder/<step>`` back.

    Args:
      folder: as given to `save_checkpoint`.
      step: a checkpoint's.
      like: a state of the same structure, for shapes, types and the static fields.
      key: a key of the same implementation as the one saved.

    Raises:
      CheckpointError: if it cannot be read, or holds another structure.
    """
    abstract = jax.tree.map(_abstract, _contents(like, key))
    try:
        with _checkpointer(folder) as checkpointer:
            contents = checkpointer.load(step, abstract)
    except Exception as error:  # Orbax raises whatever its storage layers raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"cannot read the checkpoint {folder / str(step)} ({reason[:200]})") from error
    return contents["state"], jax.random.wrap_key_data(contents["key"], impl=jax.random.key_impl(key))


def _abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
