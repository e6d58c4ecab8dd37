"""The two losses and the accuracies, on logits: above 0 the discriminator says real, at or below 0 fake.

Logits of a narrower type are converted to float32 first.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dcgan_jax.pinning import at_least_float32


class Losses(NamedTuple):
    """What the two networks minimise.

    Attributes:
      discriminator: ``(real_logits [B, 1], fake_logits [B, 1]) -> scalar``.
      generator: ``(fake_logits [B, 1]) -> scalar``.
      penalty: ``(discriminator, real, fake, key) -> scalar``, which is added to the discriminator's loss, or None.
        ``discriminator`` is a function of images [N, H, W, C] to logits [N, 1], in training mode and always with the
        same dropout; ``real`` and ``fake`` are the step's images [B, H, W, C]. It may differentiate by images.
      penalty_every: steps between penalties; each is multiplied by it, so that the weight stays (lazy regularisation,
        Karras et al., arXiv:1912.04958).
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]
    penalty: Callable[[Callable[[jax.Array], jax.Array], jax.Array, jax.Array, jax.Array], jax.Array] | None = None
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


def discriminator_accuracy(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Share of images classified correctly, at the threshold of Keras's binary accuracy: real if p > 0.5. In [0, 1]."""
    right = (real_logits > 0).sum(dtype=jnp.int32) + (fake_logits <= 0).sum(dtype=jnp.int32)
    return right.astype(jnp.float32) / (real_logits.size + fake_logits.size)


def generator_accuracy(fake_logits: jax.Array) -> jax.Array:
    """Share of fakes that the discriminator classifies as real. In [0, 1]."""
    return (fake_logits > 0).mean(dtype=jnp.float32)


def _float32(logits: jax.Array) -> jax.Array:
    return logits.astype(at_least_float32(logits.dtype))
