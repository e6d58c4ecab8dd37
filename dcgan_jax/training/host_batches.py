"""Batches of images kept on the host, in memory or in a file, gathered by a thread while the devices compute."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, Sharding

from dcgan_jax.data import Dataset, load_data
from dcgan_jax.data.mapped import RowReader
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.training.batch_source import SentBatches, step_rows

_AHEAD = 2  # batches, or dispatches of batches, that are gathered in advance
_STEPS = 256  # steps whose row indices are drawn at a time

C = TypeVar("C")
R = TypeVar("R")


def batches(
    source: Dataset | np.ndarray | str | Path,
    key: jax.Array,
    batch_size: int,
    start_step: int = 0,
    *,
    sharding: Sharding | None = None,
) -> Iterator[tuple[jax.Array, jax.Array | None]]:
    """An endless iterator of batches for your own loop, put on the device ahead of time.

    A batch depends only on the key and the step number, and is that of a run with this key: an iterator that starts at
    a later step continues an earlier one. Images are drawn uniformly with replacement. A thread gathers two batches
    ahead; images in a file (``load_data(..., stream=True)``) are read from there.

    Args:
      source: images, uint8 [N, H, W, C], alone or as a `Dataset` with labels; or what `load_data` takes, whose images
        stay in a file if they would take more than a third of the free memory.
      key: a PRNG key.
      batch_size: images in a batch, B.
      start_step: the number of steps before the first batch.
      sharding: a batch's sharding over devices, of this process or of several, each of which reads only its own rows;
        JAX's default device if None.

    Yields:
      Images, uint8 [B, H, W, C], and their classes, int32 [B], or None.

    Raises:
      DatasetError: as `load_data`.
      ValueError: if there are no images, or ``batch_size`` or ``start_step`` is out of range.
      OSError: from the iterator, if rows cannot be read.
    """
    data = load_data(source, stream=None) if isinstance(source, (str, Path)) else source
    data = data if isinstance(data, Dataset) else Dataset(data)
    if len(data.images) < 1 or batch_size < 1 or not 0 <= start_step < 2**31:
        raise ValueError(
            f"batches need images, batch_size of at least 1 and start_step of at least 0, got {len(data.images)} "
            f"images, {batch_size} and {start_step}"
        )
    rows = _rows(key, len(data.images), batch_size, start_step)
    return _gathered(data.images, data.labels, rows, sharding)


def sent_batches(
    data: Dataset,
    key: jax.Array,
    batch_size: int,
    dispatches: Iterable[tuple[int, int]],
    capacity: int,
    *,
    mirror: bool,
    sharding: NamedSharding,
) -> Iterator[SentBatches]:
    """The batches of each dispatch of a run, two dispatches ahead of the devices.

    Args:
      data: the images, with labels if the run is conditional.
      key: the run's PRNG key.
      batch_size: images per step.
      dispatches: for each dispatch, the number of steps before it and of its own.
      capacity: the maximum steps per dispatch, which is the number of batches in its arrays; the last may be unused.
      mirror: as in `SentBatches`.
      sharding: the sharding of its arrays.

    Raises:
      OSError: from the iterator, if rows cannot be read.
    """

    def of_dispatches() -> Iterator[np.ndarray]:
        rows = None
        for before, steps in dispatches:
            rows = rows or _rows(key, len(data.images), batch_size, before)
            some = np.zeros((capacity, batch_size), np.int32)
            some[:steps] = list(itertools.islice(rows, steps))
            yield some

    numbers = None
    if sharding.mesh.size == 1:
        numbers = jax.device_put(np.arange(capacity * batch_size, dtype=np.int32).reshape(capacity, -1), sharding)
    for images, labels in _gathered(data.images, data.labels, of_dispatches(), sharding):
        yield SentBatches(images, labels, numbers, mirror)


def _rows(key: jax.Array, size: int, count: int, step: int) -> Iterator[np.ndarray]:
    """Yield the row indices [count] of each step's batch, drawn on the host so as not to wait for the devices."""
    with jax_defaults():
        key = jax.device_put(key, _host_device())
    while True:
        with jax_defaults():
            drawn = np.asarray(step_rows(key, step, steps=_STEPS, size=size, count=count))
        yield from drawn
        step += _STEPS


def _host_device() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS excludes it
        return jax.local_devices()[0]


def _gathered(
    images: Any, labels: np.ndarray | None, rows: Iterator[np.ndarray], sharding: Sharding | None
) -> Iterator[tuple[jax.Array, jax.Array | None]]:
    """Yield the images [..., H, W, C] and labels [...] of each of ``rows`` [...], with this ``sharding``."""
    reader = RowReader(images)

    def images_of(rows: np.ndarray) -> np.ndarray:
        return reader.read(rows.ravel()).reshape(*rows.shape, *images.shape[1:])

    def put(get: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
        if sharding is None:
            return jax.device_put(get(rows))
        # Each device requests only its own rows.
        return jax.make_array_from_callback(shape, sharding, lambda index: get(rows[(index or ())[: rows.ndim]]))

    @jax_defaults()
    def gather(rows: np.ndarray) -> tuple[jax.Array, jax.Array | None]:
        sent = put(images_of, rows, (*rows.shape, *images.shape[1:]))
        return sent, None if labels is None else put(labels.__getitem__, rows, rows.shape)

    try:
        yield from _ahead(rows, gather)
    finally:
        reader.close()


def _ahead(calls: Iterator[C], work: Callable[[C], R]) -> Iterator[R]:
    """Yield the result of ``work`` for each of ``calls``; a thread computes two ahead."""
    end = object()

    def next_result() -> Any:
        call = next(calls, end)
        return end if call is end else work(call)  # pyright: ignore[reportArgumentType]

    # Not a context, as its exit fails where the interpreter finalizes an iterator that is still in use.
    pool = ThreadPoolExecutor(1, "batches")
    pending = deque(pool.submit(next_result) for _ in range(_AHEAD))
    try:
        while (result := pending.popleft().result()) is not end:
            pending.append(pool.submit(next_result))
            yield result
    finally:
        for future in pending:
            if not future.cancel():
                future.exception()  # waits for it
