"""How a CPU computes the convolutions of `dcgan_jax.layers`: as matrix products.

XLA on a CPU runs some plain convolutions, and most of their gradients, a hundred times below the speed of its matrix
products. `conv2d_cpu` chooses by shape: patches (few input channels), shift and add (few output channels), Winograd's
algorithm and its relatives, and 2x2 cells. All of them are plain JAX: autodiff turns them into matrix products too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dcgan_jax.bfloat16_conv import conv2d_bfloat16
from dcgan_jax.dtypes import at_least_float32
from dcgan_jax.processor import multiplies_bfloat16
from dcgan_jax.spatial import depth_to_space, same_padding, space_to_depth


class _Bilinear(NamedTuple):
    """A convolution along one axis as ``output @ ((kernel @ taps) * (input @ pixels))``, in fewer products.

    A tile's m outputs are computed from its n pixels and the kernel's k taps by r products; two axes take r * r.
    """

    output: np.ndarray  # [m, r]
    input: np.ndarray  # [r, n]
    kernel: np.ndarray  # [r, k]
    implied_zeros: int = 0  # zero pixels before the tile that the algorithm leaves out


def _winograd(m: int, k: int, points: list[float]) -> _Bilinear:
    """F(m, k), m + k - 1 products for m k: y_i = sum_t w_t x_(i+t).

    Transposed, it multiplies two polynomials by their values at ``points`` and at infinity (Toom and Cook;
    Lavin and Gray, Fast algorithms for convolutional neural networks, arXiv:1509.09308). The points determine
    the rounding error: small ones in pairs of opposite sign cancel best (Barabasz and others, Error
    analysis and improving the accuracy of Winograd convolution, arXiv:1803.10986). Those of F(4, 3) below were
    found by search: in float32 it errs by 3e-6 of its largest output, plain sums and F(2, 3) by 1e-6.
    """
    n = m + k - 1
    output, inputs, kernel = np.zeros((m, n)), np.zeros((n, n)), np.zeros((n, k))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        scale = np.prod(point - others)
        output[:, i] = point ** np.arange(m)
        inputs[i, :-1] = np.poly(others)[::-1]
        kernel[i] = point ** np.arange(k) / scale
    output[-1, -1] = kernel[-1, -1] = 1
    inputs[-1] = np.poly(points)[::-1]
    return _Bilinear(output, inputs, kernel)


def _five_taps_stride_2() -> _Bilinear:
    """7 products for 10: y_i = sum_t w_t x_(2i+t), the even taps by F(2, 3), the odd ones by F(2, 2).

    Larger tiles would need fewer products. But with these an output whose pixels are all 0 is exactly 0, as with plain
    sums. An untrained discriminator, whose biases are 0, has the kink of its leaky ReLU there: where an image is black,
    rounding would choose between its two slopes.
    """
    even, odd = _winograd(2, 3, [0, 1, -1]), _winograd(2, 2, [0, 1])
    inputs, kernel = np.zeros((7, 7)), np.zeros((7, 5))
    inputs[:4, 0::2], inputs[4:, 1::2] = even.input, odd.input
    kernel[:4, 0::2], kernel[4:, 1::2] = even.kernel, odd.kernel
    return _Bilinear(np.hstack([even.output, odd.output]), inputs, kernel)


def _five_taps_on_four() -> _Bilinear:
    """9 products for 14: a whole axis of 4 pixels and 2 zeros on either side, by Karatsuba's method twice.

    y_i = sum_j w_(j-i+2) x_j is a Toeplitz matrix. With diagonals (l, d, u), u_0 = d x_0 + u x_1 and
    u_1 = l x_0 + d x_1 share d (x_0 + x_1): (u - d) x_1 and (l - d) x_0 are added to it. That serves for
    numbers and for 2x2 blocks, whose diagonals are themselves Toeplitz. (F(4, 4) would do with 7, its taps and
    pixels exchanged, but errs by 1e-5.)
    """
    output = np.array([[1, 1, 0], [1, 0, 1]])
    inputs = np.array([[1, 1], [0, 1], [1, 0]])
    diagonals = np.array([[0, 1, 0], [0, -1, 1], [1, -1, 0]])  # of l, d, u
    kernel = np.zeros((9, 5))
    for block in range(3):
        for diagonal in range(3):
            tap = 2 * (block - 1) + (diagonal - 1) + 2
            if 0 <= tap < 5:  # the outermost diagonals are zero
                kernel[:, tap] += np.kron(diagonals[:, block], diagonals[:, diagonal])
    return _Bilinear(np.kron(output, output), np.kron(inputs, inputs), kernel, implied_zeros=2)


_THREE_TAPS = _winograd(4, 3, [0, 0.75, -0.75, 1.25, -1.25])
_FIVE_TAPS_STRIDE_2 = _five_taps_stride_2()
_FIVE_TAPS_ON_FOUR = _five_taps_on_four()


def conv2d_cpu(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The convolution of `dcgan_jax.layers.conv2d`, by the fastest implementation for the shape.

    A narrower dtype than float32 is computed in float32, except for bfloat16 on a processor that multiplies it.

    Args, returns: as there; the shapes fit together.
    """
    _, h, w, c_in = x.shape
    k, _, _, c_out = kernel.shape
    dtype = jnp.result_type(x, kernel)
    wide = at_least_float32(dtype)
    # Few channels make products of so little that reading and writing them takes the time.
    few = c_in * k * k <= 128 or (stride == 1 and c_out * k * k <= 128)
    if dtype == jnp.bfloat16 and multiplies_bfloat16() and not few:
        return conv2d_bfloat16(x, kernel, stride)
    if dtype != wide:
        return conv2d_cpu(x.astype(wide), kernel.astype(wide), stride).astype(dtype)
    if c_in * k * k <= 128:
        return _conv2d_patches(x, kernel, stride)
    if stride == 1 and c_out * k * k <= 128:
        return _conv2d_shift_add(x, kernel)
    if (k, stride) == (3, 1):
        return _conv2d_bilinear(x, kernel, stride, _THREE_TAPS)
    if (k, stride) == (5, 2):
        return _conv2d_bilinear(x, kernel, stride, _FIVE_TAPS_STRIDE_2)
    if (k, stride) == (5, 1) and max(h, w) <= 4:
        return _conv2d_bilinear(x, kernel, stride, _FIVE_TAPS_ON_FOUR)
    if (k, stride) == (5, 1):
        return _conv2d_cells(x, kernel)
    return _conv2d_patches(x, kernel, stride)


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
    """Few output channels: one product [B H W, in] x [in, k k out], then add the taps up, each shifted."""
    _, h, w, c_in = x.shape
    k, _, _, c_out = kernel.shape
    r = k // 2
    per_tap = _matmul(x, kernel.transpose(2, 0, 1, 3).reshape(c_in, k * k * c_out))  # [B, H, W, k k out]
    per_tap = jnp.pad(per_tap, ((0, 0), (r, r), (r, r), (0, 0)))
    per_tap = per_tap.reshape(*per_tap.shape[:3], k, k, c_out)
    shifted = [per_tap[:, i : i + h, j : j + w, i, j] for i in range(k) for j in range(k)]
    return sum(shifted[1:], start=shifted[0])  # [B, H, W, out]


def _conv2d_bilinear(x: jax.Array, kernel: jax.Array, stride: int, algorithm: _Bilinear) -> jax.Array:
    """Cut the image into tiles, each of which takes the algorithm's r * r products instead of one per tap and output.

    The transforms of pixels, kernel and outputs are products with constant matrices too: as sums of slices XLA took
    four times as long to compile.
    """
    b, h, w, c_in = x.shape
    k, _, _, c_out = kernel.shape
    m, r = algorithm.output.shape
    x, tiles_h = _transform_tiles(x, 1, k, stride, algorithm)  # [r, B, tiles_h, W, in]
    x, tiles_w = _transform_tiles(x, 3, k, stride, algorithm)  # [r of rows, r of columns, B, tiles_h, tiles_w, in]
    kernels = np.einsum("rt,su->rstu", algorithm.kernel, algorithm.kernel).reshape(r * r, k * k)
    kernels = jnp.asarray(kernels, kernel.dtype) @ kernel.reshape(k * k, c_in * c_out)
    products = jnp.matmul(x.reshape(r * r, -1, c_in), kernels.reshape(r * r, c_in, c_out))
    outputs = np.einsum("ar,bs->abrs", algorithm.output, algorithm.output).reshape(m * m, r * r)
    outputs = jnp.asarray(outputs, x.dtype) @ products.reshape(r * r, -1)
    outputs = outputs.reshape(m, m, b, tiles_h, tiles_w, c_out).transpose(2, 3, 0, 4, 1, 5)
    outputs = outputs.reshape(b, tiles_h * m, tiles_w * m, c_out)
    return outputs[:, : -(-h // stride), : -(-w // stride)]  # [B, h, w, out]


def _transform_tiles(x: jax.Array, axis: int, k: int, stride: int, algorithm: _Bilinear) -> tuple[jax.Array, int]:
    """Cut one axis into tiles and transform their pixels: [..., B, .., size, ..] -> [..., r, B, .., tiles, ..], tiles.

    The new axis is right before B, so that the flattened axes begin with B: XLA would otherwise gather a sharded batch.
    The leading axes are those of the transforms before.
    """
    m, n = algorithm.output.shape[0], algorithm.input.shape[1]
    size = x.shape[axis]
    outputs, (before, _) = same_padding(size, k, stride)
    tiles = -(-outputs // m)
    before = before - algorithm.implied_zeros
    step = m * stride
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, max(0, (tiles - 1) * step + n - before - size))
    x = jnp.pad(x, widths)
    pixels = [lax.slice_in_dim(x, i, i + (tiles - 1) * step + 1, step, axis) for i in range(n)]
    leading = x.shape[:-4]
    x = jnp.stack(pixels, axis=len(leading))  # [..., n, B, .., tiles, ..]
    transform = jnp.broadcast_to(jnp.asarray(algorithm.input, x.dtype), (*leading, *algorithm.input.shape))
    transformed = transform @ x.reshape(*leading, n, -1)
    return transformed.reshape(*leading, -1, *x.shape[len(leading) + 1 :]), tiles


def _conv2d_cells(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 5x5 kernel on a larger image, as a 3x3 kernel on cells of 2x2 pixels with 4x the channels.

    Along one axis, output pixel 2p + a reads pixel 2p + a + t - 2, which is pixel c of cell p + u - 1 with
    2 (u - 1) + c = a + t - 2. Wider products, and fewer of them by Winograd, outweigh the zeros they contain.
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
    return depth_to_space(_conv2d_bilinear(space_to_depth(x), wide, 1, _THREE_TAPS), c_out)[:, :h, :w]  # [B, H, W, out]


def _matmul(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """[..., n] x [n, m] as one two-dimensional product."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])
