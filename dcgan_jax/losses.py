"""The two losses and the accuracies, on logits: above 0 the discriminator says real, at or below 0 fake.

Logits of a narrower type are converted to float32 first.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dcgan_jax.dtypes import at_least_float32

Penalty = Callable[[Callable[[jax.Array], jax.Array], jax.Array, jax.Array, jax.Array], jax.Array]


class Losses(NamedTuple):
    """What the two networks minimise.

    Attributes:
      discriminator: ``(real_logits [B, 1], fake_logits [B, 1]) -> scalar``.
      generator: ``(fake_logits [B, 1]) -> scalar``.
      penalty: ``(discriminator, real, fake, key) -> scalar``, which is added to the discriminator's loss, or None.
        ``discriminator`` is a function of images [N, H, W, C] to logits [N, 1], in training mode and always with the
        same dropout; ``real`` and ``fake`` are the step's images [B, H, W, C]. It may differentiate by images.
      penalty_every: steps between penalties; each is multiplied by it, so that the weight stays (lazy regularisation,
        Karras et al., arXiv:1912.04958). They are counted by the state's ``step``, which `train_step` advances; a loop
        of your own over ``discriminator_step`` advances it itself, or takes a penalty in each step.
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]
    penalty: Penalty | None = None
    penalty_every: int = 1


def discriminator_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Mean binary cross-entropy of real images against label 1 and of fakes against label 0.

    Args:
      real_logits: [B, 1].
      fake_logits: [B', 1]. Every image counts the same, real or fake.

    Returns:
      A scalar, in nats, at least 0; ln 2 = 0.693 for a discriminator at chance.
    """
    real_logits, fake_logits = _float32(real_logits), _float32(fake_logits)
    real = optax.sigmoid_binary_cross_entropy(real_logits, jnp.ones_like(real_logits))
    fake = optax.sigmoid_binary_cross_entropy(fake_logits, jnp.zeros_like(fake_logits))
    return (real.sum() + fake.sum()) / (real.size + fake.size)  # without moving any where they are sharded


def generator_loss(fake_logits: jax.Array) -> jax.Array:
    """Mean binary cross-entropy of fakes against label 1: the non-saturating loss (Goodfellow et al. 2014).

    Args:
      fake_logits: [B, 1].

    Returns:
      A scalar, in nats, at least 0.
    """
    fake_logits = _float32(fake_logits)
    return optax.sigmoid_binary_cross_entropy(fake_logits, jnp.ones_like(fake_logits)).mean()


CROSS_ENTROPY = Losses(discriminator_loss, generator_loss)  # the tutorial's


def r1_penalty(gamma: float) -> Penalty:
    """R1, a penalty for `Losses`: gamma / 2 times the mean of ``|dD/dx|^2`` over the real images x, D in logits.

    It keeps the discriminator flat where the data is, so that the two networks do not circle (Mescheder et al.,
    arXiv:1801.04406).

    Raises:
      ValueError: unless ``gamma`` is a finite number of at least 0.
    """
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma must be a number of at least 0, got {gamma}")
    return _R1(gamma)


@dataclasses.dataclass(frozen=True)
class _R1:
    """The penalty of `r1_penalty`: a class and not a closure, so that equal ones are equal, and can be pickled."""

    gamma: float

    def __call__(
        self, discriminator: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array, key: jax.Array
    ) -> jax.Array:
        del fake, key
        slopes = _float32(jax.grad(lambda x: discriminator(x).sum())(real))  # [B, H, W, C]
        return self.gamma / 2 * jnp.square(slopes).sum((1, 2, 3)).mean()


def discriminator_accuracy(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Share of images classified correctly, at the threshold of Keras's binary accuracy: real if p > 0.5. In [0, 1]."""
    right = (real_logits > 0).sum(dtype=jnp.int32) + (fake_logits <= 0).sum(dtype=jnp.int32)
    return right.astype(jnp.float32) / (real_logits.size + fake_logits.size)


def generator_accuracy(fake_logits: jax.Array) -> jax.Array:
    """Share of fakes that the discriminator classifies as real. In [0, 1]."""
    return (fake_logits > 0).mean(dtype=jnp.float32)


def _float32(logits: jax.Array) -> jax.Array:
    return logits.astype(at_least_float32(logits.dtype))
