"""A convolution with hand-written gradients that can be differentiated any number of times, in both modes.

The convolution and its two gradients are bilinear, and the derivatives of each are the other two. Autodiff would turn
the extraction of patches or tiles into sums of padded slices, which cost a CPU more than the products.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def bilinear_convolution(
    name: str,
    conv: Callable[..., jax.Array],
    input_gradient: Callable[..., jax.Array],
    kernel_gradient: Callable[..., jax.Array],
) -> Callable[[jax.Array, jax.Array, int], jax.Array]:
    """The convolution ``(x, kernel, stride) -> y`` with 'same' padding, for two arrays of the same dtype.

    Args:
      name: for compiled programs and errors.
      conv: ``(x [B, H, W, in], kernel [k, k, in, out], *, stride) -> y [B, h, w, out]``.
      input_gradient: ``(dy, kernel, *, stride, height, width) -> dx``.
      kernel_gradient: ``(x, dy, *, stride, k) -> dkernel``.
    """
    conv_p = _primitive(name, conv, lambda x, kernel, stride: (x[0], -(-x[1] // stride), -(-x[2] // stride), kernel[3]))
    input_p = _primitive(
        f"{name}_input_gradient",
        input_gradient,
        lambda dy, kernel, stride, height, width: (dy[0], height, width, kernel[2]),
    )
    kernel_p = _primitive(f"{name}_kernel_gradient", kernel_gradient, lambda x, dy, stride, k: (k, k, x[3], dy[3]))

    def to_input(dy: jax.Array, x: Any, kernel: jax.Array, stride: int) -> jax.Array:
        return input_p.bind(dy, kernel, stride=stride, height=x.aval.shape[1], width=x.aval.shape[2])

    def to_kernel(dy: jax.Array, x: jax.Array, kernel: Any, stride: int) -> jax.Array:
        return kernel_p.bind(x, dy, stride=stride, k=kernel.aval.shape[0])

    def to_output(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
        return conv_p.bind(x, kernel, stride=stride)

    # The transposes of <dy, conv(x, kernel)> in its three arguments; the one that a rule is for has only a shape.
    ad.defbilinear(conv_p, to_input, to_kernel)
    ad.defbilinear(
        input_p,
        lambda x, dy, kernel, stride, **_: to_output(x, kernel, stride),
        lambda x, dy, kernel, stride, **_: to_kernel(dy, x, kernel, stride),
    )
    ad.defbilinear(
        kernel_p,
        lambda kernel, x, dy, stride, k: to_input(dy, x, kernel, stride),
        lambda kernel, x, dy, stride, k: to_output(x, kernel, stride),
    )
    return to_output


def _primitive(name: str, compute: Callable[..., jax.Array], shape: Callable[..., tuple[int, ...]]) -> Primitive:
    """A primitive of two arrays that is compiled as ``compute``, with no derivatives yet."""
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(compute, static_argnames=tuple(inspect.signature(compute).parameters)[2:]))
    primitive.def_abstract_eval(lambda a, b, **sizes: ShapedArray(shape(a.shape, b.shape, **sizes), a.dtype))
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))

    def batch(arrays: Any, axes: Any, **sizes: int) -> tuple[jax.Array, int]:
        n = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
        stacked = [
            jnp.broadcast_to(array, (n, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
            for array, axis in zip(arrays, axes, strict=True)
        ]
        return lax.map(lambda each: primitive.bind(*each, **sizes), stacked), 0

    batching.primitive_batchers[primitive] = batch
    return primitive
