"""The two networks: their sizes, what they return, and both modes and precisions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_bits

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
    logits = jax.jit(state.discriminator.infer)(sample(state, key, 4))
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
    variables = jax.jit(generator.init)(key, z)

    @jax.jit
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


@pytest.mark.parametrize("image_shape", [(32, 32, 3), (12, 20, 1)], ids=str)
def test_other_image_shapes(image_shape, key):
    generator, discriminator = Generator(image_shape=image_shape), Discriminator()
    images, variables = jax.eval_shape(generator.init_with_output, key, jnp.zeros((2, 100)))
    assert images.shape == (2, *image_shape)
    logits, _ = jax.eval_shape(discriminator.init_with_output, key, images)
    assert logits.shape == (2, 1)


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
    images = jax.jit(Generator(dtype=jnp.bfloat16).apply)(variables, z)
    assert images.dtype == jnp.float32
    assert 0 < np.abs(images - generate(state, z)).max() < BFLOAT16  # other sums, and close to these
    x = digits.astype(jnp.float32) / 255
    logits = jax.jit(Discriminator(dtype=jnp.bfloat16).apply)({"params": state.discriminator.params}, x)
    exact = jax.jit(state.discriminator.infer)(x)
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
