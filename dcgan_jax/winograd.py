"""Winograd's algorithm and its relatives: convolutions with fewer products, by transforms of tiles and kernels."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.bilinear import bilinear_convolution
from dcgan_jax.spatial import depth_to_space, flipped_kernel, gather_pixels, pin, same_padding


class _Bilinear(NamedTuple):
    """A convolution along one axis as ``output @ ((kernel @ taps) * (input @ pixels))``, with fewer products.

    A tile's m outputs are computed from its n pixels and the kernel's k taps with r products; two axes take r * r.
    """

    output: np.ndarray  # [m, r]
    input: np.ndarray  # [r, n]
    kernel: np.ndarray  # [r, k]
    implied_zeros: int = 0  # zero pixels before the tile that the algorithm omits


def _winograd(m: int, k: int, points: list[float]) -> _Bilinear:
    """F(m, k), with m + k - 1 products instead of m k: y_i = sum_t w_t x_(i+t).

    Transposed, it multiplies two polynomials by their values at ``points`` and at infinity (Toom and Cook;
    Lavin and Gray, Fast algorithms for convolutional neural networks, arXiv:1509.09308). The points determine
    the rounding error: small ones in pairs of opposite sign cancel best (Barabasz and others, Error
    analysis and improving the accuracy of Winograd convolution, arXiv:1803.10986). Those of F(4, 3) below were
    found by search: in float32 its error is 3e-6 of its largest output, that of plain sums and F(2, 3) 1e-6.
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
    """7 products instead of 10: y_i = sum_t w_t x_(2i+t), the even taps with F(2, 3), the odd ones with F(2, 2).

    Larger tiles would need fewer products. But with these an output whose pixels are all 0 is exactly 0, as with plain
    sums. The leaky ReLU of an untrained discriminator, whose biases are 0, has its kink there: where an image is black,
    rounding would choose between the two slopes.
    """
    even, odd = _winograd(2, 3, [0, 1, -1]), _winograd(2, 2, [0, 1])
    inputs, kernel = np.zeros((7, 7)), np.zeros((7, 5))
    inputs[:4, 0::2], inputs[4:, 1::2] = even.input, odd.input
    kernel[:4, 0::2], kernel[4:, 1::2] = even.kernel, odd.kernel
    return _Bilinear(np.hstack([even.output, odd.output]), inputs, kernel)


def _five_taps_on_four() -> _Bilinear:
    """9 products instead of 14: a whole axis of 4 pixels and 2 zeros on either side, with Karatsuba's method twice.

    y_i = sum_j w_(j-i+2) x_j is a Toeplitz matrix. With diagonals (l, d, u), u_0 = d x_0 + u x_1 and
    u_1 = l x_0 + d x_1 share d (x_0 + x_1): (u - d) x_1 and (l - d) x_0 are added to it. This works for
    numbers and for 2x2 blocks, whose diagonals are themselves Toeplitz. (F(4, 4), with its taps and pixels
    exchanged, would need 7, but its error is 1e-5.)
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


_FIVE_TAPS_ON_FOUR = _five_taps_on_four()
_ALGORITHMS = {  # by taps and stride
    (3, 1): _winograd(4, 3, [0, 0.75, -0.75, 1.25, -1.25]),
    (5, 2): _five_taps_stride_2(),
    (5, 1): _FIVE_TAPS_ON_FOUR,
}


def has_algorithm(k: int, stride: int, height: int, width: int) -> bool:
    """Whether there is one for a k x k kernel, a stride and a size of images."""
    algorithm = _ALGORITHMS.get((k, stride))
    return algorithm is not None and (algorithm is not _FIVE_TAPS_ON_FOUR or max(height, width) <= 4)


def _conv(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """[B, H, W, in] and [k, k, in, out] -> [B, h, w, out]: r r products for the m m outputs of a tile."""
    _, h, w, _ = x.shape
    k = len(kernel)
    algorithm = _ALGORITHMS[k, stride]
    products = jnp.matmul(_transformed_tiles(x, k, stride, algorithm), _transformed_kernel(kernel, algorithm))
    outputs = _transform(algorithm.output, products)  # [m m, B tiles, out]
    return _untiled(outputs, x.shape[0], -(-h // stride), -(-w // stride))


def _input_gradient(dy: jax.Array, kernel: jax.Array, *, stride: int, height: int, width: int) -> jax.Array:
    """[B, h, w, out] and [k, k, in, out] -> [B, H, W, in]: a convolution with the flipped kernel, of three taps."""
    k, _, c_in, c_out = kernel.shape
    algorithm = _ALGORITHMS[k, stride]
    if algorithm is _FIVE_TAPS_ON_FOUR:
        # The image is the only tile: the transposed algorithm adds nothing up, and uses the transformed kernel.
        transposed = _transformed_kernel(kernel, algorithm).swapaxes(1, 2)
        pixels = _transform(algorithm.input.T, jnp.matmul(_transformed_outputs(dy, algorithm), transposed))
        return _untiled(pixels, dy.shape[0], height, width)
    flipped = flipped_kernel(kernel, height, width, stride)  # [3, 3, s s, in, out]
    flipped = pin(flipped.transpose(0, 1, 4, 2, 3)).reshape(3, 3, c_out, stride**2 * c_in)
    return depth_to_space(_conv(dy, flipped, stride=1), c_in, stride)[:, :height, :width]


def _kernel_gradient(x: jax.Array, dy: jax.Array, *, stride: int, k: int) -> jax.Array:
    """[B, H, W, in] and [B, h, w, out] -> [k, k, in, out]: the transposed algorithm."""
    c_in, c_out = x.shape[-1], dy.shape[-1]
    algorithm = _ALGORITHMS[k, stride]
    tiles = _transformed_tiles(x, k, stride, algorithm)  # [r r, B tiles, in]
    outputs = _transformed_outputs(dy, algorithm)  # [r r, B tiles, out]
    kernels = jnp.einsum("rnc,rno->rco", tiles, outputs)  # [r r, in, out]
    return _transform(algorithm.kernel.T, kernels).reshape(k, k, c_in, c_out)


def _transformed_tiles(x: jax.Array, k: int, stride: int, algorithm: _Bilinear) -> jax.Array:
    """[B, H, W, in] -> [r r, B tiles, in].

    B comes before the tiles, so that the flattened axes begin with it: XLA would otherwise gather a sharded batch.
    """
    m, n = algorithm.output.shape[0], algorithm.input.shape[1]
    step = m * stride
    starts, pads = [], []
    for size in x.shape[1:3]:
        outputs, (before, _) = same_padding(size, k, stride)
        starts.append(step * np.arange(-(-outputs // m)))
        before -= algorithm.implied_zeros
        pads.append((before, max(0, int(starts[-1][-1]) + n - before - size)))
    within = np.arange(n)
    rows = within[:, None, None, None] + starts[0][:, None]  # [n, 1, tiles, 1]
    columns = within[:, None, None] + starts[1]  # [n, 1, tiles]
    tiles = gather_pixels(x, rows, columns, (pads[0], pads[1]), first=n * n)  # [n n, B, tiles, in]
    return _transform(algorithm.input, tiles.reshape(n * n, -1, x.shape[-1]))


def _transformed_outputs(dy: jax.Array, algorithm: _Bilinear) -> jax.Array:
    """[B, h, w, out] -> [r r, B tiles, out], the transpose of `_untiled` after the transform of outputs."""
    m = len(algorithm.output)
    b, h, w, c = dy.shape
    dy = jnp.pad(dy, ((0, 0), (0, -h % m), (0, -w % m), (0, 0)))
    tiles = dy.reshape(b, dy.shape[1] // m, m, dy.shape[2] // m, m, c)
    return _transform(algorithm.output.T, pin(tiles.transpose(2, 4, 0, 1, 3, 5)).reshape(m * m, -1, c))


def _untiled(tiles: jax.Array, b: int, height: int, width: int) -> jax.Array:
    """[m m, B tiles, C] -> [B, height, width, C]."""
    m, c = math.isqrt(len(tiles)), tiles.shape[-1]
    tiles = tiles.reshape(m, m, b, -(-height // m), -(-width // m), c)
    images = pin(tiles.transpose(2, 3, 0, 4, 1, 5))
    return images.reshape(b, m * images.shape[1], m * images.shape[3], c)[:, :height, :width]


def _transformed_kernel(kernel: jax.Array, algorithm: _Bilinear) -> jax.Array:
    """[k, k, in, out] -> [r r, in, out]."""
    return _transform(algorithm.kernel, kernel.reshape(-1, *kernel.shape[2:]))


def _transform(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """[a, b] and [b b, ..] -> [a a, ..]: both axes in one product with a constant matrix.

    XLA would take four times as long to compile sums of slices.
    """
    both = jnp.asarray(np.kron(matrix, matrix), x.dtype)
    return (both @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])


conv2d_winograd = bilinear_convolution("conv2d_winograd", _conv, _input_gradient, _kernel_gradient)
