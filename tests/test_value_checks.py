"""What is documented is checked: shapes when a state is made, values by `check_state` and `check_images`."""

import pickle
import re
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import SmallDiscriminator, SmallGenerator, assert_same_bits, small_gan

from dcgan_jax import (
    CROSS_ENTROPY,
    EvaluationError,
    Losses,
    averaged,
    check_images,
    check_state,
    discriminator_step,
    evaluate_images,
    generate,
    generator_step,
    init_state,
    load_dataset,
    muon,
    rmsprop,
    sample,
    train_step,
)
from dcgan_jax.optimizer_equality import by_value
from dcgan_jax.training.collapse import CollapseDetector


class Discriminating(nn.Module):
    """A discriminator with a last layer of one's own."""

    features: int = 1
    last: object = staticmethod(lambda logits: logits)

    @nn.compact
    def __call__(self, images, train=False):
        return self.last(nn.Dense(self.features)(images.reshape(images.shape[0], -1)))


class Generating(nn.Module):
    """A generator with a last layer of one's own."""

    last: object
    shape: tuple = (8, 8, 1)

    @nn.compact
    def __call__(self, z, train=False):
        return self.last(3 * nn.Dense(int(np.prod(self.shape)))(z)).reshape(-1, *self.shape)


def softmax(logits):
    return nn.softmax(logits)[:, :1]


def gan(**modules):
    defaults = {"generator": SmallGenerator(), "discriminator": SmallDiscriminator(), "latent_size": 5}
    return init_state(jax.random.key(0), **{**defaults, **modules})


@pytest.mark.parametrize(
    ("modules", "error", "message"),
    [
        ({"discriminator": Discriminating(2)}, ValueError, "logits [B, 1], got shape (2, 2) with B = 2"),
        ({"discriminator": Discriminating(last=lambda x: x[:, 0])}, ValueError, "[B, 1], got shape (2,) with B = 2"),
        ({"discriminator": Discriminating(last=lambda x: x.mean(keepdims=True))}, ValueError, "got shape (1, 1)"),
        ({"discriminator": Discriminating(last=lambda x: x > 0)}, TypeError, "one floating-point array, got"),
        ({"discriminator": Discriminating(last=lambda x: (x, x))}, TypeError, "one floating-point array, got"),
        ({"discriminator": SmallDiscriminator}, TypeError, "Linen module, got the class SmallDiscriminator: build it"),
        (
            {"generator": nnx.Linear(3, 4, rngs=nnx.Rngs(0))},
            TypeError,
            "got an object of type Linear, which flax.nnx.bridge.to_linen may turn into one",
        ),
        ({"generator": Generating(nn.sigmoid, (64,))}, ValueError, "images [B, H, W, C], got shape (2, 64) with B = 2"),
        ({"generator": Generating(lambda x: x.astype(int))}, TypeError, "one floating-point array, got"),
        ({"generator": None, "latent_size": 0}, ValueError, "latent_size must be an integer of at least 1, got 0"),
        ({"latent_size": 2.5}, ValueError, "latent_size must be an integer of at least 1, got 2.5"),
        ({"generator_tx": 1e-3}, TypeError, "the generator's optimizer must be an Optax gradient transformation"),
        ({"discriminator_tx": optax.adam}, TypeError, "the discriminator's optimizer must be an Optax"),
    ],
)
def test_init_state_refuses_modules(modules, error, message):
    with pytest.raises(error, match=re.escape(message)):
        gan(**modules)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"discriminator": Discriminating(last=nn.sigmoid)}, "must return logits, so remove the sigmoid at its end"),
        ({"discriminator": Discriminating(2, last=softmax)}, "must return logits"),
        ({"generator": Generating(nn.tanh)}, "(tanh + 1) / 2"),
        ({"generator": Generating(nn.relu)}, "must be in [0, 1], got 0 to "),
        ({"generator": Generating(lambda x: x * jnp.nan)}, "must be in [0, 1], got nan to nan"),
    ],
)
def test_check_state_names_the_mistake(modules, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_state(gan(**modules))


def test_check_state_accepts_an_infinite_best_loss():
    """Of an optimizer that lowers its rate where the loss does not fall, before the first loss."""
    plateau = optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau())
    check_state(gan(generator_tx=plateau))
    state = gan()
    params = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(jnp.inf), state.generator.params)
    with pytest.raises(ValueError, match="generator/params/.* has numbers that are NaN or infinite"):
        check_state(state.replace(generator=state.generator.replace(params=params)))


def test_check_state_names_a_softmax_over_one_output():
    with pytest.raises(ValueError, match="returns 1 for every image: .* remove the softmax at its end"):
        check_state(gan(discriminator=Discriminating(last=nn.softmax)))
    with pytest.raises(ValueError, match="images are 1 everywhere"):
        check_state(gan(generator=Generating(last=lambda x: jnp.ones_like(x))))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"learning_rate": -1e-3}, "learning_rate must be at least 0 and below inf, got -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate must be at least 0 and below inf, got nan"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"learning_rate": 1e-3, "decay": -1}, "decay must be at least 0 and below inf, got -1"),
        ({"learning_rate": 1e-3, "clip": 0}, "clip must be above 0, got 0"),
    ],
)
def test_numbers_of_an_optimizer_are_checked(arguments, error):
    with pytest.raises((ValueError, TypeError), match=error):
        rmsprop(**arguments)


def test_losses_of_another_kind_are_refused():
    with pytest.raises(TypeError, match="losses must be a Losses"):
        gan(losses="hinge")
    for name in ("discriminator", "generator", "penalty"):
        with pytest.raises(TypeError, match=f"losses: {name} must be a function, got 'r1'"):
            gan(losses=CROSS_ENTROPY._replace(**{name: "r1"}))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([1, 3], ValueError, "labels must be in [0, 3), the state's classes, got 1 to 3: count classes from 0"),
        ([-1, 2], ValueError, "got -1 to 2"),
        ([0, 1, 2], ValueError, "labels must have shape [2], one for each image, got [3]"),
        ([0.0, 1.0], TypeError, "labels must be integers, got float"),
    ],
)
def test_check_state_names_wrong_labels(labels, error, message, small_state, small_images):
    """Of which a step would make NaN, or images of another class."""
    with pytest.raises(error, match=re.escape(message)):
        check_state(small_state.replace(classes=3), small_images[:2], labels)


def test_check_state_accepts_what_is_right(small_state, small_images, digits):
    """Untrained and trained, the images of a state's shape, and a discriminator that starts from zero."""
    check_state(small_state)
    check_state(train_step(small_state, small_images, jax.random.key(0))[0], small_images)
    check_state(gan(discriminator=Discriminating(last=lambda x: 0 * x)))
    with pytest.raises(ValueError, match=re.escape("real images must be [N, 8, 8, 1]")):
        check_state(small_state, digits)
    broken = small_state.replace(
        generator=small_state.generator.replace(
            params=jax.tree.map(lambda leaf: leaf.at[0].set(jnp.inf), small_state.generator.params)
        )
    )
    with pytest.raises(ValueError, match="generator/params/.* has numbers that are NaN or infinite"):
        check_state(broken)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x / 127.5 - 1, ValueError, "must be in [0, 1], got -1 to 1: add 1 and divide by 2"),
        (lambda x: x.astype(np.float32), ValueError, "must be in [0, 1], got 0 to 255: divide by 255"),
        (lambda x: x / 255 - 0.5, ValueError, "got -0.5 to 0.5: scale them so that black is 0 and white is 1"),
        (lambda x: (x / 255 - 0.13) / 0.31, ValueError, "got -0.419355 to 2.80645: scale them so that black is 0"),
        (lambda x: x / 254.97, ValueError, "got 0 to 1.00012: clip them to [0, 1]"),
        (lambda x: x / 255 / 255, ValueError, "got none above 0.00392: were they scaled twice?"),
        (lambda x: x * 0.0 + 0.5, ValueError, "all pixels of the real images are the same, 0.5"),
        (lambda x: x // 255 * 0 + 255, ValueError, "all pixels of the real images are the same, 255"),
        (lambda x: (x > 127).astype(np.uint8), ValueError, "must be in [0, 255], got none above 1: scale them"),
        (lambda x: x // 17, ValueError, "must be in [0, 255], got none above 15: scale them"),
        (lambda x: x / 255 * np.nan, ValueError, "got NaN or infinity"),
        (lambda x: x.astype(np.int32), TypeError, "must be uint8 or floating point in [0, 1], got int32"),
        (lambda x: x > 127, TypeError, "got bool"),
        (lambda x: x[..., 0], ValueError, "must be [N, H, W, C] with N at least 1, got [10000, 28, 28]"),
        (lambda x: x[:0], ValueError, "must be [N, H, W, C] with N at least 1, got [0, 28, 28, 1]"),
    ],
)
def test_check_images_names_the_mistake(change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_images(change(load_dataset(split="test")))


def test_check_images_accepts_what_is_right(mnist):
    check_images(mnist[:100])
    check_images(mnist[:100] / np.float32(255), (28, 28, 1))
    check_images(jnp.asarray(mnist[:100] / 255, jnp.bfloat16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x > 127).astype(np.uint8), "no pixel is above 1 of 255"),
        (lambda x: x // 17, "no pixel is above 15 of 255"),
        (lambda x: x // 2, "no pixel is above 127 of 255"),
        (lambda x: (x / 127.5 - 1).astype(np.int8).astype(np.uint8), "images in [-1, 1] wrap around so"),
        (lambda x: x / 255 - 0.5, "got values from -0.5 to 0.5: scale them so that black is 0 and white is 1"),
        (lambda x: x / 255 / 255, "no pixel is above 1 of 255"),
        (lambda x: 255 - x, "digits must be white on black; subtract them from 255"),
        (lambda x: 1 - x / 255, "digits must be white on black; subtract them from 255"),
        (lambda x: ((x / 127.5 - 1) * 255).astype(np.int16).astype(np.uint8), "the background is 1 and not 0"),
        (lambda x: ((x / 127.5 - 1) * 127.5).astype(np.int16).astype(np.uint8), "the background is 129 and not 0"),
        (lambda x: (x / 127.5 - 1).astype(np.int16).astype(np.uint8), "images in [-1, 1] wrap around so"),
        (lambda x: x // 2 + 64, "the background is 64 and not 0"),
        (lambda x: x / 127.5 - 1, "got values from -1 to 1: add 1 and divide by 2"),
        (lambda x: x.astype(float), "got values from 0 to 255: divide by 255, or pass uint8"),
    ],
)
def test_evaluate_refuses_wrong_scales(change, message):
    with pytest.raises(EvaluationError, match=re.escape(message)):
        evaluate_images(change(load_dataset(split="test")))


MISUSES = {
    "swapped": (
        lambda s, u, k: train_step(s, k, u),
        "got a PRNG key: images come before the key",
    ),
    "no images": (lambda s, u, k: discriminator_step(s, None, k), "images must be an array [B, H, W, C], got NoneType"),
    "metrics too": (
        lambda s, u, k: train_step(train_step(s, u, k), u, k),
        "got tuple: train_step returns (state, ",
    ),
    "a network": (
        lambda s, u, k: train_step(s.generator, u, k),
        "state must be a GANState, as init_state returns",
    ),
    "sample": (lambda s, u, k: sample(k, s, 4), "state must be a GANState"),
    "generate": (lambda s, u, k: generate(3, u), "state must be a GANState"),
    "average": (lambda s, u, k: averaged(3), "state must be a GANState, as init_state returns, got int"),
    "check": (lambda s, u, k: check_state(u, s), "state must be a GANState"),
}


@pytest.mark.parametrize(("call", "message"), MISUSES.values(), ids=MISUSES.keys())
def test_wrong_arguments_are_named(call, message, small_state, key):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call(small_state, np.full((2, 8, 8, 1), 0.5, np.float32), key)


def test_empty_batch_is_named(small_state, key):
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got 0"):
        sample(small_state, key, 0)
    for step in (train_step, discriminator_step):
        with pytest.raises(ValueError, match="a batch must have at least one image, got 0"):
            step(small_state, jnp.zeros((0, 8, 8, 1)), key)
    with pytest.raises(ValueError, match="a batch must have at least one image, got 0"):
        generator_step(small_state, key, 0)


def cosine():
    return optax.cosine_decay_schedule(1e-3, 100)


OPTIMIZERS = {
    "rmsprop": lambda rate: rmsprop(rate, 1e-4, clip=1.0),
    "rmsprop of a schedule": lambda rate: rmsprop(optax.exponential_decay(rate, 10, 0.9)),
    "muon of schedules": lambda rate: muon(cosine(), vector_rate=optax.linear_schedule(rate, 1e-4, 10)),
    "adam": optax.adam,
    "chain": lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(cosine()), optax.scale(rate)),
    "injected": lambda rate: optax.inject_hyperparams(optax.rmsprop)(rate),
    "accumulated": lambda rate: optax.MultiSteps(optax.sgd(rate), 4).gradient_transformation(),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equal_optimizers_are_equal(name):
    """If they were built alike, though separately; with another learning rate they are not."""
    make = OPTIMIZERS[name]
    a, b, other = (by_value(make(rate)) for rate in (1e-3, 1e-3, 2e-3))
    assert (a, hash(a)) == (b, hash(b))
    assert a != other


class Slotted(NamedTuple):
    """An optimizer of a user's own, whose functions are methods of something without attributes of its own."""

    rate: float

    def init(self, params):
        return ()

    def update(self, updates, state, params=None):
        return jax.tree.map(lambda g: -self.rate * g, updates), state


def test_methods_are_equal_by_all_their_object_holds():
    a, b, other = (by_value(optax.GradientTransformation(x.init, x.update)) for x in map(Slotted, (0.1, 0.1, 0.2)))
    assert (a, hash(a)) == (b, hash(b))
    assert a != other


def test_states_of_equal_optimizers_combine():
    """Under `jax.tree.map`, and in one compiled program."""
    a, b = (small_gan(jax.random.key(i), generator_tx=optax.adam(2e-4, b1=0.5)) for i in range(2))
    mean = jax.tree.map(lambda x, y: (x + y) / 2, a, b)
    assert jax.tree.structure(mean) == jax.tree.structure(a)
    traced = []
    count = jax.jit(lambda state: traced.append(1))
    count(a)
    count(b)
    assert len(traced) == 1


def test_state_can_be_pickled(small_state, small_images, key):
    """With the presets' optimizers; the copy takes the same step, by the program that is compiled already."""
    copy = pickle.loads(pickle.dumps(small_state))
    assert_same_bits(copy, small_state)
    assert_same_bits(train_step(copy, small_images, key), train_step(small_state, small_images, key))


def test_watchdog_names_probabilities():
    """A discriminator that ends in a sigmoid is taken to call every image real."""
    detector = CollapseDetector(0, np.random.default_rng(0).random((16, 8, 8, 1)), digits=False)
    fooled = {"d_loss": 0.5, "d_accuracy": 0.5, "g_loss": 0.4, "g_accuracy": 1.0}
    lines = [detector.observe_losses(step, fooled) for step in range(1, 301)]
    (line,) = filter(None, lines)
    assert lines.index(line) == 99
    assert "called every image real for 100 steps" in line
    assert "remove the sigmoid at its end (it must return logits)" in line
    resumed = CollapseDetector(50, np.ones((2, 8, 8, 1)) * [[[[0]]], [[[1]]]], digits=False, state={"fooled": 50})
    assert [step for step in range(51, 151) if resumed.observe_losses(step, fooled)] == [100]


def test_watchdog_is_quiet_about_chance():
    detector = CollapseDetector(0, np.random.default_rng(0).random((16, 8, 8, 1)), digits=False)
    for step in range(1, 301):
        row = {"d_loss": 0.69, "d_accuracy": 0.5 + 0.01 * (step % 90 == 0), "g_loss": 0.7, "g_accuracy": 1.0}
        assert detector.observe_losses(step, row) is None


def test_losses_of_probabilities_are_refused_first():
    """A custom loss does not hide the shape's mistake."""
    mean = Losses(lambda real, fake: jnp.mean(fake) - jnp.mean(real), lambda fake: -jnp.mean(fake))
    with pytest.raises(ValueError, match="must return logits"):
        check_state(gan(discriminator=Discriminating(last=nn.sigmoid), losses=mean))
