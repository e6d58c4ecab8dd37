"""Options with which XLA compiles a program for a CPU in half the time.

LLVM then unrolls less. The large convolutions of this package, which are products of XLA's libraries, run as fast; sums
are rounded in another order. Integers and random draws are the same.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dcgan_jax.training.environment import xla_flags

_LEVEL = "xla_backend_optimization_level"  # of LLVM: 3 by default


@functools.cache
def quick_options() -> dict[str, Any]:
    """Options for `jax.jit`; none on other devices, if ``XLA_FLAGS`` decides it, or where JAX has no such option."""
    if jax.default_backend() != "cpu" or _LEVEL in (xla_flags() or ""):
        return {}
    options = {_LEVEL: 1}
    try:
        jax.jit(lambda: jnp.int32(0), compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return {}
    return options
