"""A training step: its parts, what it leaves as it is, and its composition with JAX's transformations."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import SmallDiscriminator, SmallGenerator, assert_close, assert_same_bits, quick_jit, small_gan

from dcgan_jax import (
    averaged,
    discriminator_loss,
    discriminator_step,
    generator_step,
    init_state,
    sample,
    train_step,
)
from dcgan_jax.sampling import sample_noise

# A step computed by another program (no jit, a scan, a vmap, two devices) takes its sums in another order.
# RMSprop's first updates are lr * sign(gradient) wherever a gradient is not far below 1e-7, so a gradient that
# is rounding alone can differ by up to two such updates, sqrt(10) * 1e-4 each: parameters are compared to that.
# Few do. But the tutorial's generator has half a million values before a ReLU: where one is within rounding of 0 and
# passes in one program alone, 0.1 to 0.2 % of the state move by over 1e-6. Another key moves 36 %.
METRIC_TOLERANCE = 1e-5
PARAMETER_ATOL = 2 * 10**0.5 * 1e-4
SHARE_OF_ROUNDING = 1e-3
SHARE_OF_A_RELU = 1e-2

# For the small networks. The tutorial's GAN takes its steps at the level of this process: see conftest.py.
quick_step = quick_jit(train_step)
quick_discriminator_step = quick_jit(discriminator_step)
quick_generator_step = quick_jit(generator_step, static_argnames="batch_size")


def assert_same_step(ours, theirs, share=SHARE_OF_ROUNDING):
    (state, metrics), (other_state, other_metrics) = ours, theirs
    for name in ("d_loss", "g_loss"):
        np.testing.assert_allclose(metrics[name], other_metrics[name], rtol=METRIC_TOLERANCE)
    leaves = zip(jax.tree.leaves(state), jax.tree.leaves(other_state), strict=True)
    gaps = np.concatenate([np.abs(np.asarray(x, np.float64) - np.asarray(y)).ravel() for x, y in leaves])
    assert gaps.max() < PARAMETER_ATOL
    assert np.mean(gaps > 1e-6) < share


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


def test_step_is_deterministic_and_pure(state, digits, key):
    """The same inputs give the same bits, and stay as they are."""
    before = jax.tree.map(np.array, state)
    first, second = train_step(state, digits, key), train_step(state, digits, key)
    assert_same_bits(first, second)
    assert_same_bits(state, before)  # the caller's buffers still exist, unchanged


def test_another_key_gives_another_step(small_state, small_images, key):
    _, metrics = quick_step(small_state, small_images, key)
    _, others = quick_step(small_state, small_images, jax.random.key(9))
    assert metrics["g_loss"] != others["g_loss"]


def test_step_is_the_composition_of_its_halves(small_state, small_images, key):
    d_key, g_key = jax.random.split(key)
    composed, d_metrics = quick_discriminator_step(small_state, small_images, d_key)
    composed, g_metrics = quick_generator_step(composed, g_key, len(small_images))
    composed = composed.replace(step=composed.step + 1)
    assert_same_step(quick_step(small_state, small_images, key), (composed, {**d_metrics, **g_metrics}))


def test_generator_step_leaves_the_discriminator(small_state, key):
    new, _ = quick_generator_step(small_state, key, 6)
    assert_same_bits(new.discriminator, small_state.discriminator)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), new.generator.params, small_state.generator.params)
    assert all(jax.tree.leaves(changed))


def test_discriminator_step_leaves_the_generator(small_state, small_images, key):
    new, _ = quick_discriminator_step(small_state, small_images, key)
    assert_same_bits(new.generator, small_state.generator)
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()), new.discriminator.params, small_state.discriminator.params
    )
    assert all(jax.tree.leaves(changed))


def test_generator_sees_the_updated_discriminator(small_images, key):
    """Without the discriminator's update before its own, the generator's loss is another."""
    state = small_gan(key, discriminator_tx=optax.sgd(10.0))
    _, metrics = quick_step(state, small_images, key)
    _, g_key = jax.random.split(key)
    _, against_old = quick_generator_step(state, g_key, len(small_images))
    assert abs(metrics["g_loss"] - against_old["g_loss"]) > 0.1


def test_each_network_improves_alone(small_images, key):
    """Repeated alone, D learns to tell real from fake, and G learns to be classified as real."""
    d_state = g_state = small_gan(key, generator_tx=optax.adam(1e-2), discriminator_tx=optax.adam(1e-2))
    for i in range(100):
        d_state, d_metrics = quick_discriminator_step(d_state, small_images, jax.random.fold_in(key, i))
        g_state, g_metrics = quick_generator_step(g_state, jax.random.fold_in(key, i), 32)
    assert d_metrics["d_accuracy"] == 1
    assert (d_state.discriminator.infer(small_images / 255) > 0).all()
    assert (d_state.discriminator.infer(sample(d_state, key, 6)) < 0).all()
    assert g_metrics["g_accuracy"] == 1


def test_uint8_and_float_images_are_the_same(small_state, small_images, key):
    from_bytes = quick_step(small_state, small_images, key)
    from_floats = quick_step(small_state, np.asarray(small_images, np.float32) / 255, key)
    assert_same_step(from_bytes, from_floats)


def test_unusable_images_are_reported(state, key):
    with pytest.raises(ValueError, match=r"\(4, 28, 28, 1\), got \(4, 28, 28\)"):
        train_step(state, jnp.zeros((4, 28, 28)), key)
    with pytest.raises(TypeError, match="int32"):
        train_step(state, jnp.zeros((4, 28, 28, 1), jnp.int32), key)


def test_jit_changes_nothing(small_images, key):
    """With networks and optimizers of few operations: without `jax.jit` each of them is compiled alone."""

    class LinearGenerator(nn.Module):
        @nn.compact
        def __call__(self, z, train=False):
            return nn.sigmoid(nn.Dense(64)(z)).reshape(-1, 8, 8, 1)

    class LinearDiscriminator(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            return nn.Dense(1)(images.reshape(images.shape[0], -1))

    modules = {"generator": LinearGenerator(), "discriminator": LinearDiscriminator(), "latent_size": 5}
    state = init_state(key, **modules, generator_tx=optax.sgd(0.1), discriminator_tx=optax.sgd(0.1), ema=0.9)
    with jax.disable_jit():
        plain = train_step(state, small_images, key)
    assert_same_step(train_step(state, small_images, key), plain)


def test_step_is_traced_once(key):
    traces = []

    class Tracing(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            traces.append(train)
            return nn.Dense(1)(images.reshape(images.shape[0], -1))

    state = init_state(key, generator=SmallGenerator(), discriminator=Tracing(), latent_size=5)
    images = jnp.zeros((2, 8, 8, 1), jnp.uint8)
    state, _ = train_step(state, images, key)
    count = len(traces)
    for i in range(3):
        state, _ = train_step(state, images, jax.random.key(i))
    assert len(traces) == count
    assert state.step == 4


def test_states_of_the_same_parts_share_a_program(small_state):
    """Their trees have the same structure, by which `jax.jit` finds a compiled step."""
    assert jax.tree.structure(small_gan(jax.random.key(2))) == jax.tree.structure(small_state)


def test_step_runs_inside_a_scan(small_state, small_images, key):
    keys = jax.random.split(key, 3)
    scanned, metrics = quick_jit(
        lambda state: jax.lax.scan(lambda state, key: train_step(state, small_images, key), state, keys)
    )(small_state)
    state, history = small_state, []
    for each in keys:
        state, m = quick_step(state, small_images, each)
        history.append(m)
    assert_same_step((scanned, metrics), (state, stacked(history)))


def test_tutorials_gan_trains_as_a_population(digits, key):
    """Two seeds of it in one program, each as it trains alone."""
    seeds, keys = jax.random.split(key, 2), jax.random.split(jax.random.key(5), 2)
    states = [init_state(seed) for seed in seeds]
    together = quick_jit(jax.vmap(train_step, in_axes=(0, None, 0)))(stacked(states), digits, keys)
    for i in range(2):
        ours = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert_same_step(ours, train_step(states[i], digits, keys[i]), SHARE_OF_A_RELU)


def test_own_optimizers_and_batch_norm(small_images, key):
    """A discriminator may have moving statistics, and each network any Optax transformation."""

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
    after_d, _ = quick_discriminator_step(state, small_images, key)
    assert np.abs(after_d.discriminator.batch_stats["BatchNorm_0"]["mean"]).max() > 0
    after_g, metrics = quick_generator_step(after_d, key, 6)
    assert_same_bits(after_g.discriminator, after_d.discriminator)
    assert jnp.isfinite(metrics["g_loss"])


def test_optimizer_may_depend_on_the_loss(small_images, key):
    """The rate is halved at each step whose loss is not a tenth of the best, the first one's."""
    tx = optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=0.9))
    state = small_gan(key, generator_tx=tx, discriminator_tx=tx)
    for _ in range(3):
        state, _ = quick_step(state, small_images, key)
    for half in (state.generator, state.discriminator):
        assert half.opt_state[1].scale == 0.25


def test_optimizer_need_not_take_the_loss(small_images, key):
    """SAM alternates between two updates; a line search would evaluate the loss again, and is refused."""
    sam = optax.contrib.sam(optax.sgd(0.1), optax.chain(optax.contrib.normalize(), optax.sgd(0.05)))
    jax.eval_shape(train_step, small_gan(key, generator_tx=sam), small_images, key)
    with pytest.raises(TypeError, match=r"the optimizer evaluates the loss again.*'value_fn'\): use one that takes"):
        jax.eval_shape(train_step, small_gan(key, generator_tx=optax.lbfgs()), small_images, key)
    with pytest.raises(TypeError, match=r"the optimizer evaluates the loss again.*obj_fn"):
        jax.eval_shape(train_step, small_gan(key, generator_tx=optax.contrib.sophia(1e-3)), small_images, key)
    with pytest.raises(TypeError, match=r"the optimizer cannot update these parameters.*'fast'"):
        lookahead = optax.lookahead(optax.sgd(1.0), 5, 0.5)
        jax.eval_shape(train_step, small_gan(key, generator_tx=lookahead), small_images, key)


def test_strict_type_promotion_changes_nothing(small_images, key):
    """No type is promoted implicitly."""
    with jax.numpy_dtype_promotion("strict"):
        state = small_gan(key, ema=0.9)
        ours, _ = quick_step(state, small_images, key)
    assert_same_bits(ours, quick_step(state, small_images, key)[0])


def test_halves_make_another_schedule(small_state, small_images, key):
    """Five discriminator steps to one generator step, from the public halves."""

    @functools.partial(quick_jit, static_argnames="n")
    def step(state, key, n=5):
        *d_keys, g_key = jax.random.split(key, n + 1)
        for d_key in d_keys:
            state, d_metrics = discriminator_step(state, small_images, d_key)
        state, g_metrics = generator_step(state, g_key, len(small_images))
        return state, {**d_metrics, **g_metrics}

    state, _ = step(small_state, key)
    assert state.discriminator.opt_state.count == 5
    assert state.generator.opt_state.count == 1


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_average_is_the_mean_without_bias(decay, small_images, key):
    """Of all generators so far, with weights that fall by the decay and add up to 1."""
    state, seen = small_gan(jax.random.key(1), ema=decay), []
    for i in range(6):
        state, _ = quick_step(state, small_images, jax.random.fold_in(key, i))
        seen.append((state.generator.params, state.generator.batch_stats))
    weights = decay ** np.arange(5, -1, -1, dtype=np.float64)
    expected = jax.tree.map(lambda *xs: np.tensordot(weights / weights.sum(), np.float64(xs), 1), *seen)
    generator = averaged(state).generator
    # Six sums of float32, each of which rounds to 6e-8 of its largest element.
    assert_close((generator.params, generator.batch_stats), expected, 1e-6)


@pytest.mark.parametrize("ramp", [0.05, 1.0, 100.0])
def test_half_life_of_an_average_with_a_ramp(ramp, small_images, key):
    """It is the ramp's share of the updates so far, unless the average without a ramp is of newer networks."""
    state, mean, decay = small_gan(jax.random.key(1), ema=0.9, ema_ramp=ramp), 0.0, 0.9
    for i in range(6):
        state, _ = quick_step(state, small_images, jax.random.fold_in(key, i))
        new = np.float64(state.generator.params["Dense_0"]["kernel"])
        without, half_life = (1 - decay) / (1 - decay ** (i + 1)), ramp * (i + 1)
        share = max(without, 1 - 0.5 ** (1 / half_life))
        mean = mean + share * (new - mean)
    assert_close(averaged(state).generator.params["Dense_0"]["kernel"], mean, 1e-6)


@pytest.mark.parametrize(("ema", "ramp"), [(0.9, 0.0), (0.9, -1.0), (0.9, float("nan")), (None, 0.05)])
def test_ramp_out_of_range_is_refused(ema, ramp):
    with pytest.raises(ValueError, match="ema_ramp must be above 0"):
        small_gan(jax.random.key(1), ema=ema, ema_ramp=ramp)


class Narrow(nn.Module):
    """A generator with parameters of bfloat16."""

    @nn.compact
    def __call__(self, z, train):
        return nn.sigmoid(nn.Dense(64, param_dtype=jnp.bfloat16)(z)).reshape(-1, 8, 8, 1)


def test_average_of_narrow_parameters_is_wide(key):
    """A thousandth of 1 is less than the last digit of a bfloat16 above 0.25: the average would stop there."""
    state = init_state(key, generator=Narrow(), discriminator=SmallDiscriminator(), latent_size=5, ema=0.999)
    network = state.generator.replace(params=jax.tree.map(jnp.ones_like, state.generator.params))
    ema = state.ema.replace(count=jnp.int32(10**5), params=jax.tree.map(jnp.zeros_like, state.ema.params))
    ema = jax.lax.fori_loop(0, 2000, lambda _, ema: ema.update(network.params, network.batch_stats), ema)
    for leaf in jax.tree.leaves(averaged(state.replace(ema=ema)).generator.params):
        assert leaf.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(leaf), 1 - 0.999**2000, rtol=2**-8)  # half of its last digit


def test_average_changes_nothing_in_training(small_state, small_images, key):
    """And a state without one has no leaf for it."""
    state = small_gan(jax.random.key(1), ema=0.9)
    assert len(jax.tree.leaves(small_state.ema)) == 0
    ours, theirs = quick_step(state, small_images, key), quick_step(small_state, small_images, key)
    assert_same_bits((ours[0].generator, ours[0].discriminator), (theirs[0].generator, theirs[0].discriminator))
    assert_same_bits(ours[1], theirs[1])


def test_average_starts_as_a_copy_of_the_network(small_images, key):
    """A copy: both may be donated."""
    state = small_gan(jax.random.key(1), ema=0.9)
    assert_same_bits(sample(averaged(state), key, 3), sample(state, key, 3))
    expected = quick_step(state, small_images, key)
    assert_same_bits(quick_jit(train_step, donate_argnums=0)(state, small_images, key)[0].ema, expected[0].ema)


def test_state_without_an_average_is_refused(small_state):
    with pytest.raises(ValueError, match="keeps no moving average"):
        averaged(small_state)


@pytest.mark.parametrize("ema", [-0.1, 1.0, float("nan")])
def test_decay_out_of_range_is_refused(ema):
    with pytest.raises(ValueError, match="ema must be a number in"):
        small_gan(jax.random.key(1), ema=ema)


def test_fakes_in_training_mode(small_state, small_images, key):
    """They are generated as for the generator's own update: by hand, with the noise and the dropout of the step."""
    noise_key, dropout_key, generator_key = jax.random.split(key, 3)
    generator, discriminator = small_state.generator, small_state.discriminator
    z = sample_noise(small_state, noise_key, len(small_images))
    fake, _ = generator.train(generator.params, z, generator_key)
    both = jnp.stack([small_images / 255, fake], axis=1).reshape(-1, 8, 8, 1)  # real, fake, real, fake, ...
    logits, _ = discriminator.train(discriminator.params, both, dropout_key)
    expected = discriminator_loss(logits[0::2], logits[1::2])

    state, d_metrics = quick_discriminator_step(small_state.replace(fakes="training"), small_images, key)
    np.testing.assert_allclose(d_metrics["d_loss"], expected, rtol=METRIC_TOLERANCE)
    assert_same_bits(state.generator, small_state.generator)  # its moving statistics too
    _, inferred = quick_discriminator_step(small_state, small_images, key)
    assert inferred["d_loss"] != d_metrics["d_loss"]


def test_unknown_mode_of_fakes_is_refused():
    with pytest.raises(ValueError, match="fakes must be one of inference, training"):
        small_gan(jax.random.key(1), fakes="eval")
