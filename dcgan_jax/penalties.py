"""Gradient penalties for the discriminator, for `dcgan_jax.losses.Losses`.

Each is a class behind a function rather than a closure, so that it compares by value and can be pickled.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dcgan_jax.dtypes import at_least_float32
from dcgan_jax.types import Images, Key, Logits, Scalar

Judge = Callable[[Images], Logits]  # images [N, H, W, C] to logits [N, 1]
Penalty = Callable[[Judge, Images, Images, Key], Scalar]


def r1_penalty(gamma: float) -> Penalty:
    """R1: gamma / 2 times the mean of ``|dD/dx|^2`` over the real images x, where D is the logit.

    It keeps the discriminator flat around the data, so that training does not cycle (Mescheder et al.,
    arXiv:1801.04406).

    Raises:
      ValueError: unless ``gamma`` is a finite number of at least 0.
    """
    return _FlatDiscriminator(_checked(gamma, "gamma"), of_fakes=False)


def r2_penalty(gamma: float) -> Penalty:
    """R2: as `r1_penalty`, over the fakes; no gradient flows to the generator (arXiv:1801.04406, section 4.1).

    With a relativistic loss a discriminator needs both, to be flat on both sides of a pair (Huang et al.,
    arXiv:2501.05441): `sum_penalties` adds them.

    Raises:
      ValueError: unless ``gamma`` is a finite number of at least 0.
    """
    return _FlatDiscriminator(_checked(gamma, "gamma"), of_fakes=True)


def gradient_penalty(weight: float = 10.0) -> Penalty:
    """WGAN-GP: ``weight`` times the mean of ``(|dD/dx| - 1)^2``, x at random points between a real image and a fake.

    It keeps the critic's gradient norm near 1; without it the Wasserstein loss is unbounded. The default is that of
    Gulrajani et al., arXiv:1704.00028.

    Raises:
      ValueError: unless ``weight`` is a finite number of at least 0.
    """
    return _GradientPenalty(_checked(weight, "weight"))


def sum_penalties(*penalties: Penalty) -> Penalty:
    """The sum of several penalties, such as R1 and R2, each with its own key.

    Raises:
      ValueError: if none is given.
    """
    if not penalties:
        raise ValueError("a sum of penalties needs at least one")
    return _Sum(penalties)


@dataclasses.dataclass(frozen=True)
class _FlatDiscriminator:
    """R1, or R2 if ``of_fakes``."""

    gamma: float
    of_fakes: bool

    def __call__(self, discriminator: Judge, real: Images, fake: Images, key: Key) -> Scalar:
        del key
        return self.gamma / 2 * _squared_slopes(discriminator, fake if self.of_fakes else real).mean()


@dataclasses.dataclass(frozen=True)
class _GradientPenalty:
    weight: float

    def __call__(self, discriminator: Judge, real: Images, fake: Images, key: Key) -> Scalar:
        share = jax.random.uniform(key, (real.shape[0], 1, 1, 1), real.dtype)
        between = share * real + (1 - share) * fake  # [B, H, W, C]
        # 1e-12: the derivative of the root is infinite at 0.
        slopes = jnp.sqrt(_squared_slopes(discriminator, between) + 1e-12)  # [B]
        return self.weight * jnp.square(slopes - 1).mean()


@dataclasses.dataclass(frozen=True)
class _Sum:
    penalties: tuple[Penalty, ...]

    def __call__(self, discriminator: Judge, real: Images, fake: Images, key: Key) -> Scalar:
        keys = jax.random.split(key, len(self.penalties))
        values = [each(discriminator, real, fake, one) for each, one in zip(self.penalties, keys, strict=True)]
        return jnp.stack(values).sum()


def _squared_slopes(discriminator: Judge, images: Images) -> jax.Array:
    """``|dD/dx|^2`` of each image, [B], at least float32."""
    slopes = jax.grad(lambda x: discriminator(x).sum())(images)  # [B, H, W, C]
    return jnp.square(slopes.astype(at_least_float32(slopes.dtype))).sum((1, 2, 3))


def _checked(value: float, name: str) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number of at least 0, got {value}")
    return value
