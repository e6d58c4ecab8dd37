"""Dtypes of at least float32, and JAX's defaults for promotion and transfers."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def at_least_float32(dtype: DTypeLike) -> Any:
    """The dtype itself, or float32 if it is narrower or not floating point."""
    dtype = jnp.dtype(dtype)
    return dtype if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize > 4 else jnp.dtype(jnp.float32)


@contextlib.contextmanager
def jax_defaults() -> Iterator[None]:
    """A context, or decorator, with JAX's defaults for rank promotion, dtype promotion and transfers.

    Only for code of this package: a caller's modules run under the caller's settings.
    """
    with (
        jax.transfer_guard("allow"),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield
