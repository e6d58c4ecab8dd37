"""Images drawn by class: what labels do in the step and in sampling, and what is refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import SmallDiscriminator, SmallGenerator, assert_same_bits, quick_jit

from dcgan_jax import (
    CROSS_ENTROPY,
    Discriminator,
    Generator,
    averaged,
    check_state,
    generate,
    generator_step,
    init_state,
    sample,
    train_step,
)
from dcgan_jax.sampling import sample_in_batches, sample_labels
from dcgan_jax.state import uniform_noise

LABELS = jnp.array([0, 1, 2, 0, 1, 2])

quick_step = quick_jit(train_step)


class ByClass(nn.Module):
    """A small network of a user's own, of class 0, 1 or 2."""

    inner: nn.Module
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x, train, labels):
        embedded = nn.Embed(3, int(np.prod(self.shape)))(labels).reshape(-1, *self.shape)
        return self.inner(x + embedded, train=train)


def small(key, **options):
    modules = {"generator": ByClass(SmallGenerator(), (5,)), "discriminator": ByClass(SmallDiscriminator(), (8, 8, 1))}
    return init_state(key, **modules, latent_size=5, classes=3, **options)


def test_default_networks_have_an_embedding_each(key):
    state = jax.eval_shape(lambda: init_state(key, classes=10))
    assert (state.generator.module, state.discriminator.module) == (Generator(classes=10), Discriminator(classes=10))
    assert state.generator.params["embedding"]["embedding"].shape == (10, 50)
    assert state.generator.params["dense"]["kernel"].shape == (150, 12_544)
    assert state.discriminator.params["class_vectors"]["embedding"].shape == (10, 512)
    without = jax.eval_shape(lambda: init_state(key))
    assert set(state.discriminator.params) - set(without.discriminator.params) == {"class_vectors"}


@pytest.mark.slow
def test_default_networks_step_by_class(key):
    """The projection starts at zero: D's first logits know no class, and its second do."""
    state = quick_jit(lambda key: init_state(key, preset="recommended", classes=3))(key)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1), np.uint8))
    stepped, metrics = quick_step(state, images, key, LABELS)
    assert all(np.isfinite(value) for value in metrics.values())
    one, other = jnp.zeros(6, jnp.int32), jnp.ones(6, jnp.int32)
    logits = quick_jit(lambda state, labels: state.discriminator.infer(images / 255, labels))
    np.testing.assert_array_equal(logits(state, one), logits(state, other))
    assert (logits(stepped, one) != logits(stepped, other)).all()
    z = uniform_noise(key, (6, 100))
    assert (generate(stepped, z, one) != generate(stepped, z, other)).any((1, 2, 3)).all()
    check_state(stepped, images)


class Painter(nn.Module):
    @nn.compact
    def __call__(self, z, train, labels):
        x = nn.relu(nn.Dense(32)(jnp.concatenate([z, nn.one_hot(labels, 3)], -1)))
        return nn.sigmoid(nn.Dense(16)(x)).reshape(-1, 4, 4, 1)


class Critic(nn.Module):
    @nn.compact
    def __call__(self, images, train, labels):
        x = nn.leaky_relu(nn.Dense(64)(images.reshape(len(images), -1)))
        return nn.Dense(1)(x) + (x * nn.Embed(3, 64)(labels)).sum(-1, keepdims=True)


def test_each_class_learns_its_own_images(key):
    """Three classes, dark, grey and light: the samples of each are nearest to its own."""
    shades = jnp.array([30, 128, 225], jnp.uint8)
    rates = {f"{name}_tx": optax.adam(1e-3, b1=0.5) for name in ("generator", "discriminator")}
    modules = {"generator": Painter(), "discriminator": Critic()}
    state = init_state(key, **modules, latent_size=5, classes=3, ema=0.98, **rates)

    def step(state, key):
        labels = jax.random.randint(key, (64,), 0, 3)
        noise = jax.random.randint(jax.random.fold_in(key, 1), (64, 4, 4, 1), -10, 11)
        return train_step(state, (shades[labels][:, None, None, None] + noise).astype(jnp.uint8), key, labels)

    state, _ = quick_jit(lambda state, keys: jax.lax.scan(step, state, keys))(state, jax.random.split(key, 1000))
    labels = jnp.repeat(jnp.arange(3), 50)
    shade = 255 * sample(averaged(state), key, 150, labels).mean((1, 2, 3)).reshape(3, 50).mean(1)
    assert jnp.abs(shade[:, None] - shades).argmin(1).tolist() == [0, 1, 2], shade


class Blind(nn.Module):
    """A discriminator that sees labels alone."""

    @nn.compact
    def __call__(self, images, train, labels):
        return nn.Embed(3, 1, embedding_init=nn.initializers.normal())(labels) + 0 * images.sum((1, 2, 3))[:, None]


def test_real_and_fake_images_are_of_the_labels(small_images, key):
    """A discriminator that is blind to images has the same two means of logits on both: those of the labels."""

    def logits(update):
        real = update.fake_logits if update.real_logits is None else update.real_logits
        return {"real": real[:, 0], "fake": update.fake_logits[:, 0]}

    modules = {"generator": ByClass(SmallGenerator(), (5,)), "discriminator": Blind()}
    state = init_state(key, **modules, latent_size=5, classes=3, metrics=logits)
    table = state.discriminator.params["Embed_0"]["embedding"][:, 0]
    _, metrics = quick_step(state, small_images, key, LABELS)
    np.testing.assert_allclose(metrics["d_real"], table[LABELS], rtol=1e-6)
    np.testing.assert_allclose(metrics["d_fake"], table[LABELS], rtol=1e-6)


def test_penalty_of_images_without_labels_is_refused(small_images, key):
    """Of one at a time, whose label nothing says, or of half of them."""

    def penalty(discriminator, real, fake, key):
        return jax.vmap(lambda x: discriminator(x[None]).sum())(real).mean()

    state = small(key)
    state = state.replace(losses=state.losses._replace(penalty=penalty))
    with pytest.raises(ValueError, match="by their labels: give it all 6, in their order, .* got 1"):
        train_step(state, small_images[:6], key, LABELS)


def test_penalty_with_a_stride_judges_by_those_labels(small_images, key):
    def mean_logit(discriminator, real, fake, key):
        return discriminator(real).mean()

    losses = CROSS_ENTROPY._replace(penalty=mean_logit, penalty_stride=2)
    modules = {"generator": ByClass(SmallGenerator(), (5,)), "discriminator": Blind()}
    state = init_state(key, **modules, latent_size=5, classes=3, losses=losses)
    table = state.discriminator.params["Embed_0"]["embedding"][:, 0]
    _, metrics = quick_step(state, small_images, key, LABELS)
    np.testing.assert_allclose(metrics["d_penalty"], table[LABELS[::2]].mean(), rtol=1e-5)


def test_penalty_judges_by_the_labels(small_images, key):
    """Of the batch once, and of real and fake together."""
    shapes = []

    def penalty(discriminator, real, fake, key):
        one, two = discriminator(real), discriminator(jnp.concatenate([real, fake]))
        shapes.append((one.shape, two.shape))
        return jnp.square(one - two[: len(one)]).mean()

    state = small(key)
    state = state.replace(losses=state.losses._replace(penalty=penalty))
    _, metrics = quick_step(state, small_images, key, LABELS)
    assert shapes[0] == ((6, 1), (12, 1))
    assert metrics["d_penalty"] == pytest.approx(0, abs=1e-12)


def test_sampling_draws_classes_at_random_or_as_asked(key):
    state = small(key)
    labels = sample_labels(state, key, 300)
    assert np.bincount(labels, minlength=3).min() > 60  # five deviations from 100
    np.testing.assert_array_equal(sample(state, key, 300), sample(state, key, 300, labels))
    asked = jnp.arange(7) % 3
    np.testing.assert_array_equal(sample_in_batches(state, key, 7, asked), sample(state, key, 7, asked))
    np.testing.assert_array_equal(sample_in_batches(state, key, 7), sample(state, key, 7))


def test_step_with_labels_composes(small_images, key):
    """Under jit, vmap and scan it is what it is alone."""
    state, keys = small(key), jax.random.split(key, 2)
    alone = [quick_step(state, small_images, each, LABELS)[1] for each in keys]
    mapped = quick_jit(jax.vmap(train_step, in_axes=(None, None, 0, None)))(state, small_images, keys, LABELS)[1]
    for i, metrics in enumerate(alone):
        for name, value in metrics.items():
            np.testing.assert_allclose(mapped[name][i], value, rtol=1e-5, atol=1e-6)
    one, _ = generator_step(state, key, 6, labels=LABELS)
    other, _ = quick_jit(generator_step, static_argnums=2)(state, key, 6, labels=LABELS)
    assert_same_bits(jax.tree.map(jnp.shape, one), jax.tree.map(jnp.shape, other))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, ValueError, r"this state has 3 classes: pass labels, integers \[6\]"),
        (LABELS[:5], ValueError, r"labels must have shape \[6\], one for each image, got \[5\]"),
        (LABELS[:, None], ValueError, r"labels must have shape \[6\], one for each image, got \[6, 1\]"),
        (LABELS / 2, TypeError, "labels must be integers, got float32"),
    ],
)
def test_unusable_labels_are_refused(labels, error, message, small_images, key):
    with pytest.raises(error, match=message):
        train_step(small(key), small_images, key, labels)


def test_labels_need_classes(small_state, small_images, key):
    for call in (
        lambda: train_step(small_state, small_images, key, LABELS),
        lambda: sample(small_state, key, 6, LABELS),
        lambda: generator_step(small_state, key, 6, labels=LABELS),
    ):
        with pytest.raises(ValueError, match=r"labels need a state with classes: init_state\(key, classes=10\)"):
            call()
    with pytest.raises(ValueError, match="a network with classes needs the labels of its batch"):
        Generator(classes=3).init(key, jnp.zeros((1, 100)))


@pytest.mark.parametrize("classes", [0, -1, 2.0, True, "10"])
def test_number_of_classes_is_checked(classes, key):
    with pytest.raises(ValueError, match="classes must be an integer of at least 1"):
        init_state(key, classes=classes)
