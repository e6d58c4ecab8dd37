"""The losses and accuracies, by hand and at extreme logits."""

import jax.numpy as jnp
import numpy as np
import pytest

from dcgan_jax import discriminator_loss, generator_loss
from dcgan_jax.losses import LOSSES, discriminator_accuracy, generator_accuracy, named_losses, pair_accuracy


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


REAL, FAKE = jnp.array([[2.0], [-1.0]]), jnp.array([[0.5], [-3.0]])


def softplus(x):
    return np.log1p(np.exp(x))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        # max(0, 1 - 2) + max(0, 1 + 1) and max(0, 1 + 0.5) + max(0, 1 - 3), of two each
        ("hinge", (0 + 2) / 2 + (1.5 + 0) / 2, (-0.5 + 3) / 2),
        # (2 - 1)^2 + (-1 - 1)^2 and (0.5 + 1)^2 + (-3 + 1)^2, halves of the means; 0.5^2 + 3^2
        ("least-squares", ((1 + 4) / 2 + (2.25 + 4) / 2) / 2, (0.25 + 9) / 2 / 2),
        ("wasserstein", (0.5 - 3) / 2 - (2 - 1) / 2, (-0.5 + 3) / 2),
        # Pairs: 0.5 - 2 and -3 + 1
        ("relativistic", (softplus(-1.5) + softplus(-2.0)) / 2, (softplus(1.5) + softplus(2.0)) / 2),
    ],
)
def test_named_losses_by_hand(name, discriminator, generator):
    losses = named_losses(name)
    np.testing.assert_allclose(losses.discriminator(REAL, FAKE), discriminator, rtol=1e-6)
    logits = (REAL, FAKE) if losses.pairwise else (FAKE,)
    np.testing.assert_allclose(losses.generator(*logits), generator, rtol=1e-6)


def test_every_name_has_losses():
    assert len({named_losses(name) for name in LOSSES}) == len(LOSSES)
    with pytest.raises(ValueError, match="unknown loss 'vanilla': choose from cross-entropy, hinge"):
        named_losses("vanilla")


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_bfloat16_are_float32(name):
    """Logits of 8 bits would make a mean of thousands of them inexact."""
    losses = named_losses(name)
    real, fake = REAL.astype(jnp.bfloat16), FAKE.astype(jnp.bfloat16)
    assert losses.discriminator(real, fake).dtype == jnp.float32
    assert losses.generator(*((real, fake) if losses.pairwise else (fake,))).dtype == jnp.float32


def test_accuracy_of_pairs_ignores_a_constant():
    """Only differences of a relativistic loss's logits have a meaning."""
    real, fake = jnp.array([[5.0], [7.0], [9.0]]), jnp.array([[4.0], [8.0], [9.0]])
    np.testing.assert_allclose(pair_accuracy(real, fake), 1 / 3)
    np.testing.assert_allclose(pair_accuracy(real - 100, fake - 100), 1 / 3)
