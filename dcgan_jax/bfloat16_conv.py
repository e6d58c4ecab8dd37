"""Convolutions in bfloat16 for CPUs that multiply bfloat16 natively: direct sums, as matrix products of patches.

Such a CPU does two to five times as many multiply-adds in bfloat16 as in float32. That is as much as Winograd's
algorithm saves, which would cost precision here. What is left to save is memory traffic and XLA's detours: a left
operand that a product needs transposed is transposed in memory first, with its layout pinned, because XLA would
otherwise multiply it in float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dcgan_jax.bilinear import bilinear_convolution
from dcgan_jax.spatial import depth_to_space, flipped_kernel, gather_pixels, pin, same_padding, space_to_depth

_NARROW = 64  # output channels up to which gathering the patches takes longer than multiplying them
_SMALL = 4  # pixels along an axis, up to which at least half of a 5x5 kernel's taps meet only padding


def _conv(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """[B, H, W, in] and [k, k, in, out] -> [B, h, w, out]."""
    b, h, w, c_in = x.shape
    k, _, _, c_out = kernel.shape
    if _meets_padding(k, stride, h, w):
        return _conv_small(x, kernel)
    if _by_cells(k, stride, c_out):
        return depth_to_space(_conv(_even(x), _kernel_of_cells(kernel), stride=2), c_out)[:, :h, :w]
    patches = _patches(x, k, stride)  # [B h w, k k in]
    return _product(patches, kernel.reshape(k * k * c_in, c_out)).reshape(b, -(-h // stride), -(-w // stride), c_out)


def _input_gradient(dy: jax.Array, kernel: jax.Array, *, stride: int, height: int, width: int) -> jax.Array:
    """[B, h, w, out] and [k, k, in, out] -> [B, H, W, in]: convolutions of ``dy`` with the flipped kernel."""
    k, _, c_in, c_out = kernel.shape
    if _meets_padding(k, stride, height, width):
        return _input_gradient_small(dy, kernel)
    if _by_cells(k, stride, c_out):
        cells, wide = space_to_depth(_even(dy)), _kernel_of_cells(kernel)
        even = {"height": height + height % 2, "width": width + width % 2}
        return _input_gradient(cells, wide, stride=2, **even)[:, :height, :width]
    flipped = flipped_kernel(kernel, height, width, stride)  # [m, m, s s, in, out]
    m = len(flipped)
    flipped = pin(flipped.transpose(2, 3, 0, 1, 4)).reshape(stride**2 * c_in, m * m * c_out)
    b, h, w, _ = dy.shape
    dx = _product(_patches(dy, m, 1), flipped, transposed=True).reshape(b, h, w, stride**2 * c_in)
    return depth_to_space(dx, c_in, stride)[:, :height, :width]


def _kernel_gradient(x: jax.Array, dy: jax.Array, *, stride: int, k: int) -> jax.Array:
    """[B, H, W, in] and [B, h, w, out] -> [k, k, in, out], with patches of the array that has fewer channels."""
    h, w, c_in = x.shape[1:]
    c_out = dy.shape[-1]
    if _meets_padding(k, stride, h, w):
        return _kernel_gradient_small(x, dy, k)
    if _by_cells(k, stride, c_out):
        cells = _product(_transposed(space_to_depth(_even(dy))), _patches(_even(x), k + 1, 2), jnp.float32)
        cells = cells.reshape(2, 2, c_out, k + 1, k + 1, c_in)
        taps = _taps_of_cells(k)
        return jnp.einsum("art,bqs,aborqi->tsio", taps, taps, cells).astype(x.dtype)
    if stride == 1 and c_out < c_in:
        flipped = _product(_transposed(x), _patches(dy, k, 1))  # [in, k k out]
        return flipped.reshape(c_in, k, k, c_out).transpose(1, 2, 0, 3)[::-1, ::-1]
    transposed = _product(_transposed(dy), _patches(x, k, stride))  # [out, k k in]
    return transposed.T.reshape(k, k, c_in, c_out)


def _by_cells(k: int, stride: int, c_out: int) -> bool:
    """Whether the four outputs of a 2x2 cell are computed at once, with a kernel one pixel larger and stride 2.

    A cell's patch has (k + 1)^2 pixels instead of four times k^2, and its products are four times as wide.
    """
    return stride == 1 and k > 3 and c_out <= _NARROW


def _kernel_of_cells(kernel: jax.Array) -> jax.Array:
    """[k, k, in, out] -> [k + 1, k + 1, in, 4 out]."""
    k, _, c_in, c_out = kernel.shape
    taps = _taps_of_cells(k)
    wide = jnp.einsum("art,bqs,tsio->rqiabo", taps, taps, kernel.astype(jnp.float32))
    return wide.astype(kernel.dtype).reshape(k + 1, k + 1, c_in, 4 * c_out)


def _taps_of_cells(k: int) -> np.ndarray:
    """[2, k + 1, k]: output a of a cell reads pixel a + t of its patch with tap t."""
    taps = np.zeros((2, k + 1, k), np.float32)
    for a in range(2):
        taps[a, a + np.arange(k), np.arange(k)] = 1
    return taps


def _even(x: jax.Array) -> jax.Array:
    """Images padded with a row or a column of zeros where their height or width is odd."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))


def _meets_padding(k: int, stride: int, height: int, width: int) -> bool:
    """Whether most of a kernel's taps would meet only padding."""
    return stride == 1 and k > 3 and max(height, width) <= _SMALL


def _conv_small(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A row of pixels at a time, [W in] -> [W out], with a matrix for each row of taps, over the rows that it meets."""
    matrices = _row_matrices(kernel, x.shape[2])
    return _sum_of_rows(x, matrices, _met_rows(x.shape[1], len(kernel)), kernel.shape[3])


def _input_gradient_small(dy: jax.Array, kernel: jax.Array) -> jax.Array:
    """With the same matrices, transposed."""
    matrices = _row_matrices(kernel, dy.shape[2])
    met = [(outputs, inputs) for inputs, outputs in _met_rows(dy.shape[1], len(kernel))]
    return _sum_of_rows(dy, matrices, met, kernel.shape[2], transposed=True)


def _sum_of_rows(
    x: jax.Array, matrices: jax.Array, met: list[tuple[slice, slice]], channels: int, transposed: bool = False
) -> jax.Array:
    """[B, H, W, C] -> [B, H, W, channels]: each matrix times the rows that it meets, added up where they belong."""
    b, h, w, c = x.shape
    rows = pin(x.transpose(1, 0, 2, 3)).reshape(h, b, w * c)
    y = jnp.zeros((h, b, w * channels), jnp.float32)
    for matrix, (inputs, outputs) in zip(matrices, met, strict=True):
        part = _product(rows[inputs].reshape(-1, w * c), matrix, jnp.float32, transposed)  # [rows B, W channels]
        y += jnp.pad(part.reshape(-1, b, w * channels), ((outputs.start, h - outputs.stop), (0, 0), (0, 0)))
    return y.astype(x.dtype).reshape(h, b, w, channels).transpose(1, 0, 2, 3)


def _row_matrices(kernel: jax.Array, w: int) -> jax.Array:
    """[k, k, in, out] -> [k, W in, W out]: what each row of taps does to a row of pixels."""
    k, _, c_in, c_out = kernel.shape
    taps = np.arange(w)[:, None] - np.arange(w)[None, :] + k // 2  # [W of x, W of y]
    taps = np.where((taps >= 0) & (taps < k), taps, k)
    matrices = jnp.pad(kernel, ((0, 0), (0, 1), (0, 0), (0, 0)))[:, taps]  # [k, W, W, in, out]
    return pin(matrices.transpose(0, 1, 3, 2, 4)).reshape(k, w * c_in, w * c_out)


def _kernel_gradient_small(x: jax.Array, dy: jax.Array, k: int) -> jax.Array:
    """For each row of taps, from the rows of pixels that it meets."""
    _, h, w, c_in = x.shape
    c_out = dy.shape[-1]
    rows = x.transpose(1, 0, 2, 3)  # [H, B, W, in]
    padded = pin(jnp.pad(dy.transpose(1, 0, 2, 3), ((0, 0), (0, 0), 2 * [k // 2], (0, 0))))
    patches = pin(padded[:, :, np.arange(w)[:, None] + np.arange(k)])  # [H, B, W, k, out]
    kernels = []
    for inputs, outputs in _met_rows(h, k):
        flipped = _product(_transposed(rows[inputs]), patches[outputs].reshape(-1, k * c_out))  # [in, k out]
        kernels.append(flipped.reshape(c_in, k, c_out).transpose(1, 0, 2)[::-1])
    return jnp.stack(kernels)  # [k, k, in, out]


def _met_rows(size: int, k: int) -> list[tuple[slice, slice]]:
    """For each of k taps, the inputs that it meets and the outputs that it is added to, with stride 1."""
    shifts = [t - k // 2 for t in range(k)]
    return [
        (slice(max(shift, 0), size + min(shift, 0)), slice(max(-shift, 0), size - max(shift, 0))) for shift in shifts
    ]


def _patches(x: jax.Array, k: int, stride: int) -> jax.Array:
    """[B, H, W, C] -> [B h w, k k C]."""
    (h, pad_h), (w, pad_w) = (same_padding(size, k, stride) for size in x.shape[1:3])
    rows, columns = (stride * np.arange(n)[:, None] + np.arange(k) for n in (h, w))  # [h, k], [w, k]
    patches = gather_pixels(x, rows[:, None, :, None], columns[None, :, None, :], (pad_h, pad_w))  # [B, h w k k, C]
    return patches.reshape(-1, k * k * x.shape[-1])


def _product(a: jax.Array, b: jax.Array, dtype: Any = None, transposed: bool = False) -> jax.Array:
    """[n, i] x [i, m], or [m, i] if ``transposed``, of bfloat16 -> [n, m] of ``dtype``, that of ``a`` if None.

    XLA multiplies bfloat16 natively, accumulating in float32, only if the result is float32 too.
    """
    contracted = ((1,), (1 if transposed else 0,))
    products = lax.dot_general(a, b, (contracted, ((), ())), preferred_element_type=jnp.float32)
    return products.astype(dtype or a.dtype)


def _transposed(x: jax.Array) -> jax.Array:
    """[..., C] -> [C, pixels], transposed in memory."""
    return pin(x.reshape(-1, x.shape[-1]).T)


conv2d_bfloat16 = bilinear_convolution("conv2d_bfloat16", _conv, _input_gradient, _kernel_gradient)
