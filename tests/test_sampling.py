"""Images of seeds, and ways between them."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_bits, quick_jit

from dcgan_jax import generate, init_state, interpolate, sample
from dcgan_jax.images import as_bytes
from dcgan_jax.prng import seed_key
from dcgan_jax.sampling import between_classes, generate_singly, sample_in_batches, sample_seeds
from dcgan_jax.state import uniform_noise


@pytest.fixture(scope="module")
def conditional():
    return quick_jit(lambda key: init_state(key, classes=3))(jax.random.key(2))


def draw(state, seeds):
    return generate_singly(state, *sample_seeds(state, np.asarray(seeds)))


@pytest.mark.parametrize("seed", [0, 17, 2**31, 2**32 - 1])
def test_seed_draws_what_sample_draws(seed, state, conditional):
    """Of that key, the class too."""
    for each in (state, conditional):
        expected = sample(each, seed_key(seed), 1)
        # A pixel is the sigmoid of a sum of 800 products: between two programs it differs by some units in float32's
        # last place.
        np.testing.assert_allclose(draw(each, [seed]), expected, atol=1e-5)
    assert_same_bits(sample_seeds(state, np.array([seed]))[0], uniform_noise(seed_key(seed), (1, 100)))


def test_image_has_the_same_bits_in_any_company(state):
    """In any place, and over the border of a call."""
    images = draw(state, range(105))
    for seeds in ([17], [104, 17, 3], [99, 100]):
        assert draw(state, seeds).tobytes() == images[seeds].tobytes()


def test_image_of_a_class_is_the_same_in_any_company(conditional):
    images = draw(conditional, range(5))
    assert draw(conditional, [4]).tobytes() == images[4:].tobytes()
    noise, labels = sample_seeds(conditional, np.arange(5))
    assert labels.shape == (5,)
    assert set(np.asarray(sample_seeds(conditional, np.arange(50))[1])) == {0, 1, 2}
    np.testing.assert_array_equal(generate_singly(conditional, noise[3:], labels[3:]), images[3:])


def test_seeds_are_the_same_under_any_settings(small_state):
    expected = sample_seeds(small_state, np.arange(5))
    with jax.enable_x64(True), jax.threefry_partitionable(False), jax.numpy_rank_promotion("raise"):
        assert_same_bits(sample_seeds(small_state, np.arange(5)), expected)


@pytest.mark.parametrize("straight", [False, True])
def test_way_begins_and_ends_at_its_ends(straight, key):
    """To the bit."""
    start, end = uniform_noise(key, (2, 100))
    way = interpolate(start, end, 7, straight=straight)
    assert way.shape == (7, 100)
    assert_same_bits(way[0], start)
    assert_same_bits(way[-1], end)


def test_great_circle_keeps_length_and_speed(key):
    """Between two vectors of one length all have it, in equal angles. A straight line is shorter by cos(angle / 2)."""
    start, end = (z / jnp.linalg.norm(z) for z in uniform_noise(key, (2, 100)))
    way = np.asarray(interpolate(start, end, 9), np.float64)
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), 1, rtol=1e-5)  # float32, sums of 100
    angle = math.acos(float(start @ end))
    np.testing.assert_allclose((way[1:] * way[:-1]).sum(1), math.cos(angle / 8), rtol=1e-5)
    middle = interpolate(start, end, 3, straight=True)[1]
    np.testing.assert_allclose(middle, (start + end) / 2, rtol=1e-6)
    assert jnp.linalg.norm(middle) == pytest.approx(math.cos(angle / 2), rel=1e-5)


@pytest.mark.parametrize(("start", "end"), [([1, 2], [1, 2]), ([1, 2], [2, 4]), ([1, 2], [-2, -4]), ([0, 0], [1, 2])])
def test_way_without_a_great_circle_is_straight(start, end):
    start, end = jnp.array(start, jnp.float32), jnp.array(end, jnp.float32)
    np.testing.assert_allclose(interpolate(start, end, 5), interpolate(start, end, 5, straight=True), rtol=1e-6)


def test_straight_way_computes_no_nan(key):
    with jax.debug_nans(True):
        for end in (jnp.ones(5), jnp.zeros(5), -jnp.ones(5)):
            assert jnp.isfinite(interpolate(jnp.ones(5), end, 3)).all()


@pytest.mark.parametrize("n", [1, 0, -2, 2.0, True, "3", None])
def test_way_has_at_least_two_images(n, key):
    with pytest.raises(ValueError, match=f"n must be an integer of at least 2, got {re.escape(repr(n))}"):
        interpolate(*uniform_noise(key, (2, 100)), n)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (jnp.ones(5), jnp.ones(3), r"vectors of one size, \[latent_size\], got \[5\] and \[3\]"),
        (jnp.ones((1, 5)), jnp.ones((1, 5)), r"vectors of one size, \[latent_size\], got \[1, 5\] and \[1, 5\]"),
        ([1.0, 2.0], jnp.ones(2), "start and end must be arrays, got list and ArrayImpl"),
    ],
    ids=["sizes", "batches", "list"],
)
def test_ways_lead_from_vector_to_vector(start, end, message):
    with pytest.raises((ValueError, TypeError), match=message):
        interpolate(start, end, 3)


@pytest.mark.parametrize("n", [0, -3, 2.0, "3", None])
def test_number_of_images_is_a_positive_integer(n, small_state, key):
    for draw_images in (sample, sample_in_batches):
        with pytest.raises(ValueError, match=f"n must be an integer of at least 1, got {re.escape(repr(n))}"):
            draw_images(small_state, key, n)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (1, 3, 5)])
def test_noise_of_another_shape_is_refused(shape, small_state):
    """A vector alone, and a batch of batches, were drawn by some modules."""
    with pytest.raises(ValueError, match=re.escape(f"z must be noise [B, 5], got {list(shape)}")):
        generate(small_state, jnp.zeros(shape))


def test_noise_is_an_array(small_state):
    with pytest.raises(TypeError, match=r"z must be an array \[B, 5\], got list"):
        generate(small_state, [[0.0] * 5])


def test_way_between_classes_has_theirs_at_its_ends(conditional, key):
    z = uniform_noise(key, (1, 100)).repeat(5, 0)
    way = as_bytes(generate_singly(between_classes(conditional, 2, 0, 5), z, jnp.arange(5)))
    ends = as_bytes(generate_singly(conditional, z[:2], jnp.array([2, 0])))
    np.testing.assert_array_equal(way[[0, -1]], ends)
    vectors = conditional.generator.params["embedding"]["embedding"]
    mixed = between_classes(conditional, 2, 0, 5).generator.params["embedding"]["embedding"]
    np.testing.assert_allclose(mixed[2], (vectors[0] + vectors[2]) / 2, rtol=1e-6)
    assert generate(conditional, z, jnp.full(5, 2)).shape == (5, 28, 28, 1)  # which is as it was
