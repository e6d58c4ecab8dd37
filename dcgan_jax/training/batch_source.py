"""Where the batches of real images come from: a source is called inside the compiled step."""

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

    def batch(self, key: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array | None]:
        """A batch, which is a function of the key alone.

        Args:
          key: a PRNG key.
          batch_size: the number of images, B.

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

    def batch(self, key: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array | None]:
        """A batch, as `BatchSource.batch`."""
        rows = draw_rows(key, len(self.images), batch_size)
        images = self.images[rows]
        if self.mirror:
            images = mirror_some(images, jax.random.fold_in(key, 1))
        return images, None if self.labels is None else self.labels[rows]


def draw_rows(key: jax.Array, size: int, count: int) -> jax.Array:
    """The row numbers of a batch, int32 [count], uniform in 0 to ``size - 1``, with replacement."""
    return jax.random.randint(pin_key(key), (count,), 0, size, jnp.int32)


def mirror_some(images: jax.Array, key: jax.Array) -> jax.Array:
    """Half of the images [B, H, W, C], chosen at random, with left and right exchanged."""
    chosen = jax.random.bits(pin_key(key), (len(images), 1, 1, 1), jnp.uint32) & 1
    return jnp.where(chosen == 1, images[:, :, ::-1], images)
