import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SmallDiscriminator, SmallGenerator, assert_close, assert_same_bits

from dcgan_jax import (
    averaged,
    discriminator_loss,
    discriminator_step,
    generator_step,
    init_state,
    sample,
    train_step,
)
from dcgan_jax.sampling import draw_noise

# A step computed by another program (no jit, a scan, a vmap, two devices) takes its sums in another order.
# RMSprop's first updates are lr * sign(gradient) wherever a gradient is not far below 1e-7, so a gradient that
# is rounding alone can differ by up to two such updates, sqrt(10) * 1e-4 each: parameters are compared to that.
METRIC_TOLERANCE = 1e-5
PARAMETER_ATOL = 2 * 10**0.5 * 1e-4


def assert_same_step(ours, theirs):
    (state, metrics), (other_state, other_metrics) = ours, theirs
    for name in ("d_loss", "g_loss"):
        np.testing.assert_allclose(metrics[name], other_metrics[name], rtol=METRIC_TOLERANCE)
    leaves = zip(jax.tree.leaves(state), jax.tree.leaves(other_state), strict=True)
    gaps = np.concatenate([np.abs(np.asarray(x, np.float64) - np.asarray(y)).ravel() for x, y in leaves])
    assert gaps.max() < PARAMETER_ATOL
    assert np.mean(gaps > 1e-6) < 1e-3  # and such gradients are rare


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def test_one_step_of_the_tutorials_gan(state, digits, key):
    new, metrics = train_step(state, digits, key)
    assert set(metrics) == {"d_loss", "d_accuracy", "g_loss", "g_accuracy"}
    for value in metrics.values():
        assert isinstance(value, jax.Array)
        assert value.shape == ()
    assert 0.5 < metrics["d_loss"] < 1  # close to ln 2: an untrained discriminator cannot tell
    assert new.step == 1
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
        assert jnp.isfinite(after).all()


def test_the_same_inputs_give_the_same_bits_and_stay_untouched(state, digits, key):
    before = jax.tree.map(np.array, state)
    first, second = train_step(state, digits, key), train_step(state, digits, key)
    assert_same_bits(first, second)
    assert_same_bits(state, before)  # the caller's buffers are still there, as they were


def test_another_key_gives_another_step(small_state, small_images, key):
    _, metrics = train_step(small_state, small_images, key)
    _, others = train_step(small_state, small_images, jax.random.key(9))
    assert metrics["g_loss"] != others["g_loss"]


def test_the_step_is_the_composition_of_its_halves(small_state, small_images, key):
    d_key, g_key = jax.random.split(key)
    composed, d_metrics = discriminator_step(small_state, small_images, d_key)
    composed, g_metrics = generator_step(composed, g_key, len(small_images))
    composed = composed.replace(step=composed.step + 1)
    assert_same_step(train_step(small_state, small_images, key), (composed, {**d_metrics, **g_metrics}))


def test_generator_step_leaves_the_discriminator_as_it_is(small_state, key):
    new, _ = generator_step(small_state, key, 6)
    assert_same_bits(new.discriminator, small_state.discriminator)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), new.generator.params, small_state.generator.params)
    assert all(jax.tree.leaves(changed))


def test_discriminator_step_leaves_the_generator_as_it_is(small_state, small_images, key):
    new, _ = discriminator_step(small_state, small_images, key)
    assert_same_bits(new.generator, small_state.generator)
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()), new.discriminator.params, small_state.discriminator.params
    )
    assert all(jax.tree.leaves(changed))


def test_the_generator_learns_against_the_updated_discriminator(small_images, key):
    """With D's update undone before G's, G's loss is another."""
    state = init_state(
        key,
        generator=SmallGenerator(),
        discriminator=SmallDiscriminator(),
        discriminator_tx=optax.sgd(10.0),
        latent_size=5,
    )
    _, metrics = train_step(state, small_images, key)
    _, g_key = jax.random.split(key)
    _, against_old = generator_step(state, g_key, len(small_images))
    assert abs(metrics["g_loss"] - against_old["g_loss"]) > 0.1


def test_each_player_pushes_its_own_way(small_images, key):
    """Repeated alone, D learns to tell real from fake, and G learns to be taken for real."""
    d_state = g_state = init_state(
        key,
        generator=SmallGenerator(),
        discriminator=SmallDiscriminator(),
        generator_tx=optax.adam(1e-2),
        discriminator_tx=optax.adam(1e-2),
        latent_size=5,
    )
    for i in range(100):
        d_state, d_metrics = discriminator_step(d_state, small_images, jax.random.fold_in(key, i))
        g_state, g_metrics = generator_step(g_state, jax.random.fold_in(key, i), 32)
    assert d_metrics["d_accuracy"] == 1
    assert (d_state.discriminator.infer(small_images / 255) > 0).all()
    assert (d_state.discriminator.infer(sample(d_state, key, 6)) < 0).all()
    assert g_metrics["g_accuracy"] == 1


def test_uint8_and_floating_point_images_are_the_same_images(small_state, small_images, key):
    from_bytes = train_step(small_state, small_images, key)
    from_floats = train_step(small_state, np.asarray(small_images, np.float32) / 255, key)
    assert_same_step(from_bytes, from_floats)


def test_unusable_images_are_named(state, key):
    with pytest.raises(ValueError, match=r"\(4, 28, 28, 1\), got \(4, 28, 28\)"):
        train_step(state, jnp.zeros((4, 28, 28)), key)
    with pytest.raises(TypeError, match="int32"):
        train_step(state, jnp.zeros((4, 28, 28, 1), jnp.int32), key)


def test_jit_changes_nothing(small_state, small_images, key):
    with jax.disable_jit():
        plain = train_step(small_state, small_images, key)
    assert_same_step(train_step(small_state, small_images, key), plain)


def test_the_step_is_traced_once(key):
    traces = []

    class Tracing(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            traces.append(train)
            return SmallDiscriminator()(images, train)

    state = init_state(key, generator=SmallGenerator(), discriminator=Tracing(), latent_size=5)
    images = jnp.zeros((2, 8, 8, 1), jnp.uint8)
    state, _ = train_step(state, images, key)
    count = len(traces)
    for i in range(3):
        state, _ = train_step(state, images, jax.random.key(i))
    assert len(traces) == count
    assert state.step == 4


def test_two_states_of_the_same_parts_share_one_compiled_step(small_images, key):
    def fresh(seed):
        return init_state(
            jax.random.key(seed),
            generator=SmallGenerator(),
            discriminator=SmallDiscriminator(),
            latent_size=5,
        )

    assert jax.tree.structure(fresh(1)) == jax.tree.structure(fresh(2))


def test_the_step_runs_inside_a_scan(small_state, small_images, key):
    keys = jax.random.split(key, 3)
    scanned, metrics = jax.jit(
        lambda state: jax.lax.scan(lambda state, key: train_step(state, small_images, key), state, keys)
    )(small_state)
    state, history = small_state, []
    for each in keys:
        state, m = train_step(state, small_images, each)
        history.append(m)
    assert_same_step((scanned, metrics), (state, stacked(history)))


def test_the_tutorials_gan_trains_as_a_population(digits, key):
    """Two seeds of the real GAN in one compiled program, each as it trains alone."""
    seeds, keys = jax.random.split(key, 2), jax.random.split(jax.random.key(5), 2)
    states = [init_state(seed) for seed in seeds]
    together = jax.jit(jax.vmap(train_step, in_axes=(0, None, 0)))(stacked(states), digits, keys)
    for i in range(2):
        assert_same_step(jax.tree.map(lambda leaf, i=i: leaf[i], together), train_step(states[i], digits, keys[i]))


def test_own_optimizers_and_statistics_in_the_discriminator(small_images, key):
    class NormalisedDiscriminator(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            x = nn.Dense(8)(images.reshape(images.shape[0], -1))
            return nn.Dense(1)(nn.BatchNorm(use_running_average=not train)(x))

    state = init_state(
        key,
        generator=SmallGenerator(),
        discriminator=NormalisedDiscriminator(),
        generator_tx=optax.adam(1e-3),
        discriminator_tx=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)),
        latent_size=7,
    )
    after_d, _ = discriminator_step(state, small_images, key)
    assert np.abs(after_d.discriminator.batch_stats["BatchNorm_0"]["mean"]).max() > 0
    after_g, metrics = generator_step(after_d, key, 6)
    assert_same_bits(after_g.discriminator, after_d.discriminator)
    assert jnp.isfinite(metrics["g_loss"])


def test_an_optimizer_may_go_by_the_loss(small_images, key):
    """The rate is halved at each step whose loss is not a tenth of the best, the first one's."""
    tx = optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=0.9))
    modules = {"generator": SmallGenerator(), "discriminator": SmallDiscriminator(), "latent_size": 5}
    state = init_state(key, **modules, generator_tx=tx, discriminator_tx=tx)
    for _ in range(3):
        state, _ = train_step(state, small_images, key)
    for half in (state.generator, state.discriminator):
        assert half.opt_state[1].scale == 0.25


def test_types_are_promoted_nowhere_unasked(small_images, key):
    modules = {"generator": SmallGenerator(), "discriminator": SmallDiscriminator(), "latent_size": 5}
    with jax.numpy_dtype_promotion("strict"):
        state = init_state(key, **modules, ema=0.9)
        ours, _ = train_step(state, small_images, key)
    assert_same_bits(ours, train_step(state, small_images, key)[0])


def test_partial_application_makes_a_custom_schedule(small_state, small_images, key):
    """Five discriminator steps to one generator step, from the public halves."""

    @functools.partial(jax.jit, static_argnames="n")
    def step(state, key, n=5):
        *d_keys, g_key = jax.random.split(key, n + 1)
        for d_key in d_keys:
            state, d_metrics = discriminator_step(state, small_images, d_key)
        state, g_metrics = generator_step(state, g_key, len(small_images))
        return state, {**d_metrics, **g_metrics}

    state, _ = step(small_state, key)
    assert state.discriminator.opt_state.count == 5
    assert state.generator.opt_state.count == 1


def with_average(decay, **kwargs):
    return init_state(
        jax.random.key(1),
        generator=SmallGenerator(),
        discriminator=SmallDiscriminator(),
        latent_size=5,
        ema=decay,
        **kwargs,
    )


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_is_the_debiased_mean_of_all_generators_so_far(decay, small_images, key):
    state, seen = with_average(decay), []
    for i in range(6):
        state, _ = train_step(state, small_images, jax.random.fold_in(key, i))
        seen.append((state.generator.params, state.generator.batch_stats))
    weights = decay ** np.arange(5, -1, -1, dtype=np.float64)
    expected = jax.tree.map(lambda *xs: np.tensordot(weights / weights.sum(), np.float64(xs), 1), *seen)
    generator = averaged(state).generator
    # Six sums of float32, each of which rounds to 6e-8 of its largest element.
    assert_close((generator.params, generator.batch_stats), expected, 1e-6)


def test_the_average_changes_nothing_in_training_and_none_costs_nothing(small_state, small_images, key):
    state = with_average(0.9)
    assert len(jax.tree.leaves(small_state.ema)) == 0
    ours, theirs = train_step(state, small_images, key), train_step(small_state, small_images, key)
    assert_same_bits((ours[0].generator, ours[0].discriminator), (theirs[0].generator, theirs[0].discriminator))
    assert_same_bits(ours[1], theirs[1])


def test_an_average_starts_as_the_network_and_may_be_donated(small_images, key):
    state = with_average(0.9)
    assert_same_bits(sample(averaged(state), key, 3), sample(state, key, 3))
    expected = train_step(state, small_images, key)
    assert_same_bits(jax.jit(train_step, donate_argnums=0)(state, small_images, key)[0].ema, expected[0].ema)


def test_a_state_without_an_average_says_so(small_state):
    with pytest.raises(ValueError, match="keeps no average"):
        averaged(small_state)


@pytest.mark.parametrize("ema", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_refused(ema):
    with pytest.raises(ValueError, match="ema must be in"):
        with_average(ema)


def test_fakes_in_training_mode_are_those_of_the_generators_own_update(small_state, small_images, key):
    """With the noise and the dropout of the step, by hand."""
    noise_key, dropout_key, generator_key = jax.random.split(key, 3)
    generator, discriminator = small_state.generator, small_state.discriminator
    z = draw_noise(noise_key, len(small_images), 5)
    fake, _ = generator.train(generator.params, z, generator_key)
    both = jnp.stack([small_images / 255, fake], axis=1).reshape(-1, 8, 8, 1)  # real, fake, real, fake, ...
    logits, _ = discriminator.train(discriminator.params, both, dropout_key)
    expected = discriminator_loss(logits[0::2], logits[1::2])

    state, d_metrics = discriminator_step(small_state.replace(fakes="training"), small_images, key)
    np.testing.assert_allclose(d_metrics["d_loss"], expected, rtol=METRIC_TOLERANCE)
    assert_same_bits(state.generator, small_state.generator)  # its moving statistics too
    _, inferred = discriminator_step(small_state, small_images, key)
    assert inferred["d_loss"] != d_metrics["d_loss"]


def test_another_mode_of_fakes_is_refused():
    with pytest.raises(ValueError, match="fakes must be one of inference, training"):
        with_average(None, fakes="eval")
