"""Options with which XLA compiles a run's programs for a CPU: in half the time, and to use less memory."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dcgan_jax.training.environment import xla_flags

_LEVEL = "xla_backend_optimization_level"  # of LLVM: 3 by default
_SCHEDULER = "xla_cpu_scheduler_type"


@functools.cache
def quick_options() -> dict[str, Any]:
    """Options for `jax.jit` to compile in half the time; none if they cannot be had, or ``XLA_FLAGS`` decides it.

    LLVM then unrolls less. The large convolutions of this package, which are products of XLA's libraries, run as fast;
    sums are rounded in another order. Integers and random draws are the same. In bfloat16 a step takes 1.15 times as
    long, as more of it is conversions and copies.
    """
    return _accepted(_LEVEL, 1)


@functools.cache
def memory_options() -> dict[str, Any]:
    """Options for `jax.jit` to compute one product after the other; none where `quick_options` would have none.

    By default XLA orders a program so that as many as possible can run at once, each with its own temporary arrays. A
    product occupies all cores by itself: one by one a step in float32 takes as long, to the same bits, in two thirds of
    the memory. In bfloat16 it takes 1.1 times as long.
    """
    return _accepted(_SCHEDULER, "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED")


def _accepted(name: str, value: Any) -> dict[str, Any]:
    """The option, if the default device is a CPU, ``XLA_FLAGS`` does not decide it, and JAX has it."""
    if jax.default_backend() != "cpu" or name in (xla_flags() or ""):
        return {}
    options = {name: value}
    try:
        jax.jit(lambda: jnp.int32(0), compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return {}
    return options
