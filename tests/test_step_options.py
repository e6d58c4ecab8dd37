"""Losses of pairs, several updates of D, and learning rates as leaves, in whole steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_same_bits, quick_jit, small_gan

from dcgan_jax import (
    CROSS_ENTROPY,
    RELATIVISTIC,
    Losses,
    discriminator_step,
    generator_step,
    muon,
    r1_penalty,
    r2_penalty,
    rmsprop,
    sum_penalties,
    train_step,
)

quick_step = quick_jit(train_step)


def logits(update):
    real = {} if update.real_logits is None else {"real": update.real_logits}
    return {**real, "fake": update.fake_logits}


def test_pairwise_loss_sees_real_logits_of_new_d(small_images, key):
    """Those of the discriminator after its update, which is without dropout here; D stays as it was updated."""
    state = small_gan(jax.random.key(1), losses=RELATIVISTIC, metrics=logits)
    discriminator_key, generator_key = jax.random.split(key)
    updated, _ = quick_jit(discriminator_step)(state, small_images, discriminator_key)
    after, metrics = quick_step(state, small_images, key)
    assert_close(after.discriminator.params, updated.discriminator.params, 1e-6)  # two programs, one rounding each
    assert metrics["g_real"].shape == metrics["g_fake"].shape == (6, 1)
    np.testing.assert_allclose(
        metrics["g_loss"], np.log1p(np.exp(metrics["g_real"] - metrics["g_fake"])).mean(), rtol=1e-6
    )
    np.testing.assert_allclose(metrics["g_accuracy"], (metrics["g_fake"] > metrics["g_real"]).mean())
    np.testing.assert_allclose(metrics["d_accuracy"], (metrics["d_real"] > metrics["d_fake"]).mean())


def test_pairwise_loss_needs_the_images(small_state, key):
    state = small_state.replace(losses=RELATIVISTIC)
    with pytest.raises(ValueError, match="pass images to generator_step"):
        generator_step(state, key, 6)


def test_pairwise_that_ignores_reals_is_plain(small_images, key):
    """A generator's loss that ignores the real logits trains as the one that is not given them."""
    ignoring = CROSS_ENTROPY._replace(generator=lambda real, fake: CROSS_ENTROPY.generator(fake), pairwise=True)
    sgd = {"generator_tx": optax.sgd(0.1), "discriminator_tx": optax.sgd(0.1)}
    plain, _ = quick_step(small_gan(jax.random.key(1), **sgd), small_images, key)
    pairs, _ = quick_step(small_gan(jax.random.key(1), losses=ignoring, **sgd), small_images, key)
    for x, y in zip(jax.tree.leaves(pairs.generator.params), jax.tree.leaves(plain.generator.params), strict=True):
        # Two programs sum in another order: the last digit of numbers up to 1, of which SGD takes a tenth.
        np.testing.assert_allclose(x, y, rtol=0, atol=2**-24)


def test_r3gan_step_trains_both(small_images, key):
    """All but the bias of D's last layer: a constant of all logits has no gradient where pairs are compared."""
    losses = RELATIVISTIC._replace(penalty=sum_penalties(r1_penalty(0.1), r2_penalty(0.1)))
    state = small_gan(jax.random.key(1), losses=losses)
    after, metrics = quick_step(state, small_images, key)
    assert metrics["d_penalty"] > 0
    for half in ("generator", "discriminator"):
        before, now = (jax.tree.leaves(getattr(each, half).params) for each in (state, after))
        still = [x.shape for x, y in zip(before, now, strict=True) if (x == y).all()]
        assert still == ([] if half == "generator" else [(1,)])


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        (Losses(lambda real, fake: fake - real, lambda fake: fake.mean()), "the discriminator's loss must return a sc"),
        (Losses(lambda real, fake: fake.mean(), lambda fake: fake), r"the generator's loss .* array of shape \(6, 1\)"),
        (CROSS_ENTROPY._replace(penalty=lambda d, real, fake, key: d(real)), "the penalty must return a scalar"),
        (Losses(lambda real, fake: (fake > 0).sum(), lambda fake: fake.mean()), "a floating-point scalar, got int32"),
    ],
)
def test_losses_that_are_no_scalar_are_refused(losses, says, small_images, key):
    with pytest.raises((ValueError, TypeError), match=says):
        train_step(small_gan(jax.random.key(1), losses=losses), small_images, key)


def test_d_steps_are_updates_on_shares_of_the_batch(key):
    """Update i takes each second image from image i on; G's real images are those of the last."""
    images = jnp.asarray(np.random.default_rng(3).integers(0, 256, (12, 8, 8, 1), np.uint8))
    one, two = (small_gan(jax.random.key(1), d_steps=n) for n in (1, 2))
    after, metrics = quick_step(two, images, key)
    discriminator_key, generator_key = jax.random.split(key)
    d_step, g_step = quick_jit(discriminator_step), quick_jit(generator_step, static_argnums=2)
    expected = one
    for i, each in enumerate(jax.random.split(discriminator_key, 2)):
        expected, d_metrics = d_step(expected, images[i::2], each)
    expected, g_metrics = g_step(expected, generator_key, 6, images[1::2])
    # Three programs for one: their roundings differ, and RMSprop's first steps are signs of gradients near 0, too.
    assert_close(after.discriminator.params, expected.discriminator.params, 1e-3)
    np.testing.assert_allclose(metrics["d_loss"], d_metrics["d_loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["g_loss"], g_metrics["g_loss"], rtol=1e-4)
    assert int(after.step) == 1


def test_d_steps_that_do_not_divide_the_batch(small_images, key):
    with pytest.raises(ValueError, match="a multiple of d_steps = 4, got 6"):
        train_step(small_gan(key, d_steps=4), small_images, key)
    with pytest.raises(ValueError, match="d_steps must be an integer of at least 1, got 0"):
        small_gan(key, d_steps=0)


@pytest.mark.parametrize("optimizer", [rmsprop, muon])
def test_rates_that_are_arrays_are_swept_by_vmap(optimizer, small_images, key):
    """A population is one ``vmap``; each member moves as a GAN of its rate alone."""

    def member(rate):
        return small_gan(jax.random.key(1), generator_tx=optimizer(rate), discriminator_tx=optimizer(rate))

    rates = jnp.array([1e-3, 1e-2], jnp.float32)
    with jax.checking_leaks():
        population = jax.vmap(member)(rates)
    after, _ = quick_jit(jax.vmap(train_step, in_axes=(0, None, None)))(population, small_images, key)
    for i, rate in enumerate((1e-3, 1e-2)):
        alone, _ = quick_step(member(rate), small_images, key)
        ours = jax.tree.map(lambda x, i=i: x[i], after.discriminator.params)
        # Batched products round otherwise; RMSprop's first step is the sign of a gradient, which may be near 0.
        assert_close(ours, alone.discriminator.params, 0.02)
    np.testing.assert_array_equal(after.generator.opt_state.learning_rate, rates)


def test_a_rate_in_the_state_is_the_rate(small_images, key):
    """As an array and as a number it gives the same bits, and the state of a number has no leaf for it."""
    states = [small_gan(jax.random.key(1), discriminator_tx=rmsprop(rate)) for rate in (1e-3, jnp.float32(1e-3))]
    number, array = (quick_step(state, small_images, key)[0] for state in states)
    assert_same_bits(number.discriminator.params, array.discriminator.params)
    assert len(jax.tree.leaves(array)) == len(jax.tree.leaves(number)) + 1
    other = small_gan(jax.random.key(1), discriminator_tx=rmsprop(jnp.float32(1e-2)))
    assert jax.tree.structure(other) == jax.tree.structure(states[1])  # one compiled step for both
    with pytest.raises(ValueError, match="build the optimizer anew"):
        array.discriminator.tx.init(array.discriminator.params)


def test_injected_rates_still_rule(small_images, key):
    """A rate of ``optax.inject_hyperparams`` that is changed in the state is the one that counts."""
    tx = optax.inject_hyperparams(rmsprop)(learning_rate=1e-3)
    state = small_gan(jax.random.key(1), discriminator_tx=tx)
    still = {**state.discriminator.opt_state.hyperparams, "learning_rate": jnp.float32(0)}
    opt_state = state.discriminator.opt_state._replace(hyperparams=still)
    after, _ = quick_step(
        state.replace(discriminator=state.discriminator.replace(opt_state=opt_state)), small_images, key
    )
    assert_same_bits(after.discriminator.params, state.discriminator.params)
