"""The models and whole training steps against Keras 3 itself, on its JAX backend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, run_program
from xla_options import LITTLE_OPTIMISED, as_flags

from dcgan_jax import (
    Discriminator,
    Generator,
    discriminator_from_keras,
    generator_from_keras,
    init_state,
    load_dataset,
    rmsprop,
    train_step,
)
from dcgan_jax.state import uniform_noise

keras = pytest.importorskip("keras")
L = keras.layers

# Of losses, parameters and batch statistics after whole steps in double precision. Keras's learning rate is single
# (6e-8 apart), and eps in the root multiplies a small gradient's own rounding, tenfold in the worst leaf.
TOLERANCE = 1e-6

# Keras's variables implement NumPy's older conversion protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def keras_generator(dropout_rate=0.4):
    def norm():
        return L.BatchNormalization(momentum=0.9)

    return keras.Sequential(
        [
            L.Input((100,)),
            L.Dense(7 * 7 * 256),
            norm(),
            L.Activation("relu"),
            L.Reshape((7, 7, 256)),
            L.Dropout(dropout_rate),
            L.UpSampling2D(),
            L.Conv2DTranspose(128, 5, padding="same"),
            norm(),
            L.Activation("relu"),
            L.UpSampling2D(),
            L.Conv2DTranspose(64, 5, padding="same"),
            norm(),
            L.Activation("relu"),
            L.Conv2DTranspose(32, 5, padding="same"),
            norm(),
            L.Activation("relu"),
            L.Conv2DTranspose(1, 5, padding="same"),
            L.Activation("sigmoid"),
        ]
    )


def keras_discriminator(dropout_rate=0.4):
    layers = [L.Input((28, 28, 1))]
    for features, strides in ((64, 2), (128, 2), (256, 2), (512, 1)):
        layers += [
            L.Conv2D(features, 5, strides=strides, padding="same"),
            L.LeakyReLU(negative_slope=0.2),
            L.Dropout(dropout_rate),
        ]
    return keras.Sequential([*layers, L.Flatten(), L.Dense(1), L.Activation("sigmoid")])


@pytest.fixture(scope="module")
def generator():
    return keras_generator()


@pytest.fixture(scope="module")
def discriminator():
    return keras_discriminator()


def randomised(model, seed):
    """The model's weights without zero biases and unit statistics, so that each of them matters."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        value = np.asarray(variable.value)
        if value.ndim == 1:
            variable.assign(value + rng.uniform(0, 0.3, value.shape))
    return model.get_weights()


def test_generator_equals_keras(generator):
    variables = generator_from_keras(randomised(generator, 0))
    z = uniform_noise(jax.random.key(0), (3, 100))
    ours = jax.jit(Generator().apply)(variables, z)
    theirs = generator(z, training=False)
    assert np.std(theirs) > 0.01
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert generator.count_params() == sum(x.size for x in jax.tree.leaves(variables)) == 2_394_241


def test_discriminator_equals_keras(discriminator, digits):
    variables = discriminator_from_keras(randomised(discriminator, 1))
    images = digits / 255
    ours = jax.nn.sigmoid(jax.jit(Discriminator().apply)(variables, images))
    theirs = discriminator(images, training=False)
    assert np.std(theirs) > 1e-4
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert discriminator.count_params() == sum(x.size for x in jax.tree.leaves(variables)) == 4_311_553


def test_other_weights_are_refused(generator):
    weights = generator.get_weights()
    with pytest.raises(ValueError, match="26 arrays are expected.*got 25"):
        generator_from_keras(weights[:-1])
    weights[6] = weights[6].transpose(0, 1, 3, 2)  # a convolution's kernel, not a transposed one's
    with pytest.raises(ValueError, match=r"array 6 \(conv_1 kernel\)"):
        generator_from_keras(weights)
    with pytest.raises(ValueError, match="10 arrays are expected.*got 26"):
        discriminator_from_keras(weights)


def test_three_steps_equal_keras():
    """With Keras's discriminator frozen, in double precision.

    In single precision a ReLU whose input is within rounding of zero is on in one program and off in the other, and
    changes whole gradients.
    """
    environment = {"JAX_ENABLE_X64": "1", "XLA_FLAGS": as_flags(LITTLE_OPTIMISED)}
    assert run_program("compare_with_keras.py", **environment).strip() == "compared 3 steps"


def compare_three_steps():
    """Dropout off, the noise shared, Keras 3's RMSprop with decay and clip: the tutorial's program, D frozen."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(0)
    mnist = load_dataset()
    batch_size, steps = 4, 3
    lr, decay, clip = 1e-4, 0.1, 0.01  # the tutorial's rate; a decay and a clip that show in three steps
    g, d = keras_generator(0.0), keras_discriminator(0.0)
    assert {w.dtype for w in (*g.get_weights(), *d.get_weights())} == {np.dtype(np.float64)}
    optimizer = rmsprop(lr, decay, clip, eps_in_sqrt=True)
    state = init_state(
        jax.random.key(0),
        generator=Generator(dropout_rate=0.0),
        discriminator=Discriminator(dropout_rate=0.0),
        generator_tx=optimizer,
        discriminator_tx=optimizer,
    )
    g_start, d_start = generator_from_keras(g.get_weights()), discriminator_from_keras(d.get_weights())
    state = state.replace(
        generator=state.generator.replace(**g_start, opt_state=optimizer.init(g_start["params"])),
        discriminator=state.discriminator.replace(**d_start, opt_state=optimizer.init(d_start["params"])),
    )

    def keras_rmsprop():
        schedule = keras.optimizers.schedules.InverseTimeDecay(lr, decay_steps=1, decay_rate=decay)
        return keras.optimizers.RMSprop(schedule, rho=0.9, epsilon=1e-7, clipvalue=clip)

    d.compile(keras_rmsprop(), "binary_crossentropy", metrics=["accuracy"])
    d.trainable = False
    adversarial = keras.Sequential([L.Input((100,)), g, d])
    adversarial.compile(keras_rmsprop(), "binary_crossentropy", metrics=["accuracy"])

    for i in range(steps):
        images, key = mnist[i * batch_size : (i + 1) * batch_size], jax.random.key(i)
        # The noise that train_step draws from its key: see there.
        d_key, g_key = jax.random.split(key)
        d_noise = uniform_noise(jax.random.split(d_key)[0], (batch_size, 100))
        g_noise = uniform_noise(jax.random.split(g_key, 3)[0], (batch_size, 100))

        fakes = g.predict(np.asarray(d_noise), verbose=0)
        x = np.concatenate([images.astype(np.float32) / np.float32(255), fakes])
        y = np.concatenate([np.ones((batch_size, 1)), np.zeros((batch_size, 1))])
        d.trainable = True
        d_loss, d_accuracy = d.train_on_batch(x, y)
        d.trainable = False
        d_weights = d.get_weights()
        a_loss, a_accuracy = adversarial.train_on_batch(np.asarray(g_noise), np.ones((batch_size, 1)))
        for before, after in zip(d_weights, d.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)  # Keras's D is frozen

        state, metrics = train_step(state, jnp.asarray(images), key)
        np.testing.assert_allclose(metrics["d_loss"], d_loss, rtol=TOLERANCE)
        np.testing.assert_allclose(metrics["g_loss"], a_loss, rtol=TOLERANCE)
        np.testing.assert_allclose(metrics["d_accuracy"], d_accuracy)
        np.testing.assert_allclose(metrics["g_accuracy"], a_accuracy)
        d.reset_metrics()
        adversarial.reset_metrics()

    theirs_g, theirs_d = generator_from_keras(g.get_weights()), discriminator_from_keras(d.get_weights())
    # A bias in front of a batch normalisation has no gradient but rounding: it has not moved in either.
    for name in ("dense", "conv_1", "conv_2", "conv_3"):
        for params in (state.generator.params, theirs_g["params"]):
            assert np.abs(params[name].pop("bias")).max() < 1e-6
    assert_close(state.generator.params, theirs_g["params"], TOLERANCE)
    assert_close(state.generator.batch_stats, theirs_g["batch_stats"], TOLERANCE)
    assert_close(state.discriminator.params, theirs_d["params"], TOLERANCE)
    moved = state.discriminator.params["conv_4"]["kernel"] - d_start["params"]["conv_4"]["kernel"]
    assert np.abs(moved).max() > lr  # the comparison is one of trained parameters
    print(f"compared {steps} steps")
