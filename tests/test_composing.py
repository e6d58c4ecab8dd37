"""What a caller may bring: modules of any form, noise, penalties, metrics."""

import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import SmallDiscriminator, SmallGenerator, assert_close, assert_same_bits, quick_jit, small_gan
from xla_options import WITH_FUSIONS

from dcgan_jax import (
    Discriminator,
    Generator,
    Losses,
    averaged,
    discriminator_loss,
    generate,
    generator_loss,
    init_state,
    rmsprop,
    sample,
    train_step,
)
from dcgan_jax.network_init import jitted_init
from dcgan_jax.sampling import sample_in_batches
from dcgan_jax.training.batch_source import DeviceImages
from dcgan_jax.training.device_loop import run_steps

quick_step = quick_jit(train_step)


class Required(SmallGenerator):
    """A generator that must be told whether it trains."""

    @nn.compact
    def __call__(self, z, train):
        return SmallGenerator()(z, train)


class Training(SmallGenerator):
    """A generator that trains unless told otherwise."""

    @nn.compact
    def __call__(self, z, train=True):
        return SmallGenerator()(z, train)


class Keyword(SmallGenerator):
    """A generator that takes the mode by its name alone."""

    @nn.compact
    def __call__(self, z, *, train):
        return SmallGenerator()(z, train)


class Noisy(nn.Module):
    """A discriminator that adds noise, and drops units by a stream of another name."""

    always: bool = False

    @nn.compact
    def __call__(self, images, train):
        x = images.reshape(images.shape[0], -1)
        if train or self.always:
            x = x + jax.random.normal(self.make_rng("noise"), x.shape, x.dtype)
        x = nn.Dropout(0.5, deterministic=not train, rng_collection="units")(nn.Dense(32)(x))
        return nn.Dense(1)(nn.Dropout(0.5, deterministic=not train)(x))


@pytest.mark.parametrize("generator", [Required(), Training(), Keyword()])
def test_any_form_of_the_argument_train(generator, small_images, key):
    state = init_state(key, generator=generator, discriminator=Noisy(), latent_size=5)
    mean = state.generator.batch_stats["SmallGenerator_0"]["BatchNorm_0"]["mean"]
    assert (mean == 0).all()  # as initialised, and not those of the first noise
    state, metrics = quick_step(state, small_images, key)
    assert np.isfinite(metrics["d_loss"])
    moved = state.generator.batch_stats["SmallGenerator_0"]["BatchNorm_0"]["mean"]
    assert (moved != 0).any()
    assert sample(state, key, 3).shape == (3, 8, 8, 1)


def test_random_streams_of_any_name(small_images, key):
    """Each stream is a function of the step's key, and no two of them draw the same."""
    state = init_state(key, generator=SmallGenerator(), discriminator=Noisy(), latent_size=5)
    (_, first), (_, again) = quick_step(state, small_images, key), quick_step(state, small_images, key)
    _, other = quick_step(state, small_images, jax.random.key(7))
    assert first["d_loss"] == again["d_loss"] != other["d_loss"]

    class Streams(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            names = ("dropout", "noise", "units", "noise")
            draws = [jax.random.uniform(self.make_rng(name), (4,)) if train else jnp.zeros(4) for name in names]
            return nn.Dense(1)(x.reshape(len(x), -1)) + jnp.zeros((len(x), 1)), jnp.stack(draws)

    module = Streams()
    network = state.discriminator.replace(module=module, params=module.init(key, small_images, False)["params"])
    (_, draws), _ = network.train(network.params, small_images / 255, key)
    assert len(np.unique(draws)) == draws.size


def test_draws_in_inference_mode_are_refused(key):
    with pytest.raises(ValueError, match="Noisy draws random numbers in inference mode.*draw only if train"):
        init_state(key, generator=SmallGenerator(), discriminator=Noisy(always=True), latent_size=5)


def half_normal(key, shape):
    return jnp.abs(jax.random.normal(key, shape, jnp.float32))


class Echo(nn.Module):
    """A generator that shows its noise, over ten: [B, 64] -> [B, 8, 8, 1]."""

    @nn.compact
    def __call__(self, z, train=False):
        self.param("unused", nn.initializers.zeros, ())
        return (z / 10).reshape(-1, 8, 8, 1)


def test_noise_is_the_callers(small_images, key):
    def record(update):
        return {"fake": update.fake_logits}

    state = init_state(
        key,
        generator=Echo(),
        discriminator=SmallDiscriminator(),
        latent_size=64,
        noise=half_normal,
        metrics=record,
        ema=0.9,
    )
    for images in (sample(state, key, 50), sample_in_batches(state, key, 50), sample(averaged(state), key, 50)):
        np.testing.assert_array_equal(np.asarray(images).reshape(50, 64), half_normal(key, (50, 64)) / 10)
    # In a step: the discriminator's logits of exactly these fakes.
    d_key, g_key = jax.random.split(key)
    after, metrics = quick_step(state, small_images, key)
    noise = half_normal(jax.random.split(d_key, 3)[0], (len(small_images), 64))
    both = jnp.stack([small_images / 255, generate(state, noise)], axis=1).reshape(-1, 8, 8, 1)
    logits, _ = state.discriminator.train(state.discriminator.params, both, jax.random.split(d_key, 3)[1])
    np.testing.assert_allclose(metrics["d_fake"], logits[1::2], rtol=1e-5, atol=1e-6)
    noise = half_normal(jax.random.split(g_key, 3)[0], (len(small_images), 64))
    discriminator, dropout_key = after.discriminator, jax.random.split(g_key, 3)[2]
    logits, _ = discriminator.train(discriminator.params, generate(state, noise), dropout_key)
    np.testing.assert_allclose(metrics["g_fake"], logits, rtol=1e-5, atol=1e-6)


def test_noise_of_another_shape_is_refused(key):
    state = small_gan(key, noise=lambda key, shape: jnp.zeros((shape[0], 3)))
    with pytest.raises(ValueError, match=r"noise must have the shape that it is asked for, \(4, 5\), got \(4, 3\)"):
        sample(state, key, 4)


def slope(discriminator, real, fake, key):
    """R1 at a random point between real and fake: it uses all that a penalty is given."""
    x = real + jax.random.uniform(key, (len(real), 1, 1, 1)) * (fake - real)
    return jnp.square(jax.grad(lambda x: discriminator(x).sum())(x)).sum((1, 2, 3)).mean()


@pytest.mark.parametrize("every", [1, 3])
def test_penalty_is_added_to_the_loss(every, small_images, key):
    """Its gradient is: a step of plain descent goes along that of loss plus penalty, by hand and by differences."""
    losses = Losses(discriminator_loss, generator_loss, slope, every)
    descent = optax.sgd(1.0)
    state = small_gan(key, losses=losses, discriminator_tx=descent, generator_tx=descent)
    plain = small_gan(key, discriminator_tx=descent, generator_tx=descent)
    for step in range(4):
        at = state.replace(step=jnp.int32(step))
        after, metrics = quick_step(at, small_images, key)
        without, plain_metrics = quick_step(plain, small_images, key)
        assert_close(metrics["d_loss"], plain_metrics["d_loss"], 1e-6)  # two programs may sum in another order
        if step % every:
            assert metrics["d_penalty"] == 0
            assert_close(after.discriminator.params, without.discriminator.params, 1e-6)
            continue
        assert metrics["d_penalty"] > 0
        # Along its own gradient the penalty of the same draws falls, and by as much as its length says.
        own = jax.tree.map(lambda a, b: b - a, after.discriminator.params, without.discriminator.params)
        length = sum(float(jnp.vdot(x, x)) for x in jax.tree.leaves(own))
        h = 0.01 / length**0.5
        values = []
        for shift in (-h, h):
            params = optax.tree.add_scale(at.discriminator.params, shift, own)
            moved = at.replace(discriminator=at.discriminator.replace(params=params))
            values.append(float(quick_step(moved, small_images, key)[1]["d_penalty"]))
        assert (values[1] - values[0]) / (2 * h) == pytest.approx(length, rel=0.02)
    assert "d_penalty" not in plain_metrics


def test_lazy_penalty_weighs_as_much(small_images, key):
    once = small_gan(key, losses=Losses(discriminator_loss, generator_loss, slope))
    lazy = small_gan(key, losses=Losses(discriminator_loss, generator_loss, slope, 4))
    (_, each), (_, every_fourth) = quick_step(once, small_images, key), quick_step(lazy, small_images, key)
    np.testing.assert_allclose(every_fourth["d_penalty"], 4 * each["d_penalty"], rtol=1e-6)


def test_penalty_with_a_stride_is_of_those_images(small_images, key):
    def brightness(discriminator, real, fake, key):
        assert fake.shape == real.shape
        return real.mean()

    losses = Losses(discriminator_loss, generator_loss, brightness, penalty_stride=3)
    _, metrics = quick_step(small_gan(key, losses=losses), small_images, key)
    np.testing.assert_allclose(metrics["d_penalty"], small_images[::3].mean() / 255, rtol=1e-6)


def norms(update):
    assert update.name in ("discriminator", "generator")
    return {"norm": optax.tree.norm(update.grads), "fakes": update.fake_logits[:, 0]}


def test_own_metrics_of_both_updates(small_images, key):
    state, plain = small_gan(key, metrics=norms), small_gan(key)
    step = jax.jit(train_step, compiler_options=WITH_FUSIONS)  # as users compile it
    after, metrics = step(state, small_images, key)
    expected, plain_metrics = step(plain, small_images, key)
    assert_same_bits(after.generator.params, expected.generator.params)  # to look changes nothing
    assert set(metrics) == {*plain_metrics, "d_norm", "d_fakes", "g_norm", "g_fakes"}
    assert metrics["g_norm"] > 0
    # The accuracies follow from the logits.
    assert metrics["g_accuracy"] == (metrics["g_fakes"] > 0).mean()


def test_own_metrics_under_scan_vmap_and_dispatch(small_images, key):
    state, keys = small_gan(key, metrics=norms), jax.random.split(key, 3)
    _, scanned = quick_jit(jax.lax.scan, static_argnums=0)(
        lambda state, key: train_step(state, small_images, key), state, keys
    )
    assert scanned["d_fakes"].shape == (3, 6)
    _, mapped = quick_jit(jax.vmap(train_step, (None, None, 0)))(state, small_images, keys)
    assert mapped["d_norm"].shape == (3,)
    _, metrics = run_steps(jax.tree.map(jnp.copy, state), DeviceImages(small_images), key, 2, batch_size=4, capacity=3)
    assert metrics["g_fakes"].shape == (3, 4)
    assert (metrics["g_fakes"][2] == 0).all()


def test_own_metric_with_a_taken_name_is_refused(small_images, key):
    state = small_gan(key, metrics=lambda update: {"loss": update.loss})
    with pytest.raises(ValueError, match="own metrics must not be named loss"):
        train_step(state, small_images, key)


def test_own_metrics_must_be_a_dict(small_images, key):
    state = small_gan(key, metrics=lambda update: update.loss)
    with pytest.raises(TypeError, match="metrics must return a dict of arrays, got .*Tracer"):
        jax.eval_shape(train_step, state, small_images, key)


def test_penalised_states_under_vmap(small_images, key):
    """A member of a population takes the step that it takes alone, with a key of its own."""
    losses = Losses(discriminator_loss, generator_loss, slope, 2)

    def member(key):
        return small_gan(key, losses=losses)

    keys = jax.random.split(key, 3)
    population = quick_jit(jax.vmap(member))(keys)
    together, metrics = quick_jit(jax.vmap(train_step, (0, None, 0)))(population, small_images, keys)
    alone, own = quick_step(member(keys[1]), small_images, keys[1])
    np.testing.assert_allclose(metrics["d_penalty"][1], own["d_penalty"], rtol=1e-4)
    assert (together.step == 1).all()
    assert alone.step == 1


def test_equal_states_combine_and_share_a_program(small_images, key):
    losses = Losses(discriminator_loss, generator_loss, slope, 2)

    def build():
        return small_gan(
            key,
            losses=losses,
            noise=half_normal,
            metrics=norms,
            ema=0.5,
            discriminator_tx=rmsprop(1e-3),
            generator_tx=optax.adam(1e-3),
        )

    first, second = build(), build()
    quick_step(first, small_images, key)
    programs = quick_step._cache_size()
    quick_step(second, small_images, key)
    assert quick_step._cache_size() == programs
    doubled = jax.tree.map(jnp.add, first, second)
    assert_same_bits(doubled.step, first.step)


_WIDTH = 3


class Wide(SmallDiscriminator):
    """A discriminator whose width is a global."""

    @nn.compact
    def __call__(self, images, train=False):
        return nn.Dense(1)(nn.Dense(_WIDTH)(images.reshape(len(images), -1)))


def test_networks_are_compiled_once_for_all_seeds(monkeypatch):
    """And anew where a cell of a notebook has changed what they read."""

    def kernel(seed):
        network = init_state(jax.random.key(seed), generator=SmallGenerator(), discriminator=Wide(), latent_size=5)
        return network.discriminator.params["Dense_1"]["kernel"]

    first, programs = kernel(0), jitted_init._cache_size()
    assert (first != kernel(1)).any()
    assert jitted_init._cache_size() == programs
    monkeypatch.setitem(globals(), "_WIDTH", 4)
    assert (first.shape, kernel(0).shape) == ((64, 3), (64, 4))


_RATE = 0.0


def _rate_by_name(count):
    return _RATE


def test_optimizers_that_read_other_globals_differ(small_images, key, monkeypatch):
    """As in a notebook whose cell is run again with another rate: the step is compiled anew."""
    moved = []
    for rate in (0.0, 0.1):
        monkeypatch.setitem(globals(), "_RATE", rate)
        state = small_gan(key, generator_tx=optax.sgd(_rate_by_name))
        after, _ = quick_step(state, small_images, key)
        moved.append(any((a != b).any() for a, b in zip(*map(leaves, (state, after)), strict=True)))
    assert moved == [False, True]


def leaves(state):
    return jax.tree.leaves(state.generator.params)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optax.adam(optax.exponential_decay(1e-3, 10, 0.9)),  # a closure's variable is never assigned
        lambda: optax.noisy_sgd(1e-3, key=jax.random.key(0)),
    ],
    ids=["exponential decay", "key"],
)
def test_optimizers_built_alike_are_equal(optimizer, key):
    one, other = (small_gan(key, generator_tx=optimizer()) for _ in range(2))
    assert one.generator.tx == other.generator.tx
    assert hash(one.generator.tx) == hash(other.generator.tx)
    jax.tree.map(lambda *_: None, one, other)


def test_rates_in_a_chain_are_swept_by_vmap(small_images, key):
    """As the page on the library writes it."""

    def of_rate(rate):
        tx = optax.inject_hyperparams(lambda rate: optax.chain(optax.clip(1.0), rmsprop(rate)))(rate=rate)
        return small_gan(key, generator_tx=tx)

    states = quick_jit(jax.vmap(of_rate))(jnp.array([1e-3, 0.0]))
    after, _ = quick_jit(jax.vmap(train_step, (0, None, None)))(states, small_images, key)
    changed = [jnp.abs(a - b).max(range(1, a.ndim)) for a, b in zip(*map(leaves, (states, after)), strict=True)]
    assert [bool(each) for each in np.max(changed, 0)] == [True, False]


def test_networks_of_other_classes_are_refused(key):
    for networks in ({"generator": Generator((8, 8, 1), width=2)}, {"discriminator": Discriminator(classes=5)}):
        (name,) = networks
        with pytest.raises(ValueError, match=f"the {name} was built with classes=.*, and init_state has classes=10"):
            init_state(key, classes=10, **networks)


class WithConstants(SmallGenerator):
    @nn.compact
    def __call__(self, z, train):
        return SmallGenerator()(z, train) * self.variable("constants", "scale", jnp.ones, ()).value


def test_other_variables_of_networks_are_refused(key):
    with pytest.raises(ValueError, match="WithConstants reads variables of another collection .*: make them constants"):
        init_state(key, generator=WithConstants(), discriminator=SmallDiscriminator(), latent_size=5)


@pytest.mark.parametrize("name", ["noise", "metrics", "augment"])
def test_what_is_no_function_is_named(name, key):
    with pytest.raises(TypeError, match=f"{name} must be a function, got 'x'"):
        small_gan(key, **{name: "x"})


def test_what_is_no_array_is_named(small_images, key):
    state = small_gan(key)
    for call, message in (
        (lambda: init_state(0), "key must be a PRNG key, such as jax.random.key.0., got 0"),
        (lambda: train_step(state, small_images, 0), "key must be a PRNG key"),
        (lambda: train_step(state, [small_images], key), "images must be an array .* got list"),
        (lambda: sample(state.replace(classes=3), key, 2, [0, 1]), "labels must be an array of integers"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_state_with_own_parts_pickles(small_images, key):
    losses = Losses(discriminator_loss, generator_loss, slope, 2)
    options = {"losses": losses, "noise": half_normal, "metrics": norms}
    state = small_gan(key, generator_tx=rmsprop(1e-3), discriminator_tx=rmsprop(1e-3), **options)
    again = pickle.loads(pickle.dumps(state))
    assert_same_bits(state, again)
    assert_same_bits(quick_step(state, small_images, key), quick_step(again, small_images, key))
