"""The weights of a generator with classes in fewer numbers: an equal generator, and how far float16 moves it."""

import jax
import numpy as np
import pytest
from helpers import assert_same_bits

from dcgan_jax import Discriminator, GANState, Generator, generate, init_state
from dcgan_jax.interop import match_weights, replace_weights
from dcgan_jax.interop.common import named_arrays
from dcgan_jax.pretrained.compact import compact, expand

LATENT, CLASSES, UNITS = 12, 4, 2 * 2 * 16
KERNEL, BIAS = "generator/params/dense/kernel", "generator/params/dense/bias"
VECTORS, MEAN = "generator/params/embedding/embedding", "generator/batch_stats/norm_0/mean"


@pytest.fixture(scope="module")
def state() -> GANState:
    """A small generator with classes, whose arrays are random as after training."""
    state = init_state(
        jax.random.key(0),
        generator=Generator((8, 8, 1), classes=CLASSES, width=4),
        discriminator=Discriminator(classes=CLASSES, width=4),
        latent_size=LATENT,
        classes=CLASSES,
    )
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.uniform(0.5, 1.5, leaf.shape) if name.endswith("/var") else leaf + rng.normal(0, 0.3, leaf.shape)
        for name, leaf in generator_arrays(state).items()
    }
    return with_arrays(state, arrays)


def generator_arrays(state):
    return {name: np.asarray(leaf) for name, leaf in named_arrays(state).items() if name.startswith("generator/")}


def with_arrays(state, arrays):
    return replace_weights(state, match_weights(arrays, state, "these"))


def normalised_inputs(arrays):
    """What batch normalisation divides by its standard deviation, of no noise and each class: float64 [classes, units].

    Noise adds its product with the first rows of the kernel, which `compact` keeps.
    """
    kernel, bias, vectors, mean = (arrays[name].astype(np.float64) for name in (KERNEL, BIAS, VECTORS, MEAN))
    return vectors @ kernel[LATENT:] + bias - mean


def test_expanded_generator_draws_the_same_images(state):
    """In inference and in training mode.

    Sums of some 60 float32 terms of order 1 are within 60 * 2^-24 = 4e-6 of the exact ones; two normalisations and
    three convolutions later the pixels, whose slope is 1/4 at most, are within some ten times that.
    """
    other = with_arrays(state, expand(compact(generator_arrays(state), LATENT), CLASSES))
    noise = jax.random.uniform(jax.random.key(2), (32, LATENT), minval=-1)
    labels = jax.numpy.arange(32) % CLASSES
    images = generate(state, noise, labels)
    assert float(np.asarray(images).std(axis=0).max()) > 0.05
    np.testing.assert_allclose(generate(other, noise, labels), images, atol=4e-5)

    def trained(state):
        half = state.generator
        return half.module.apply(
            {"params": half.params, "batch_stats": half.batch_stats},
            *(noise, True, labels),
            rngs={"dropout": jax.random.key(3)},
            mutable=["batch_stats"],
        )[0]

    np.testing.assert_allclose(trained(other), trained(state), atol=4e-5)


def test_compact_arrays_come_back_to_the_bit(state):
    """Of either type; those that `compact` does not change are the same objects."""
    for dtype in (np.float32, np.float16):
        arrays = {name: array.astype(dtype) for name, array in generator_arrays(state).items()}
        small = compact(arrays, LATENT)
        assert {array.dtype for array in small.values()} == {np.dtype(dtype)}
        assert small[KERNEL].shape == (LATENT + CLASSES - 1, UNITS)
        assert arrays.keys() - small.keys() == {BIAS, VECTORS}
        assert all(small[name] is arrays[name] for name in small.keys() - {KERNEL, MEAN})
        whole = expand(small, CLASSES)
        assert {name: (a.shape, a.dtype) for name, a in whole.items()} == {
            name: (a.shape, a.dtype) for name, a in arrays.items()
        }
        assert_same_bits(compact(whole, LATENT), small)


def test_float16_moves_each_class_by_its_roundings(state):
    """Two numbers stand for a class in a unit, each rounded to half of 2^-10 of itself: so far, and no further.

    float32 has rounded each by 2^-24 of itself before; one below the normal numbers of float16 moves by 2^-25.
    """
    arrays = generator_arrays(state)
    small = compact(arrays, LATENT)
    half = {name: array.astype(np.float16) for name, array in small.items()}
    rows = np.concatenate([np.zeros((1, UNITS)), small[KERNEL][LATENT:]])
    bound = (2.0**-11 + 2.0**-23) * (np.abs(rows) + np.abs(small[MEAN])) + 2 * 2.0**-25
    moved = np.abs(normalised_inputs(expand(half, CLASSES)) - normalised_inputs(arrays))
    assert (moved <= bound).all()
    assert moved.max() > bound.max() / 16  # the bound is one of these roundings
