"""Width of numbers: what computes in at least float32, whatever JAX's settings say."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def at_least_float32(dtype: DTypeLike) -> Any:
    """A floating-point dtype, or float32 if it is narrower or not floating point."""
    dtype = jnp.dtype(dtype)
    return dtype if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize > 4 else jnp.dtype(jnp.float32)


@contextlib.contextmanager
def jax_defaults() -> Iterator[None]:
    """Within, JAX promotes ranks and dtypes and transfers arrays as by default; also a decorator.

    For what runs code of this package alone: a caller's modules are under the caller's settings.
    """
    with (
        jax.transfer_guard("allow"),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield
