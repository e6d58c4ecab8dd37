"""RMSprop as Keras defines it, as an Optax transformation, and the tutorial's published settings."""

import dataclasses
import functools
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
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
    rule = _RMSprop(learning_rate, decay, clip, eps, eps_in_sqrt)
    return optax.GradientTransformationExtraArgs(_init, rule)  # pyright: ignore[reportArgumentType]


def _init(params: optax.Params) -> RMSpropState:
    return RMSpropState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))


@dataclasses.dataclass(frozen=True)
class _RMSprop:
    """The update of `rmsprop`: a class and not a closure, so that equal ones are equal, and can be pickled."""

    learning_rate: Scalar | optax.Schedule
    decay: Scalar
    clip: Scalar | None
    eps: Scalar
    eps_in_sqrt: bool

    def __call__(
        self, updates: optax.Updates, state: RMSpropState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, RMSpropState]:
        del params, extra_args
        clip, eps = self.clip, self.eps
        if clip is not None:
            updates = jax.tree.map(lambda g: jnp.clip(g, -clip, clip), updates)
        nu = jax.tree.map(lambda g, v: 0.9 * v + 0.1 * jnp.square(g), updates, state.nu)
        base = self.learning_rate(state.count) if callable(self.learning_rate) else self.learning_rate

        def rate(dtype: DTypeLike) -> jax.Array:
            return jnp.asarray(base, dtype) / (1.0 + jnp.asarray(self.decay, dtype) * state.count.astype(dtype))

        rates = {dtype: rate(dtype) for dtype in dict.fromkeys(map(_wide, jax.tree.leaves(updates)))}

        def step(g: jax.Array, v: jax.Array) -> jax.Array:
            root = jnp.sqrt(v + eps) if self.eps_in_sqrt else _sqrt(v) + eps
            wide = _wide(g)
            return jnp.asarray(-rates[wide] * g.astype(wide) / root.astype(wide), g.dtype)

        count = jnp.asarray(optax.safe_increment(state.count))
        return jax.tree.map(step, updates, nu), RMSpropState(count, nu)


def _wide(g: jax.Array) -> Any:
    """The dtype that an update is computed in: that of the gradient, float32 at least."""
    return at_least_float32(g.dtype)


def _sqrt(v: jax.Array) -> jax.Array:
    """The square root, whose derivative at 0 is 0 here: a gradient through several updates would be NaN otherwise."""
    zero = v == 0
    return jnp.where(zero, jnp.zeros_like(v), jnp.sqrt(jnp.where(zero, jnp.ones_like(v), v)))


def by_value(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same transformation, equal to every other that was built alike.

    Optax's transformations are closures, which Python compares by identity: two states with separately built ones would
    not combine under ``jax.tree.map``, and would each compile the step.
    """
    extra = isinstance(tx, optax.GradientTransformationExtraArgs)
    return (_ExtraArgsByValue if extra else _ByValue)(tx.init, tx.update)


class _Comparison:
    """Equality and hash of a pair of functions by their code and what they close over."""

    def _value(self) -> Any:
        if "_cached" not in self.__dict__:
            self.__dict__["_cached"] = _value(tuple(self), ())  # pyright: ignore[reportArgumentType]
        return self.__dict__["_cached"]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Comparison) and self._value() == other._value())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._value())

    def __getstate__(self) -> None:
        """Nothing: what is cached may hold what cannot be pickled."""


class _ByValue(_Comparison, optax.GradientTransformation):
    pass


class _ExtraArgsByValue(_Comparison, optax.GradientTransformationExtraArgs):
    pass


def _value(x: Any, outer: tuple[int, ...]) -> Any:
    """What ``x`` is compared by, hashable; ``outer`` are the functions that contain it."""
    inner = (*outer, id(x))
    if isinstance(x, types.FunctionType) and id(x) not in outer:
        cells = [cell.cell_contents for cell in x.__closure__ or ()]
        return x.__code__, _value((cells, x.__defaults__, x.__kwdefaults__), inner)
    if isinstance(x, functools.partial):
        return functools.partial, _value((x.func, x.args, x.keywords), inner)
    if isinstance(x, types.MethodType):
        return x.__func__, type(x.__self__), _value(getattr(x.__self__, "__dict__", {}), inner)
    if isinstance(x, dict):
        return dict, frozenset((key, _value(each, inner)) for key, each in x.items())
    if isinstance(x, list | tuple):
        return type(x), *(_value(each, inner) for each in x)
    if isinstance(x, np.ndarray | jax.Array) and not isinstance(x, Tracer):
        array = np.asarray(x)
        return array.dtype, array.shape, array.tobytes()
    try:
        hash(x)
    except TypeError:
        return type(x), id(x)
    return type(x), x  # 1, 1.0 and True are equal


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
