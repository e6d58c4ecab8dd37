"""How a CPU computes the convolutions of `dcgan_jax.layers`: as matrix products.

XLA on a CPU runs some plain convolutions, and most of their gradients, a hundred times slower than its matrix
products. `conv2d_cpu` chooses by shape: patches (few input channels), shift and add (few output channels), Winograd's
algorithm and its relatives, and 2x2 cells; in bfloat16 patches again, if the processor multiplies it natively. Of a
single small image there are so few products that transforms of the kernel would take longer: it is shift and add too.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dcgan_jax.bfloat16_conv import conv2d_bfloat16
from dcgan_jax.dtypes import at_least_float32
from dcgan_jax.processor import multiplies_bfloat16
from dcgan_jax.spatial import depth_to_space, same_padding, space_to_depth
from dcgan_jax.winograd import conv2d_winograd, has_algorithm

_FEW = 128  # channels times taps
# Pixels of a single image per input channel, at most, for shift and add: of layers with 8 to 512 channels, those with
# up to 16 took less time by it, a twentieth where the kernels are largest, and those with 32 and more took longer.
_SMALL = 16


def conv2d_cpu(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The convolution of `dcgan_jax.layers.conv2d`, with the fastest implementation for the shape.

    Dtypes narrower than float32 are computed in float32, except bfloat16 on a processor that multiplies it natively.

    Args, returns: as there; the caller has checked the shapes.
    """
    _, h, w, c_in = x.shape
    k, _, _, c_out = kernel.shape
    dtype = jnp.result_type(x, kernel)
    # Products of few channels are small compared with what they read and write.
    few_in, few_out = c_in * k * k <= _FEW, stride == 1 and c_out * k * k <= _FEW
    if dtype == jnp.bfloat16 and multiplies_bfloat16() and not few_in and not few_out:
        return conv2d_bfloat16(x, kernel, stride)
    wide = at_least_float32(dtype)
    x, kernel = x.astype(wide), kernel.astype(wide)
    if few_in:
        y = _conv2d_patches(x, kernel, stride)
    elif few_out or (stride == 1 and is_small(x)):
        y = _conv2d_shift_add(x, kernel)
    elif has_algorithm(k, stride, h, w):
        y = conv2d_winograd(x, kernel, stride)
    elif (k, stride) == (5, 1):
        y = _conv2d_cells(x, kernel)
    else:
        y = _conv2d_patches(x, kernel, stride)
    return y.astype(dtype)


def is_small(x: jax.Array) -> bool:
    """Whether images [B, H, W, in] are a single one, of few pixels per channel."""
    b, h, w, c_in = x.shape
    return b == 1 and h * w <= _SMALL * c_in


def upsample_conv2d_small(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`dcgan_jax.layers.upsample_conv2d` of an image that `is_small`: one product, then the shifted taps are added up.

    Output pixel 2p + a of an axis reads pixel p + floor((a + t - k // 2) / 2) with each tap t.
    """
    h, w = x.shape[1:3]
    k, c_out = len(kernel), kernel.shape[-1]
    reach = -(-(k // 2) // 2)
    per_tap = _per_tap(x, kernel, reach)

    def phase(terms: jax.Array, a: int, axis: int, size: int) -> jax.Array:
        """Every second output along an axis, from the terms of its taps, which are along axis 3."""
        starts = [(a + t - k // 2) // 2 + reach for t in range(k)]
        shifted = [lax.slice_in_dim(terms[:, :, :, t], at, at + size, axis=axis) for t, at in enumerate(starts)]
        return sum(shifted[1:], start=shifted[0])

    rows = [phase(per_tap, a, 1, h) for a in range(2)]  # [B, H, W + 2 reach, k, out]
    phases = [phase(each, a, 2, w) for each in rows for a in range(2)]  # [B, H, W, out]
    return depth_to_space(jnp.concatenate(phases, axis=-1), c_out)


def _conv2d_patches(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Few input channels: gather each output's patch, then one product [B h w, k k in] x [k k in, out]."""
    b, h, w, c_in = x.shape
    k, _, _, c_out = kernel.shape
    (h_out, pad_h), (w_out, pad_w) = same_padding(h, k, stride), same_padding(w, k, stride)
    x = jnp.pad(x, ((0, 0), pad_h, pad_w, (0, 0)))
    taps = [
        lax.slice(
            x,
            (0, i, j, 0),
            (b, i + (h_out - 1) * stride + 1, j + (w_out - 1) * stride + 1, c_in),
            (1, stride, stride, 1),
        )
        for i in range(k)
        for j in range(k)
    ]
    patches = jnp.concatenate(taps, axis=-1)  # [B, h, w, k k in]
    return _matmul(patches, kernel.reshape(k * k * c_in, c_out))  # [B, h, w, out]


def _conv2d_shift_add(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Few output channels or pixels: one product [B H W, in] x [in, k k out], then add up the shifted taps."""
    h, w = x.shape[1:3]
    k = len(kernel)
    per_tap = _per_tap(x, kernel, k // 2)
    shifted = [per_tap[:, i : i + h, j : j + w, i, j] for i in range(k) for j in range(k)]
    return sum(shifted[1:], start=shifted[0])  # [B, H, W, out]


def _per_tap(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """The products of each pixel with each tap, between zeros: [B, H + 2 padding, W + 2 padding, k, k, out]."""
    k, _, c_in, c_out = kernel.shape
    per_tap = _matmul(x, kernel.transpose(2, 0, 1, 3).reshape(c_in, k * k * c_out))  # [B, H, W, k k out]
    per_tap = jnp.pad(per_tap, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return per_tap.reshape(*per_tap.shape[:3], k, k, c_out)


def _conv2d_cells(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 5x5 kernel on a larger image, as a 3x3 kernel on cells of 2x2 pixels with 4x the channels.

    Along one axis, output pixel 2p + a reads pixel 2p + a + t - 2, which is pixel c of cell p + u - 1 with
    2 (u - 1) + c = a + t - 2. Wider products, and fewer of them with Winograd, outweigh the zeros they contain.
    """
    _, h, w, c_in = x.shape
    k, _, _, c_out = kernel.shape
    select = np.zeros((2, 3, 2, k))  # [a, u, c, t]
    for a in range(2):
        for t in range(k):
            cell, pixel = divmod(a + t - k // 2, 2)
            select[a, cell + 1, pixel, t] = 1
    select = jnp.asarray(select, kernel.dtype)
    wide = jnp.einsum("auct,bvds,tsio->uvcdiabo", select, select, kernel)
    wide = wide.reshape(3, 3, 4 * c_in, 4 * c_out)
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    return depth_to_space(conv2d_winograd(space_to_depth(x), wide, 1), c_out)[:, :h, :w]  # [B, H, W, out]


def _matmul(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """[..., n] x [n, m] as one matrix product."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])
