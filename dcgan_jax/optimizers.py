"""Optimizers as Optax transformations: RMSprop as Keras defines it, and Muon."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike

from dcgan_jax.dtypes import at_least_float32

Scalar = float | jax.Array
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # K. Jordan's coefficients; five iterations give singular values 0.7 to 1.2
_EPS = 1e-8  # Muon's


class RMSpropState(NamedTuple):
    """``count``: updates done, an int32 scalar. ``nu``: the moving mean of squared gradients, shaped as the parameters.

    ``learning_rate``: a scalar if the rate is an array, else None.
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]  # Optax's name for it
    nu: optax.Updates
    learning_rate: jax.Array | None = None


def rmsprop(
    learning_rate: Scalar | optax.Schedule,
    decay: Scalar = 0.0,
    clip: Scalar | None = None,
    *,
    eps: Scalar = 1e-7,
    eps_in_sqrt: bool = False,
) -> optax.GradientTransformation:
    """RMSprop with Keras's constants, time decay and ``clipvalue``.

    With update t = 0, 1, 2, ... and gradient g, element by element::

        g    <- max(-clip, min(clip, g))             if clip is given
        nu   <- 0.9 nu + 0.1 g^2                     nu = 0 at first
        lr_t  = learning_rate / (1 + decay * t)
        step  = -lr_t * g / (sqrt(nu) + eps)         Keras 2, which the tutorial was written for
        step  = -lr_t * g / sqrt(nu + eps)           Keras 3: eps_in_sqrt=True

    The place of eps matters: inside the root, eps = 1e-7 damps every gradient smaller than about 3e-4.
    Optax's own ``rmsprop`` has the second form by default (``eps_in_sqrt=True``), with eps = 1e-8.

    Args:
      learning_rate: a positive number, or an Optax schedule of the update's number. A rate that is an array is a leaf
        of the optimizer's state, so that states with different rates can be stacked and trained under ``jax.vmap``;
        inside another transformation, such as ``optax.chain``, it needs ``optax.inject_hyperparams`` for that.
      decay: of the learning rate per update, at least 0.
      clip: largest absolute value of a gradient element, above 0, or None.
      eps: keeps the division finite.
      eps_in_sqrt: whether eps is inside the square root.

    Returns:
      An `optax.GradientTransformation`. Numbers may be traced, as with ``optax.inject_hyperparams``.

    Raises:
      ValueError: if a number that is not traced is out of range; a rate of 0 is allowed, and moves nothing.
      TypeError: if it is not a number.

    References:
      Hinton, Neural Networks for Machine Learning, lecture 6e; ``keras.optimizers.RMSprop``.
    """
    _check_numbers(learning_rate=learning_rate, decay=decay, eps=eps)
    if clip is not None:
        _check_numbers(clip=clip)
        if not isinstance(clip, Tracer) and not clip > 0:
            raise ValueError(f"clip must be above 0, got {clip}")
    rule = _RMSprop(learning_rate, decay, clip, eps, eps_in_sqrt)
    return optax.GradientTransformationExtraArgs(_Init(_init_rmsprop, learning_rate), rule)  # pyright: ignore[reportArgumentType]


def _check_numbers(below: float = math.inf, **values: Any) -> None:
    """Raises: ValueError or TypeError unless each is a number in [0, below), a schedule, or traced."""
    for name, value in values.items():
        if callable(value) or isinstance(value, Tracer):
            continue
        if isinstance(value, bool | str) or not np.issubdtype(np.asarray(value).dtype, np.number):
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not ((np.asarray(value) >= 0) & (np.asarray(value) < below)).all():
            raise ValueError(f"{name} must be at least 0 and below {below}, got {value}")


@dataclasses.dataclass(frozen=True)
class _Init:
    """The initial state of a rule, which holds the rate if that is an array."""

    zeros: Callable[[optax.Params], Any]
    rate: Scalar | optax.Schedule

    def __call__(self, params: optax.Params) -> Any:
        state, rate = self.zeros(params), self.rate
        return state._replace(learning_rate=jnp.copy(rate)) if isinstance(rate, jax.Array) else state


def without_rate(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`rmsprop` or `muon` without the array rate that is a leaf of its state; any other transformation unchanged.

    It updates such a state, and is the same for every rate, so that it can be static where the state is a pytree.
    """
    rule = tx.update
    if not (isinstance(rule, _RMSprop | _Muon) and isinstance(rule.learning_rate, jax.Array)):
        return tx
    return type(tx)(_no_rate, dataclasses.replace(rule, learning_rate=None))


def _no_rate(params: optax.Params) -> Any:
    raise ValueError("the learning rate of this optimizer is in its first state: build the optimizer anew for another")


def _init_rmsprop(params: optax.Params) -> RMSpropState:
    return RMSpropState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))


@dataclasses.dataclass(frozen=True)
class _RMSprop:
    """The update of `rmsprop`: a class rather than a closure, so that it compares by value and can be pickled."""

    learning_rate: Scalar | optax.Schedule | None  # None: that of the state
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
        base = state.learning_rate if self.learning_rate is None else self.learning_rate
        base = base(state.count) if callable(base) else base

        def rate(dtype: DTypeLike) -> jax.Array:
            return jnp.asarray(base, dtype) / (1.0 + jnp.asarray(self.decay, dtype) * state.count.astype(dtype))

        rates = {dtype: rate(dtype) for dtype in dict.fromkeys(map(_wide, jax.tree.leaves(updates)))}

        def step(g: jax.Array, v: jax.Array) -> jax.Array:
            root = jnp.sqrt(v + eps) if self.eps_in_sqrt else _sqrt(v) + eps
            wide = _wide(g)
            return jnp.asarray(-rates[wide] * g.astype(wide) / root.astype(wide), g.dtype)

        count = jnp.asarray(optax.safe_increment(state.count))
        return jax.tree.map(step, updates, nu), RMSpropState(count, nu, state.learning_rate)


def _wide(g: jax.Array) -> Any:
    """The dtype that an update is computed in: that of the gradient, at least float32."""
    return at_least_float32(g.dtype)


def _sqrt(v: jax.Array) -> jax.Array:
    """The square root, with a derivative of 0 at 0: a gradient through several updates would be NaN otherwise."""
    zero = v == 0
    return jnp.where(zero, jnp.zeros_like(v), jnp.sqrt(jnp.where(zero, jnp.ones_like(v), v)))


@dataclasses.dataclass(frozen=True)
class InverseSqrt:
    """A learning-rate schedule: ``rate / sqrt(1 + t / steps)`` in update t = 0, 1, 2, ...

    It does not depend on the length of the run, so a longer run starts like a shorter one. A class rather than a
    closure, so that it compares by value and can be pickled.
    """

    rate: float
    steps: float

    def __call__(self, count: ArrayLike) -> jax.Array:
        return self.rate / jnp.sqrt(1 + jnp.asarray(count, jnp.float32) / self.steps)


class MuonState(NamedTuple):
    """``count``: updates done, an int32 scalar. ``mu``: the momentum. ``nu``: the mean of squares, of vectors only.

    ``learning_rate``: a scalar if the rate is an array, else None.
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]  # Optax's name for it
    mu: optax.Updates
    nu: optax.Updates
    learning_rate: jax.Array | None = None


def muon(
    learning_rate: Scalar | optax.Schedule,
    momentum: float = 0.5,
    *,
    vector_rate: Scalar | optax.Schedule = 1e-3,
    b2: float = 0.99,
) -> optax.GradientTransformation:
    """Muon for kernels, and Adam for biases and scales.

    A kernel [..., inputs, outputs] is taken as a matrix with a row for each input at each position. With its
    gradient g in update t = 1, 2, ...::

        mu   <- momentum mu + (1 - momentum) g                                   mu = 0 at first
        m     = momentum mu / (1 - momentum^(t + 1)) + (1 - momentum) g / (1 - momentum^t)     (Nesterov)
        step  = -learning_rate * sqrt(max(1, outputs / inputs)) * orthogonal(m)

    ``orthogonal(m)`` has the singular vectors of m, with singular values near 1. The gradient of a deep layer lies in a
    few directions; this rule moves the others as far. Parameters with fewer than two axes are updated by Adam with
    Nesterov momentum, at ``vector_rate``.

    Args:
      learning_rate: a positive number, or an Optax schedule of the update's number: the largest change of a layer's
        output in one step, relative to its input. An array is a leaf of the optimizer's state, as in `rmsprop`.
      momentum: in [0, 1). Low, as in most GANs: the loss of one network changes with every step of the other.
      vector_rate: Adam's learning rate. If it is a number and ``learning_rate`` a schedule, the ratio of the two stays
        as at the schedule's start; a schedule of its own is used as it is.
      b2: Adam's decay of the mean of squares, in [0, 1).

    Raises:
      ValueError: if a number is out of range, or ``learning_rate`` starts at 0 and ``vector_rate`` is not a schedule.

    References:
      Jordan and others, Muon: An optimizer for hidden layers (2024); Bernstein and Newhouse, arXiv:2409.20325;
      ``optax.contrib.muon``, which gives the same steps.
    """
    _check_numbers(learning_rate=learning_rate, vector_rate=vector_rate)
    _check_numbers(below=1.0, momentum=momentum, b2=b2)
    if callable(learning_rate) and not callable(vector_rate):
        start = learning_rate(0)
        if not isinstance(start, Tracer) and not np.asarray(start) > 0:
            raise ValueError(
                "learning_rate must start above 0 where vector_rate is a number, which is that of the start, got "
                f"{np.asarray(start):g}: start above 0, or give vector_rate as a schedule too"
            )
    rule = _Muon(learning_rate, momentum, vector_rate, b2)
    return optax.GradientTransformationExtraArgs(_Init(_init_muon, learning_rate), rule)  # pyright: ignore[reportArgumentType]


def _init_muon(params: optax.Params) -> MuonState:
    nu = jax.tree.map(lambda x: jnp.zeros(x.shape if x.ndim < 2 else (), x.dtype), params)
    return MuonState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), nu)


@dataclasses.dataclass(frozen=True)
class _Muon:
    """The update of `muon`: a class rather than a closure, so that it compares by value and can be pickled."""

    learning_rate: Scalar | optax.Schedule | None  # None: that of the state
    momentum: float
    vector_rate: Scalar | optax.Schedule
    b2: float

    def __call__(
        self, updates: optax.Updates, state: MuonState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, MuonState]:
        del params, extra_args
        b1, b2 = self.momentum, self.b2
        rate = state.learning_rate if self.learning_rate is None else self.learning_rate
        vector_rate = self.vector_rate
        if callable(vector_rate):
            vector_rate = vector_rate(state.count)
        elif callable(rate):
            vector_rate = vector_rate * rate(state.count) / rate(0)
        rate = rate(state.count) if callable(rate) else rate
        count = jnp.asarray(optax.safe_increment(state.count))
        mu = jax.tree.map(lambda g, m: b1 * m + (1 - b1) * g, updates, state.mu)
        nu = jax.tree.map(lambda g, v: b2 * v + (1 - b2) * jnp.square(g) if g.ndim < 2 else v, updates, state.nu)

        def step(g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            wide = at_least_float32(g.dtype)
            t, g32, m32 = count.astype(wide), g.astype(wide), m.astype(wide)
            direction = b1 * m32 / (1 - b1 ** (t + 1)) + (1 - b1) * g32 / (1 - b1**t)
            if g.ndim < 2:
                size = jnp.sqrt(v.astype(wide) / (1 - b2**t)) + _EPS
                return jnp.asarray(-jnp.asarray(vector_rate, wide) * direction / size, g.dtype)
            return jnp.asarray(-jnp.asarray(rate, wide) * _orthogonal(direction), g.dtype)

        return jax.tree.map(step, updates, mu, nu), MuonState(count, mu, nu, state.learning_rate)


def _orthogonal(kernel: jax.Array) -> jax.Array:
    """The kernel as a matrix whose singular values are made near sqrt(max(1, outputs / inputs)), in the kernel's shape.

    Five iterations x <- c1 x + c3 (x x^T) x + c5 (x x^T)^2 x. Each multiplies x by a polynomial of its Gram matrix.
    These polynomials commute, so the iterations are products of small square matrices, and x itself is multiplied once.
    In precision below float32 the Gram matrix would get negative eigenvalues, which each iteration multiplies by up to
    12.
    """
    matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    x = kernel.reshape(-1, kernel.shape[-1])  # [inputs, outputs]
    inputs, outputs = x.shape
    x = x.T if inputs > outputs else x  # [n, N], n <= N: the fewer rows, the smaller the products
    x = x / (jnp.sqrt(jnp.square(x).sum()) + _EPS)
    c1, c3, c5 = _NEWTON_SCHULZ
    gram, product = matmul(x, x.T), None  # [n, n]
    for last in (False, False, False, False, True):
        factor = c1 * jnp.eye(*gram.shape, dtype=x.dtype) + c3 * gram + c5 * matmul(gram, gram)
        product = factor if product is None else matmul(factor, product)
        gram = gram if last else matmul(matmul(factor, gram), factor)
    x = matmul(product, x)
    x = x.T if inputs > outputs else x
    return (max(1, outputs / inputs) ** 0.5 * x).reshape(kernel.shape)
