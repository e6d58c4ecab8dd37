"""The losses and accuracies, by hand and at extreme logits."""

import jax.numpy as jnp
import numpy as np

from dcgan_jax import discriminator_loss, generator_loss
from dcgan_jax.losses import discriminator_accuracy, generator_accuracy


def test_losses_agree_with_their_formulas():
    real, fake = jnp.array([[2.0], [-1.0]]), jnp.array([[0.5], [-3.0]])

    def softplus(x):
        return np.log1p(np.exp(x))

    by_hand = (softplus(-2.0) + softplus(1.0) + softplus(0.5) + softplus(-3.0)) / 4
    np.testing.assert_allclose(discriminator_loss(real, fake), by_hand, rtol=1e-6)
    np.testing.assert_allclose(generator_loss(fake), (softplus(-0.5) + softplus(3.0)) / 2, rtol=1e-6)


def test_real_is_label_one_and_fake_label_zero():
    high, low = jnp.full((3, 1), 8.0), jnp.full((3, 1), -8.0)
    assert discriminator_loss(high, low) < 1e-3 < 5 < discriminator_loss(low, high)
    assert generator_loss(high) < 1e-3 < 5 < generator_loss(low)


def test_losses_of_huge_logits_are_finite():
    huge = jnp.array([[1e4]])
    assert discriminator_loss(-huge, huge) == 1e4
    assert generator_loss(-huge) == 1e4


def test_accuracies_count_above_one_half():
    """A probability of exactly 0.5 is not classified as real: Keras counts predictions above its threshold."""
    real, fake = jnp.array([[1.0], [0.0], [-1.0]]), jnp.array([[0.0], [2.0], [-2.0]])
    np.testing.assert_allclose(discriminator_accuracy(real, fake), 3 / 6)
    np.testing.assert_allclose(generator_accuracy(fake), 1 / 3)
