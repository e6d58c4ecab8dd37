"""Shapes of images: the padding of a convolution, and cells of pixels as channels."""

import jax


def same_padding(size: int, k: int, stride: int) -> tuple[int, tuple[int, int]]:
    """Outputs along one axis, and the zeros before and after it, as TensorFlow's 'SAME' places them."""
    outputs = -(-size // stride)
    padding = max((outputs - 1) * stride + k - size, 0)
    return outputs, (padding // 2, padding - padding // 2)


def depth_to_space(x: jax.Array, channels: int, cell: int = 2) -> jax.Array:
    """[B, h, w, cell * cell * channels], the phases of cells of pixels -> [B, cell h, cell w, channels]."""
    b, h, w, _ = x.shape
    x = x.reshape(b, h, w, cell, cell, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, cell * h, cell * w, channels)


def space_to_depth(x: jax.Array, cell: int = 2) -> jax.Array:
    """[B, cell h, cell w, C] -> [B, h, w, cell * cell * C], the inverse of `depth_to_space`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // cell, cell, w // cell, cell, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // cell, w // cell, cell * cell * c)
