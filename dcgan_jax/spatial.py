"""Where the pixels of a convolution are: its padding, its taps, cells of pixels, and arrays in memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def same_padding(size: int, k: int, stride: int) -> tuple[int, tuple[int, int]]:
    """The number of outputs along one axis, and the zeros before and after it, as in TensorFlow's 'SAME'."""
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


def flipped_kernel(kernel: jax.Array, height: int, width: int, stride: int) -> jax.Array:
    """The kernel that turns the gradient of an output into that of the input: [k, k, in, out] -> [m, m, s s, in, out].

    The input's gradient is a convolution of stride 1 for each of the stride's phases, with their own taps and m odd:
    pixel s p + a of an axis was read by output p + (a + before - t) / s with each tap t for which that is an integer.
    The others are 0.
    """
    k = kernel.shape[0]
    rows, columns = (
        _taps_of_phases(height, k, stride),
        _taps_of_phases(width, k, stride),
    )  # [m, s], k where there is none
    m = max(len(rows), len(columns))
    rows, columns = (np.pad(t, (2 * [(m - len(t)) // 2], (0, 0)), constant_values=k) for t in (rows, columns))
    taps = rows[:, None, :, None] * (k + 1) + columns[None, :, None, :]  # [m, m, s, s]
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))).reshape(-1, *kernel.shape[2:])
    return padded[taps.reshape(m, m, stride**2)]


def _taps_of_phases(size: int, k: int, stride: int) -> np.ndarray:
    """[m, s]: the tap with which output p + u - m // 2 read pixel s p + a, or k if there is none."""
    _, (before, _) = same_padding(size, k, stride)
    reads = [(*divmod(a + before - t, stride), a, t) for a in range(stride) for t in range(k)]
    reads = [(u, a, t) for u, rest, a, t in reads if rest == 0]
    reach = max(abs(u) for u, _, _ in reads)
    taps = np.full((2 * reach + 1, stride), k)
    for u, a, t in reads:
        taps[u + reach, a] = t
    return taps


def pin(x: jax.Array) -> jax.Array:
    """The same array, its last axis fastest in memory: XLA may neither change that nor merge it with a reshape.

    A program for several devices has no such constraint, because XLA cannot divide it among them and would gather the
    array; nor has an exported one, because other compilers may not support it.
    """
    return _pin_p.bind(x)


_pin_p = Primitive("pin")
_pin_p.def_impl(lambda x: x)
_pin_p.def_abstract_eval(lambda x: x)
ad.deflinear2(_pin_p, lambda dx, x: [_pin_p.bind(dx)])
batching.defvectorized(_pin_p)


def _lower_pin(ctx: mlir.LoweringRuleContext, x: Any) -> Any:
    def constrain(x: jax.Array) -> jax.Array:
        return with_layout_constraint(x, Layout(tuple(range(x.ndim))))

    module = ctx.module_context
    pinned = getattr(module.axis_context, "num_devices", None) == 1 and not module.lowering_parameters.for_export
    return mlir.lower_fun(constrain, multiple_results=False)(ctx, x) if pinned else [x]


mlir.register_lowering(_pin_p, _lower_pin)


def gather_pixels(
    x: jax.Array, rows: np.ndarray, columns: np.ndarray, pads: tuple[tuple[int, int], ...], first: int | None = None
) -> jax.Array:
    """The pixels of the padded images at constant positions, which broadcast to n: [B, H, W, C] -> [B, n, C].

    With ``first`` -> [first, B, n / first, C]. With one index per pixel, and the operand and the result pinned, XLA
    copies rows of channels, 5 to 20 times as fast as it concatenates slices, and computes the operand only once.
    """
    b, _, _, c = x.shape
    x = pin(jnp.pad(x, ((0, 0), *pads, (0, 0))))
    places = np.ravel(rows * x.shape[2] + columns)
    pixels = x.reshape(b, -1, c)[:, places]
    return pin(pixels if first is None else pixels.reshape(b, first, -1, c).swapaxes(0, 1))
