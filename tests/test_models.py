"""The two networks: their sizes, what they return, and both modes and precisions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_bits, quick_jit

from dcgan_jax import Discriminator, Generator, generate, init_state, sample, train_step
from dcgan_jax.state import uniform_noise


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_counts_are_the_tutorials(state):
    assert size(state.generator.params) + size(state.generator.batch_stats) == 2_394_241
    assert size(state.generator.batch_stats) == 25_536
    assert size(state.discriminator.params) == 4_311_553
    assert size(state.discriminator.batch_stats) == 0


def test_kernels_have_the_canonical_shape(state):
    shapes = {
        name: layer["kernel"].shape
        for params in (state.generator.params, state.discriminator.params)
        for name, layer in params.items()
        if name.startswith("conv")
    }
    assert all(shape[:2] == (5, 5) for shape in shapes.values())
    assert state.generator.params["conv_1"]["kernel"].shape == (5, 5, 256, 128)


def test_initial_parameters_are_as_in_keras(state):
    kernel = np.asarray(state.discriminator.params["conv_3"]["kernel"])
    limit = (6 / (25 * 128 + 25 * 256)) ** 0.5  # uniform, Glorot and Bengio 2010
    assert 0.999 * limit < np.abs(kernel).max() <= limit
    assert abs(kernel.std() - limit / 3**0.5) < 0.01 * limit
    assert not np.any(state.discriminator.params["conv_3"]["bias"])


def test_images_are_between_0_and_1(state, key):
    images = sample(state, key, 4)
    assert images.shape == (4, 28, 28, 1)
    assert images.dtype == jnp.float32
    assert 0 <= images.min() < images.max() <= 1


def test_discriminator_returns_logits(state, key):
    logits = quick_jit(state.discriminator.infer)(sample(state, key, 4))
    assert logits.shape == (4, 1)
    assert jnp.isfinite(logits).all()


def test_image_depends_on_its_own_noise_only(state, key):
    z = uniform_noise(key, (8, 100))
    together = generate(state, z)
    others = generate(state, z.at[1:].set(0.5))
    assert_same_bits(together[0], others[0])
    # Alone it is computed by smaller matrix products, which may sum in another order.
    np.testing.assert_allclose(generate(state, z[:1])[0], together[0], rtol=0, atol=1e-6)


def test_noise_is_uniform_between_minus_1_and_1(key):
    z = np.asarray(uniform_noise(key, (1000, 100)))
    assert -1 <= z.min() < -0.9999
    assert 0.9999 < z.max() < 1
    assert abs(z.mean()) < 5 * (1 / 3 / z.size) ** 0.5


def test_training_mode_updates_the_statistics(key):
    """Two dropout keys give two images, and the moving statistics take a tenth of the batch's."""
    z, generator = uniform_noise(key, (4, 100)), Generator(image_shape=(4, 4, 1))
    variables = quick_jit(generator.init)(key, z)

    @quick_jit
    def apply(dropout_key):
        return generator.apply(variables, z, train=True, rngs={"dropout": dropout_key}, mutable=["batch_stats"])

    images, updates = apply(jax.random.key(1))
    others, _ = apply(jax.random.key(2))
    assert not np.allclose(images, others)
    hidden = z @ variables["params"]["dense"]["kernel"]
    np.testing.assert_allclose(
        updates["batch_stats"]["norm_0"]["mean"], 0.1 * hidden.mean(axis=0), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(updates["batch_stats"]["norm_0"]["var"], 0.9 + 0.1 * hidden.var(axis=0), rtol=1e-4)


def test_dropout_needs_its_rng(state):
    with pytest.raises(Exception, match="dropout"):
        Discriminator().apply({"params": state.discriminator.params}, jnp.zeros((1, 28, 28, 1)), train=True)


@pytest.mark.parametrize(
    ("image_shape", "smallest"),
    [
        ((28, 28, 1), (7, 7)),
        ((32, 32, 3), (8, 8)),
        ((12, 20, 1), (3, 5)),
        ((36, 36, 3), (5, 5)),
        ((44, 60, 1), (6, 8)),
        ((64, 64, 3), (8, 8)),
        ((128, 32, 3), (16, 4)),  # the shorter side keeps 4 pixels
        ((128, 128, 3), (8, 8)),
        ((256, 256, 1), (8, 8)),
    ],
    ids=str,
)
def test_networks_grow_with_the_images(image_shape, smallest, key):
    """A stage for each doubling beyond 32 pixels; the last maps of both networks keep a few pixels."""
    generator, discriminator = Generator(image_shape=image_shape), Discriminator()
    images, variables = jax.eval_shape(generator.init_with_output, key, jnp.zeros((2, 100)))
    assert images.shape == (2, *image_shape)
    convolutions = sorted((name for name in variables["params"] if name.startswith("conv")), key=lambda n: n[5:])
    widest = variables["params"][convolutions[0]]["kernel"].shape[2]
    assert variables["params"]["dense"]["bias"].shape == (smallest[0] * smallest[1] * widest,)
    logits, variables = jax.eval_shape(discriminator.init_with_output, key, images)
    assert logits.shape == (2, 1)
    assert variables["params"]["dense"]["kernel"].shape[0] <= 16 * 512
    assert len(convolutions) == len([name for name in variables["params"] if name.startswith("conv")])


def test_each_doubling_adds_a_stage(key):
    counts = []
    for size in (32, 64, 128, 256):
        params = jax.eval_shape(Generator(image_shape=(size, size, 3)).init, key, jnp.zeros((2, 100)))["params"]
        counts.append(len(params))
    assert counts == [9, 11, 13, 15]  # a convolution and a normalisation each


@pytest.mark.slow
@pytest.mark.parametrize("size", [40, 64, 128])
def test_larger_colour_images_step(size, key):
    state = init_state(key, generator=Generator(image_shape=(size, size, 3)))
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    stepped, metrics = quick_jit(train_step)(state, images, key)
    assert all(np.isfinite(value) for value in metrics.values())
    for before, after in ((state.generator, stepped.generator), (state.discriminator, stepped.discriminator)):
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.params, after.params)
        assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("image_shape", [(30, 28, 1), (28, 0, 1)], ids=str)
def test_image_shape_must_be_multiples_of_4(image_shape, key):
    with pytest.raises(ValueError, match="multiples of 4"):
        Generator(image_shape=image_shape).init(key, jnp.zeros((1, 100)))


def test_models_are_modules_and_compare_by_value():
    assert isinstance(Generator(), nn.Module)
    assert Generator() == Generator()
    assert hash(Discriminator()) == hash(Discriminator())


@pytest.fixture
def half():
    """The tutorial's GAN computing in bfloat16, with the key of `state`."""
    modules = {"generator": Generator(dtype=jnp.bfloat16), "discriminator": Discriminator(dtype=jnp.bfloat16)}
    return init_state(jax.random.key(1), **modules)


# Each layer rounds its input, its kernel and its output to 8 bits: in five layers fifteen roundings of 2^-9.
BFLOAT16 = 15 * 2**-9


def test_bfloat16_agrees_to_its_precision(state, digits, key):
    variables = {"params": state.generator.params, "batch_stats": state.generator.batch_stats}
    z = uniform_noise(key, (8, 100))
    images = quick_jit(Generator(dtype=jnp.bfloat16).apply)(variables, z)
    assert images.dtype == jnp.float32
    assert 0 < np.abs(images - generate(state, z)).max() < BFLOAT16  # other sums, and close to these
    x = digits.astype(jnp.float32) / 255
    logits = quick_jit(Discriminator(dtype=jnp.bfloat16).apply)({"params": state.discriminator.params}, x)
    exact = quick_jit(state.discriminator.infer)(x)
    assert 0 < np.abs(logits - exact).max() < BFLOAT16 * np.abs(exact).max()


def test_bfloat16_step_keeps_its_state_in_float32(state, half, digits, key):
    """Parameters, statistics, optimizer slots and losses."""
    assert_same_bits(half.generator.params, state.generator.params)  # the same initial values
    new, metrics = jax.eval_shape(train_step, half, digits, key)
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {jnp.dtype("float32"), jnp.dtype("int32")}
    assert {value.dtype for value in metrics.values()} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_bfloat16_step_has_the_losses_of_float32(state, half, digits, key):
    _, metrics = train_step(half, digits, key)
    _, exact = train_step(state, digits, key)
    assert abs(metrics["d_loss"] - exact["d_loss"]) < BFLOAT16
    assert abs(metrics["g_loss"] - exact["g_loss"]) < BFLOAT16
