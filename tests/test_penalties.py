"""Penalties of D's slopes, against slopes that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit, small_gan

from dcgan_jax import CROSS_ENTROPY, gradient_penalty, r1_penalty, r2_penalty, sum_penalties, train_step


def quadratic(images):
    """A discriminator whose slope at x is x."""
    return jnp.square(images).sum((1, 2, 3))[:, None] / 2


REAL = jnp.array([1.0, 2.0, 2.0, 0.0]).reshape(1, 2, 2, 1).repeat(2, 0)  # |x|^2 = 9
FAKE = jnp.array([0.0, 0.0, 4.0, 3.0]).reshape(1, 2, 2, 1).repeat(2, 0)  # |x|^2 = 25


def test_r1_and_r2_by_hand(key):
    np.testing.assert_allclose(r1_penalty(0.5)(quadratic, REAL, FAKE, key), 0.5 / 2 * 9)
    np.testing.assert_allclose(r2_penalty(0.5)(quadratic, REAL, FAKE, key), 0.5 / 2 * 25)


def test_gradient_penalty_by_hand(key):
    """Between two equal images there is one place, whose slope is 3; a plane's slope is the same everywhere."""
    np.testing.assert_allclose(gradient_penalty()(quadratic, REAL, REAL, key), 10 * (3 - 1) ** 2, rtol=1e-6)

    def plane(images):
        return 2 * images[:, 0, 0]

    np.testing.assert_allclose(gradient_penalty(3.0)(plane, REAL, FAKE, key), 3 * (2 - 1) ** 2, rtol=1e-6)


def test_gradient_penalty_is_between_the_images(key):
    """Slopes at random places of the way from FAKE, 5, to REAL, 3."""
    values = [float(gradient_penalty(1.0)(quadratic, REAL, FAKE, each)) for each in jax.random.split(key, 20)]
    way = np.linspace(REAL[0].ravel(), FAKE[0].ravel(), 1001)
    slopes = np.linalg.norm(way, axis=1)
    assert (slopes.min() - 1) ** 2 <= min(values) < max(values) <= (slopes.max() - 1) ** 2
    assert len(set(values)) == 20


def test_sum_is_the_sum(key):
    both = sum_penalties(r1_penalty(1.0), r2_penalty(2.0))
    np.testing.assert_allclose(both(quadratic, REAL, FAKE, key), 9 / 2 + 2 * 25 / 2, rtol=1e-6)


def test_penalties_built_alike_are_equal():
    """Else two states of one recipe would compile a step each."""
    for make in (lambda: r2_penalty(1.0), gradient_penalty, lambda: sum_penalties(r1_penalty(1.0), r2_penalty(2.0))):
        assert make() == make()
        assert hash(make()) == hash(make())
    assert r1_penalty(1.0) != r2_penalty(1.0)


@pytest.mark.parametrize("make", [r1_penalty, r2_penalty, gradient_penalty])
@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused(make, weight):
    with pytest.raises(ValueError, match="must be a number of at least 0"):
        make(weight)


def test_a_sum_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs at least one"):
        sum_penalties()


def test_no_gradient_of_r2_reaches_the_generator(small_images, key):
    """G's update is the same with and without: fakes of D's update carry no gradient."""
    states = [
        small_gan(jax.random.key(1), losses=CROSS_ENTROPY._replace(penalty=penalty))
        for penalty in (None, r2_penalty(0.0))
    ]
    (a, _), (b, metrics) = (quick_jit(train_step)(state, small_images, key) for state in states)
    assert metrics["d_penalty"] == 0
    for x, y in zip(jax.tree.leaves(a.generator.params), jax.tree.leaves(b.generator.params), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)  # a gradient of 0 was added to D's: the same rounding
