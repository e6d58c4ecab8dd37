"""Sources of batches of real images, called inside the compiled step."""

import functools
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import struct

from dcgan_jax.prng import pin_key


class BatchSource(Protocol):
    """Draws batches of real images.

    A source is an argument of the compiled step: a JAX pytree whose leaves are its arrays on the devices. A source
    that holds its images elsewhere may have no leaves, and fetch them with `jax.pure_callback`. Its static fields must
    be hashable: a path, not an array.
    """

    def batch(self, key: jax.Array, batch_size: int, call: jax.Array | int = 0) -> tuple[jax.Array, jax.Array | None]:
        """A batch, determined by the key alone.

        Args:
          key: a PRNG key.
          batch_size: the number of images, B.
          call: the index of the step in its dispatch, for a source that holds the batches of one dispatch.

        Returns:
          Images, uint8 [B, H, W, C], black at 0; and their classes, int32 [B], or None.
        """
        ...


class DeviceImages(struct.PyTreeNode):
    """All images as one array on each device. Batches are drawn uniformly with replacement.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: their classes, int32 [N], or None.
      mirror: whether to apply `mirror_some` to each batch. Static.
    """

    images: jax.Array
    labels: jax.Array | None = None
    mirror: bool = struct.field(pytree_node=False, default=False)

    def batch(self, key: jax.Array, batch_size: int, call: jax.Array | int = 0) -> tuple[jax.Array, jax.Array | None]:
        """A batch, as `BatchSource.batch`."""
        rows = draw_rows(key, len(self.images), batch_size)
        images = _mirrored(self.images[rows], key, self.mirror)
        return images, None if self.labels is None else self.labels[rows]


class SentBatches(struct.PyTreeNode):
    """The batches of one dispatch, drawn on the host by `step_rows`: the same as those of `DeviceImages`.

    On one device each batch is gathered from them by indices unknown at compile time, as `DeviceImages` gathers it from
    all images: the rest of the compiled step is then the same program, with the same rounding.

    Attributes:
      images: uint8 [K, B, H, W, C], of K steps.
      labels: their classes, int32 [K, B], or None.
      numbers: the indices of the images among all K * B, int32 [K, B]; None if several devices share each batch.
      mirror: whether to apply `mirror_some` to each batch. Static.
    """

    images: jax.Array
    labels: jax.Array | None = None
    numbers: jax.Array | None = None
    mirror: bool = struct.field(pytree_node=False, default=False)

    def batch(self, key: jax.Array, batch_size: int, call: jax.Array | int = 0) -> tuple[jax.Array, jax.Array | None]:
        """A batch, as `BatchSource.batch`; ``key`` must be that of the step that it was drawn for."""

        def of_call(values: jax.Array) -> jax.Array:
            if self.numbers is None:
                return values[call]
            return values.reshape(-1, *values.shape[2:])[self.numbers[call]]

        images = _mirrored(of_call(self.images), key, self.mirror)
        return images, None if self.labels is None else of_call(self.labels)


def step_keys(key: jax.Array, step: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """The keys for a step's batch and for its other random numbers, by the run's ``key`` and the steps before it."""
    batch_key, step_key = jax.random.split(jax.random.fold_in(pin_key(key), step))
    return batch_key, step_key


@functools.partial(jax.jit, static_argnames=("steps", "size", "count"))
def step_rows(key: jax.Array, first: jax.Array | int, *, steps: int, size: int, count: int) -> jax.Array:
    """The row indices of the batches of consecutive steps, as `draw_rows` of each: int32 [steps, count].

    Args:
      key: the run's PRNG key.
      first: the number of steps before the first one.
      steps: the number of steps.
      size: the number of images.
      count: images per step.
    """
    numbers = jnp.asarray(first, jnp.int32) + jnp.arange(steps, dtype=jnp.int32)
    return jax.lax.map(lambda step: draw_rows(step_keys(key, step)[0], size, count), numbers)


def draw_rows(key: jax.Array, size: int, count: int) -> jax.Array:
    """The row indices of a batch, int32 [count], uniform on [0, ``size``), with replacement."""
    return jax.random.randint(pin_key(key), (count,), 0, size, jnp.int32)


def _mirrored(images: jax.Array, key: jax.Array, mirror: bool) -> jax.Array:
    return mirror_some(images, jax.random.fold_in(key, 1)) if mirror else images


def mirror_some(images: jax.Array, key: jax.Array) -> jax.Array:
    """Mirror each of the images [B, H, W, C], left to right, with probability 1/2."""
    chosen = jax.random.bits(pin_key(key), (len(images), 1, 1, 1), jnp.uint32) & 1
    return jnp.where(chosen == 1, images[:, :, ::-1], images)
