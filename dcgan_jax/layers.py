"""The layers of both networks as pure functions.

`conv2d` and `upsample_conv2d` compute the same as their plain formulations (``lax.conv`` with zero 'SAME' padding, the
latter after nearest-neighbour upsampling by 2), but sum in another order. On a CPU they are matrix products
(`dcgan_jax.cpu_conv`), on GPU and TPU a ``lax.conv``: `jax.lax.platform_dependent` chooses when the program is lowered.

All images are [B, H, W, C], all kernels [k, k, in, out] with k odd. Everything is plain JAX, so it can
be differentiated in both modes any number of times, vmapped and sharded.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dcgan_jax.cpu_conv import conv2d_cpu, is_small, upsample_conv2d_small
from dcgan_jax.dtypes import at_least_float32
from dcgan_jax.prng import pin_key
from dcgan_jax.spatial import depth_to_space
from dcgan_jax.types import Kernel, Key, Maps, NewMaps


def conv2d(x: Maps, kernel: Kernel, stride: int = 1, plain: bool = False) -> NewMaps:
    """Convolve with zero padding as in TensorFlow's and Keras's 'same'.

    Args:
      x: images, [B, H, W, in].
      kernel: [k, k, in, out], k odd.
      stride: step between outputs along both axes, in pixels.
      plain: compute with XLA's convolution on every platform.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), out].

    Raises:
      ValueError: if the shapes do not match.
    """
    _check_shapes(x, kernel)
    if plain:
        return _conv2d_xla(x, kernel, stride)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: conv2d_cpu(x, kernel, stride),
        default=lambda x, kernel: _conv2d_xla(x, kernel, stride),
    )


def upsample_conv2d(x: Maps, kernel: Kernel, plain: bool = False) -> NewMaps:
    """Upsample by 2 with nearest neighbours, then `conv2d` with stride 1, without building the large image.

    Along one axis, output pixel 2p + a (a is 0 or 1) reads the upsampled image at 2p + a + t - r for
    each tap t, r = k // 2, which is low-resolution pixel p + floor((a + t - r) / 2). The taps that meet
    the same pixel add up, so each of the four output phases is a smaller convolution of ``x`` itself (3x3
    for a 5x5 kernel: 9 products instead of 25), and the phases are interleaved at the end. The zero
    padding of the upsampled image and of ``x`` agree.

    Args:
      x: images, [B, H, W, in].
      kernel: [k, k, in, out], k odd. If its dtype is wider than that of the images, the taps are added up in it and
        then rounded to that of the images.
      plain: as in `conv2d`.

    Returns:
      [B, 2 H, 2 W, out].

    Raises:
      ValueError: if the shapes do not match.
    """
    _check_shapes(x, kernel)
    if not plain and is_small(x) and x.dtype == kernel.dtype == at_least_float32(x.dtype):
        return lax.platform_dependent(x, kernel, cpu=upsample_conv2d_small, default=_upsample_conv2d_phases)
    return _upsample_conv2d_phases(x, kernel, plain)


def _upsample_conv2d_phases(x: Maps, kernel: Kernel, plain: bool = False) -> NewMaps:
    k, _, c_in, c_out = kernel.shape
    phases = upsampling_phases(k)  # [2, m, k]
    m = phases.shape[1]
    phases = jnp.asarray(phases, kernel.dtype)
    small = jnp.einsum("aut,bvs,tsio->uviabo", phases, phases, kernel)  # [m, m, in, 2, 2, out]
    small = small.reshape(m, m, c_in, 4 * c_out).astype(x.dtype)
    return depth_to_space(conv2d(x, small, plain=plain), c_out)  # [B, H, W, 4 out] -> [B, 2 H, 2 W, out]


def dropout(x: jax.Array, rate: float, key: Key) -> jax.Array:
    """Zero each element with probability ``rate`` and scale the others so that the expectation is unchanged.

    Each element uses 16 random bits, half of what the random number generator returns at a time: random bits are the
    cost of dropout on a CPU. The rate is rounded to a multiple of 1 / 65,536, and the scale is that of the rounded
    rate, so the expectation is exact.

    Args:
      x: any array with at least one axis.
      rate: in [0, 1).
      key: a PRNG key.

    Raises:
      ValueError: if the rate is out of range.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate must be in [0, 1), got {rate}")
    threshold = min(round(rate * 2**16), 2**16 - 1)
    if threshold == 0:
        return x
    c = x.shape[-1]
    words = jax.random.bits(pin_key(key), (*x.shape[:-1], -(-c // 2)), jnp.uint32)
    halves = lax.bitcast_convert_type(words, jnp.uint16)  # [..., ceil(C / 2), 2]
    halves = halves.reshape(*x.shape[:-1], -1)[..., :c]
    keep = halves >= np.uint16(threshold)
    return jnp.where(keep, x * (2**16 / (2**16 - threshold)), jnp.zeros_like(x))


def _check_shapes(x: jax.Array, kernel: jax.Array) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(
            f"images [B, H, W, in] and a kernel [k, k, in, out] are needed, got {x.shape} and {kernel.shape}"
        )
    if kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ValueError(f"the kernel's height and width must be equal and odd, got {kernel.shape[:2]}")


def _conv2d_xla(x: Maps, kernel: Kernel, stride: int) -> NewMaps:
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def upsampling_phases(k: int) -> np.ndarray:
    """[2, m, k] of zeros and ones: phase a meets low-resolution pixel u - m // 2 with tap t."""
    r = k // 2
    reach = -(-r // 2)
    phases = np.zeros((2, 2 * reach + 1, k))
    for a in range(2):
        for t in range(k):
            phases[a, (a + t - r) // 2 + reach, t] = 1
    return phases
