"""PRNG keys that give the same numbers whatever the process-wide settings of JAX and Flax are.

The same seed gives the same run under each of ``jax_enable_x64``, ``jax_threefry_partitionable``,
``jax_default_prng_impl``, ``jax_random_seed_offset``, ``jax_numpy_rank_promotion``, ``jax_numpy_dtype_promotion``,
``jax_transfer_guard``, ``flax_fix_rng_separator`` and ``flax_return_frozendict``.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import random as prng

_THREEFRY = "threefry2x32"


def seed_key(seed: int) -> jax.Array:
    """``jax.random.key(seed, impl="threefry2x32")``, whatever ``jax_random_seed_offset`` is. 0 <= seed < 2^32."""
    with jax.transfer_guard("allow"):
        return jax.random.wrap_key_data(jnp.array([0, seed], jnp.uint32), impl=_THREEFRY)


def seed_keys(seeds: np.ndarray) -> jax.Array:
    """`seed_key` of each of ``seeds``, integers [N]: keys [N]."""
    with jax.transfer_guard("allow"):
        words = np.stack([np.zeros_like(seeds), seeds], axis=-1).astype(np.uint32)
        return jax.random.wrap_key_data(jnp.asarray(words), impl=_THREEFRY)


def pin_key(key: jax.Array) -> jax.Array:
    """The key with an implementation that gives the same numbers whatever ``jax_threefry_partitionable`` is.

    The numbers are those of its default, True. Derived keys are pinned too. Keys of other implementations are
    unchanged.

    Args:
      key: one PRNG key or several, typed or legacy (uint32 [..., 2]).

    Raises:
      TypeError: if it is no key.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or (dtype == np.uint32 and key.ndim)):
        raise TypeError(f"key must be a PRNG key, such as jax.random.key(0), got {key!r}")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape[-1:] != (2,):  # of another implementation
            return key
        return jax.random.wrap_key_data(key, impl=_PINNED)
    if str(jax.random.key_impl(key)) != _THREEFRY:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_PINNED)


def split_key(key: jax.Array, n: int) -> jax.Array:
    """``jax.random.split`` of a ``threefry2x32`` key, whatever ``jax_threefry_partitionable`` is: keys [n]."""
    return jax.random.wrap_key_data(jax.random.key_data(jax.random.split(pin_key(key), n)), impl=_THREEFRY)


@contextlib.contextmanager
def flax_defaults() -> Iterator[None]:
    """A context with Flax's default keys and variables, whatever its environment variables say."""
    with (
        flax.config.temp_flip_flag("fix_rng_separator", False),
        flax.config.temp_flip_flag("return_frozendict", False),
    ):
        yield


def _partitionable(draw: Any) -> Any:
    """JAX reads the setting when it traces or lowers a draw, not when the step is called."""

    def pinned(*args: Any) -> Any:
        with jax.threefry_partitionable(True):
            return draw(*args)

    return pinned


_IMPL = prng.threefry_prng_impl
_PINNED = prng.define_prng_impl(
    key_shape=_IMPL.key_shape,
    seed=_IMPL.seed,
    split=_partitionable(_IMPL.split),
    random_bits=_partitionable(_IMPL.random_bits),
    fold_in=_partitionable(_IMPL.fold_in),
    name="threefry2x32_partitionable",
    tag="fryp",
)
