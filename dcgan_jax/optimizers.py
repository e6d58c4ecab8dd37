"""RMSprop as Keras defines it, as an Optax transformation, and the tutorial's published settings."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from dcgan_jax.pinning import at_least_float32

Scalar = float | jax.Array


class RMSpropState(NamedTuple):
    """``count``: updates done, an int32 scalar. ``nu``: the moving mean of squared gradients, like the parameters."""

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]  # Optax's name for it
    nu: optax.Updates


def rmsprop(
    learning_rate: Scalar | optax.Schedule,
    decay: Scalar = 0.0,
    clip: Scalar | None = None,
    *,
    eps: Scalar = 1e-7,
    eps_in_sqrt: bool = False,
) -> optax.GradientTransformation:
    """RMSprop with Keras's constants, Keras's time decay and Keras's ``clipvalue``.

    With update t = 0, 1, 2, ... and gradient g, element by element::

        g    <- max(-clip, min(clip, g))             if clip is given
        nu   <- 0.9 nu + 0.1 g^2                     nu = 0 at first
        lr_t  = learning_rate / (1 + decay * t)
        step  = -lr_t * g / (sqrt(nu) + eps)         Keras 2, which the tutorial was written for
        step  = -lr_t * g / sqrt(nu + eps)           Keras 3: eps_in_sqrt=True

    The two places of eps differ in effect: inside the root, eps = 1e-7 damps every gradient whose size is
    below about 3e-4. Optax's own ``rmsprop`` has the second form by default (``eps_in_sqrt=True``), with eps = 1e-8.

    Args:
      learning_rate: a positive number, or an Optax schedule of the update's number.
      decay: per update, at least 0.
      clip: largest absolute value of a gradient element, above 0, or None.
      eps: keeps the division finite.
      eps_in_sqrt: whether eps is inside the square root.

    Returns:
      An `optax.GradientTransformation`. Numbers may be traced, as ``optax.inject_hyperparams`` does.

    References:
      Hinton, Neural Networks for Machine Learning, lecture 6e; ``keras.optimizers.RMSprop``.
    """

    def init(params: optax.Params) -> RMSpropState:
        return RMSpropState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: optax.Updates, state: RMSpropState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RMSpropState]:
        del params
        if clip is not None:
            bound = clip
            updates = jax.tree.map(lambda g: jnp.clip(g, -bound, bound), updates)
        nu = jax.tree.map(lambda g, v: 0.9 * v + 0.1 * jnp.square(g), updates, state.nu)
        base = learning_rate(state.count) if callable(learning_rate) else learning_rate

        def rate(dtype: DTypeLike) -> jax.Array:
            return jnp.asarray(base, dtype) / (1.0 + jnp.asarray(decay, dtype) * state.count.astype(dtype))

        rates = {dtype: rate(dtype) for dtype in dict.fromkeys(map(_wide, jax.tree.leaves(updates)))}

        def step(g: jax.Array, v: jax.Array) -> jax.Array:
            root = jnp.sqrt(v + eps) if eps_in_sqrt else _sqrt(v) + eps
            wide = _wide(g)
            return jnp.asarray(-rates[wide] * g.astype(wide) / root.astype(wide), g.dtype)

        count = jnp.asarray(optax.safe_increment(state.count))
        return jax.tree.map(step, updates, nu), RMSpropState(count, nu)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def _wide(g: jax.Array) -> Any:
    """The dtype that an update is computed in: that of the gradient, float32 at least."""
    return at_least_float32(g.dtype)


def _sqrt(v: jax.Array) -> jax.Array:
    """The square root, whose derivative at 0 is 0 here: a gradient through several updates would be NaN otherwise."""
    zero = v == 0
    return jnp.where(zero, jnp.zeros_like(v), jnp.sqrt(jnp.where(zero, jnp.ones_like(v), v)))


class Preset(NamedTuple):
    """One published pair of optimizers."""

    discriminator: optax.GradientTransformation
    generator: optax.GradientTransformation


PRESETS = ("tutorial", "article", "upstream", "keras3")


@functools.cache  # the same objects each time, so that two states of one preset share a compiled step
def preset(name: str) -> Preset:
    """The pair of optimizers that one source of the tutorial publishes.

    Args:
      name: ``tutorial``, what the walkthrough gives as the current code; ``article``, the article's own
        listing; ``upstream``, the last version in the tutorial's repository (efe15a1); ``keras3``, the
        walkthrough's settings as Keras 3 runs them, with epsilon inside the root.

    Raises:
      ValueError: for any other name.
    """
    match name:
        case "tutorial":
            return Preset(discriminator=rmsprop(1e-4, 3e-8), generator=rmsprop(1e-4, 3e-8))
        case "article":
            return Preset(discriminator=rmsprop(8e-4, 6e-8, clip=1.0), generator=rmsprop(4e-4, 3e-8, clip=1.0))
        case "upstream":
            return Preset(discriminator=rmsprop(2e-4, 6e-8), generator=rmsprop(1e-4, 3e-8))
        case "keras3":
            one = rmsprop(1e-4, 3e-8, eps_in_sqrt=True)
            return Preset(discriminator=one, generator=one)
    raise ValueError(f"unknown preset {name!r}: choose from {', '.join(PRESETS)}")
