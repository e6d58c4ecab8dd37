"""The presets, what they put together, and the R1 penalty."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_same_bits, quick_jit, small_gan

from dcgan_jax import (
    Discriminator,
    Generator,
    Losses,
    TrainConfig,
    init_state,
    preset,
    r1_penalty,
    train,
    train_step,
)
from dcgan_jax.losses import CROSS_ENTROPY
from dcgan_jax.presets import PRESETS

quick_step = quick_jit(train_step)


@pytest.mark.parametrize(
    ("name", "d_lr", "g_lr", "clip"),
    [("tutorial", 1e-4, 1e-4, None), ("article", 8e-4, 4e-4, 1.0), ("upstream", 2e-4, 1e-4, None)],
)
def test_presets_have_published_rates_and_clips(name, d_lr, g_lr, clip):
    for tx, lr in ((preset(name).discriminator, d_lr), (preset(name).generator, g_lr)):
        g = jnp.array([0.5, 3.0])
        updates, opt_state = tx.update(g, tx.init(g))
        seen = g if clip is None else jnp.clip(g, -clip, clip)
        np.testing.assert_allclose(opt_state.nu, 0.1 * seen**2, rtol=1e-6)
        np.testing.assert_allclose(updates, -lr / 0.1**0.5 * jnp.ones(2), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "d_decay", "g_decay"),
    [("tutorial", 3e-8, 3e-8), ("article", 6e-8, 3e-8), ("upstream", 6e-8, 3e-8)],
)
def test_presets_have_published_decays(name, d_decay, g_decay):
    for tx, decay in ((preset(name).discriminator, d_decay), (preset(name).generator, g_decay)):
        g = jnp.array([0.5])
        late = tx.init(g)._replace(count=jnp.int32(10**8))
        slowed = tx.update(g, late)[0] / tx.update(g, tx.init(g))[0]
        np.testing.assert_allclose(slowed, 1 / (1 + decay * 10**8), rtol=1e-5)


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="unknown preset 'adam': choose from tutorial, article, upstream, keras3, rec"):
        preset("adam")
    with pytest.raises(ValueError, match="unknown preset 'adam'"):
        init_state(jax.random.key(0), preset="adam")
    with pytest.raises(TypeError, match="preset must be a name or a Preset, got 3"):
        init_state(jax.random.key(0), preset=3)


def test_default_optimizers_are_the_tutorials(small_state, small_images, key):
    tutorial = preset("tutorial")
    state = small_gan(jax.random.key(1), generator_tx=tutorial.generator, discriminator_tx=tutorial.discriminator)
    assert_same_bits(quick_step(small_state, small_images, key), quick_step(state, small_images, key))


def test_keras3_preset_has_epsilon_in_the_root():
    g = jnp.array([1e-4])  # small enough for the two places of epsilon to differ
    for inside, outside in zip(preset("keras3")[:2], preset("tutorial")[:2], strict=True):
        step = -inside.update(g, inside.init(g))[0]
        np.testing.assert_allclose(step, 1e-4 * 1e-4 / np.sqrt(0.1 * 1e-8 + 1e-7), rtol=1e-6)
        step = -outside.update(g, outside.init(g))[0]
        np.testing.assert_allclose(step, 1e-4 * 1e-4 / (np.sqrt(0.1 * 1e-8) + 1e-7), rtol=1e-6)


def test_recommended_has_every_part():
    state = jax.eval_shape(lambda: init_state(jax.random.key(0), preset="recommended"))
    assert (state.generator.module, state.discriminator.module) == (Generator(dropout_rate=0), Discriminator(0))
    assert "mu" in state.generator.opt_state._fields
    assert (state.ema.decay, state.ema.ramp) == (0.998, 0.05)
    assert state.losses[2:5] == (r1_penalty(0.3), 4, 4)
    assert state.fakes == "training"


def test_fakes_are_the_presets_unless_chosen(key):
    assert [small_gan(key, preset=name).fakes for name in PRESETS] == ["inference"] * 4 + ["training"]
    assert small_gan(key, preset="recommended", fakes="inference").fakes == "inference"
    assert small_gan(key, fakes="training").fakes == "training"


def test_a_preset_gives_only_what_is_left_out():
    tx = optax.adam(1e-3)
    state = small_gan(jax.random.key(0), preset="recommended", ema=0.5, generator_tx=tx, losses=CROSS_ENTROPY)
    assert state.ema.decay == 0.5
    assert state.generator.opt_state != state.discriminator.opt_state
    assert jax.tree.structure(state.generator.opt_state) == jax.tree.structure(tx.init(state.generator.params))
    assert state.losses is CROSS_ENTROPY
    own = preset("recommended")._replace(ema=None, ema_ramp=None)
    assert small_gan(jax.random.key(0), preset=own).ema is None


def test_average_of_a_preset_can_be_left_out(key):
    """With its ramp, which is nothing without it."""
    state = small_gan(key, preset=preset("recommended")._replace(ema=None))
    assert state.ema is None


def test_recommended_states_are_equal_and_pickle(small_images, key):
    """Built twice, or read back, they combine, and share the compiled step."""
    one, other = (small_gan(jax.random.key(1), preset="recommended") for _ in range(2))
    copy = pickle.loads(pickle.dumps(one))
    assert jax.tree.structure(one) == jax.tree.structure(other) == jax.tree.structure(copy)
    assert_same_bits(quick_step(one, small_images, key), quick_step(copy, small_images, key))


def test_r1_is_charged_in_each_fourth_step(small_images, key):
    state = small_gan(jax.random.key(1), preset="recommended")
    penalties = []
    for _ in range(6):
        state, metrics = quick_step(state, small_images, key)
        penalties.append(float(metrics["d_penalty"]))
    assert [penalty > 0 for penalty in penalties] == [True, False, False, False, True, False]


def test_r1_of_a_linear_discriminator_is_its_weights():
    """The gradient at each image is the kernel: gamma / 2 times its squared norm, whatever the images."""
    kernel = jax.random.normal(jax.random.key(0), (12, 1))
    real = jax.random.normal(jax.random.key(1), (5, 2, 3, 2))
    value = r1_penalty(0.5)(lambda x: x.reshape(-1, 12) @ kernel, real, -real, jax.random.key(2))
    np.testing.assert_allclose(value, 0.25 * np.square(kernel).sum(), rtol=1e-6)


def test_r1_is_taken_at_the_real_images_alone():
    real, fake = jnp.full((4, 2, 2, 1), 3.0), jnp.full((4, 2, 2, 1), 100.0)
    value = r1_penalty(1.0)(lambda x: jnp.square(x).sum((1, 2, 3))[:, None], real, fake, jax.random.key(0))
    np.testing.assert_allclose(value, 0.5 * 4 * 6.0**2)  # the gradient is 2 x, of four pixels


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf")])
def test_gamma_out_of_range_is_refused(gamma):
    with pytest.raises(ValueError, match=f"gamma must be a number of at least 0, got {gamma}"):
        r1_penalty(gamma)


@pytest.mark.parametrize("name", ["penalty_every", "penalty_stride"])
@pytest.mark.parametrize("value", [0, -4, 2.5, True, None])
def test_interval_and_stride_out_of_range_are_refused(name, value):
    losses = Losses(*CROSS_ENTROPY[:2], penalty=r1_penalty(1.0), **{name: value})
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got {value}"):
        small_gan(jax.random.key(0), losses=losses)


def test_penalty_is_logged_as_it_was_last(small_flags, tmp_path):
    """It is taken in steps 1 and 5; an interruption changes no row."""
    rows, dataset = {}, str(small_flags[small_flags.index("--dataset") + 1])
    for name, stops in (("whole", [6]), ("parts", [3, 6])):
        run_dir = tmp_path / name
        config = TrainConfig(batch_size=2, dataset=dataset, log_every=2, checkpoint_every=1, workdir=str(run_dir))
        for stop in stops:
            outcome = train(dataclasses.replace(config, steps=stop), init=recommended, resume=stop != stops[0])
            assert outcome.state.step == stop
        rows[name] = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert rows["whole"] == rows["parts"]
    penalties = {row["step"]: row["d_penalty"] for row in map(json.loads, rows["whole"])}
    assert penalties[1] == penalties[2] == penalties[4] > 0
    assert penalties[6] not in (0, penalties[1])


def recommended(key, shape, classes):
    """The first state of a run."""
    return small_gan(key, preset="recommended")
