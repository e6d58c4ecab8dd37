"""Where the batches of real images come from: a source is called inside the compiled step."""

import functools
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import struct

from dcgan_jax.prng import pin_key


class BatchSource(Protocol):
    """Draws batches of real images.

    It is an argument of the compiled step: a JAX pytree, whose leaves are the arrays that it holds on the devices. One
    that holds its images elsewhere, as in a memory-mapped file, has no leaves, and fetches them by `jax.pure_callback`.
    What is static in it must be hashable: the path, not the array.
    """

    def batch(self, key: jax.Array, batch_size: int, call: jax.Array | int = 0) -> tuple[jax.Array, jax.Array | None]:
        """A batch, which is a function of the key alone.

        Args:
          key: a PRNG key.
          batch_size: the number of images, B.
          call: the number of the step in its dispatch, for a source that holds the batches of a dispatch.

        Returns:
          Images, uint8 [B, H, W, C], 0 black to 255 full; and their classes, int32 [B], or None.
        """
        ...


class DeviceImages(struct.PyTreeNode):
    """All images as one array on each device. Batches are drawn uniformly with replacement.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: their classes, int32 [N], or None.
      mirror: whether to `mirror_some` of each batch. Static.
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
    """The batches of one dispatch, which the host has drawn as `DeviceImages` would have: of `step_rows`.

    On one device each batch is gathered from them by numbers that the compiler does not know, as `DeviceImages` gathers
    it from all images: the rest of the compiled step is the same program then, and is rounded alike.

    Attributes:
      images: uint8 [K, B, H, W, C], of K steps.
      labels: their classes, int32 [K, B], or None.
      numbers: those of the images among all K * B, int32 [K, B]; None if several devices share each batch.
      mirror: whether to `mirror_some` of each batch. Static.
    """

    images: jax.Array
    labels: jax.Array | None = None
    numbers: jax.Array | None = None
    mirror: bool = struct.field(pytree_node=False, default=False)

    def batch(self, key: jax.Array, batch_size: int, call: jax.Array | int = 0) -> tuple[jax.Array, jax.Array | None]:
        """A batch, as `BatchSource.batch`; ``key`` is that of the step that it was drawn for."""

        def of_call(values: jax.Array) -> jax.Array:
            if self.numbers is None:
                return values[call]
            return values.reshape(-1, *values.shape[2:])[self.numbers[call]]

        images = _mirrored(of_call(self.images), key, self.mirror)
        return images, None if self.labels is None else of_call(self.labels)


def step_keys(key: jax.Array, step: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """The keys of a step: of its batch, and of all else that it draws. ``key`` is the run's, ``step`` those before."""
    batch_key, step_key = jax.random.split(jax.random.fold_in(pin_key(key), step))
    return batch_key, step_key


@functools.partial(jax.jit, static_argnames=("steps", "size", "count"))
def step_rows(key: jax.Array, first: jax.Array | int, *, steps: int, size: int, count: int) -> jax.Array:
    """The row numbers of the batches of some steps, as each draws them: int32 [steps, count].

    Args:
      key: the run's.
      first: the number of steps before.
      steps: how many.
      size: the number of images.
      count: images per step.
    """
    numbers = jnp.asarray(first, jnp.int32) + jnp.arange(steps, dtype=jnp.int32)
    return jax.lax.map(lambda step: draw_rows(step_keys(key, step)[0], size, count), numbers)


def draw_rows(key: jax.Array, size: int, count: int) -> jax.Array:
    """The row numbers of a batch, int32 [count], uniform in 0 to ``size - 1``, with replacement."""
    return jax.random.randint(pin_key(key), (count,), 0, size, jnp.int32)


def _mirrored(images: jax.Array, key: jax.Array, mirror: bool) -> jax.Array:
    return mirror_some(images, jax.random.fold_in(key, 1)) if mirror else images


def mirror_some(images: jax.Array, key: jax.Array) -> jax.Array:
    """Half of the images [B, H, W, C], chosen at random, with left and right exchanged."""
    chosen = jax.random.bits(pin_key(key), (len(images), 1, 1, 1), jnp.uint32) & 1
    return jnp.where(chosen == 1, images[:, :, ::-1], images)
