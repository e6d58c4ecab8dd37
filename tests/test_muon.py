"""Muon: Optax's steps, orthogonal ones, and the same contracts as `rmsprop`."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from helpers import assert_close, assert_same_bits, quick_jit, small_gan

from dcgan_jax import muon, train_step
from dcgan_jax.optimizers import InverseSqrt

SHAPES = {"wide": (3, 40), "tall": (5, 5, 2, 7), "column": (30, 1), "bias": (7,), "scale": ()}


quick_step = quick_jit(train_step)


def tree(seed):
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    return {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)}


def steps(tx, n=4):
    """Parameters after n updates along random gradients."""
    params = tree(0)
    state, update = tx.init(params), quick_jit(tx.update)
    for seed in range(1, n + 1):
        updates, state = update(tree(seed), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_steps_are_optaxs(momentum):
    def dimensions(params):
        axes = optax.contrib.MuonDimensionNumbers
        return jax.tree.map(lambda x: axes(tuple(range(x.ndim - 1)), (x.ndim - 1,)) if x.ndim > 1 else None, params)

    ours = steps(muon(0.02, momentum, vector_rate=1e-3, b2=0.99))
    kernels = optax.contrib.muon(0.02, beta=momentum, muon_weight_dimension_numbers=dimensions)
    vectors = optax.nadam(1e-3, b1=momentum, b2=0.99)
    theirs, others = steps(kernels), steps(vectors)
    # Five iterations, each of which may multiply a rounding error of 2^-24 by its slope at zero, 3.4.
    tolerance = 2**-24 * 3.4445**5
    for name, value in ours.items():
        assert_close(value, (theirs if value.ndim > 1 else others)[name], tolerance)


def test_singular_values_of_a_step_are_near_1():
    updates, _ = muon(1.0).update(tree(1), muon(1.0).init(tree(0)), None)
    for name, largest in (("wide", (40 / 3) ** 0.5), ("tall", 1.0), ("column", 1.0)):
        matrix = np.asarray(updates[name]).reshape(-1, SHAPES[name][-1])
        values = np.linalg.svd(matrix, compute_uv=False) / largest
        assert (values > 0.6).all(), name
        assert (values < 1.25).all(), name


def test_step_of_a_kernel_of_nearly_no_rank():
    """Singular values from 1 to 1e-9: what rounds the Gram matrix is larger than most of its eigenvalues."""
    rng = np.random.default_rng(0)
    (u, _), (v, _) = np.linalg.qr(rng.normal(size=(40, 40))), np.linalg.qr(rng.normal(size=(300, 40)))
    kernel = (v * np.logspace(0, -9, 40)) @ u  # [300, 40]

    def iterated(x):  # each singular value by itself, in double precision
        for _ in range(5):
            x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
        return x

    tx = muon(1.0)
    step, _ = tx.update(jnp.asarray(kernel, jnp.float32), tx.init(jnp.zeros((300, 40))), None)
    values = np.logspace(0, -9, 40) / np.linalg.norm(np.logspace(0, -9, 40))
    expected = -(v * iterated(values)) @ u
    # An eigenvalue s^2 that is off by one rounding of the largest, 2^-24, moves the value s by s times the slope of
    # iterated(s) / s as a function of s^2.
    s = np.logspace(-9, 0, 10_000)
    slopes = s * np.abs(np.gradient(iterated(s) / s, s**2))
    assert np.linalg.norm(step - expected, 2) <= 2**-24 * slopes.max()


def test_a_gradient_of_zero_moves_nothing():
    zeros = jax.tree.map(jnp.zeros_like, tree(0))
    updates, _ = muon(0.02).update(zeros, muon(0.02).init(zeros), None)
    assert_same_bits(jax.tree.map(jnp.abs, updates), zeros)


def test_schedule_scales_both_rates():
    halved = muon(lambda count: 0.02 / 2.0**count, vector_rate=1e-3)
    state, rates = halved.init(tree(0)), []
    same = muon(0.02, vector_rate=1e-3)
    same_state = same.init(tree(0))
    for seed in range(1, 4):
        updates, state = halved.update(tree(seed), state, None)
        expected, same_state = same.update(tree(seed), same_state, None)
        rates.append({name: float(jnp.abs(updates[name]).sum() / jnp.abs(expected[name]).sum()) for name in SHAPES})
    for i, row in enumerate(rates):
        assert row == pytest.approx(dict.fromkeys(SHAPES, 0.5**i), rel=1e-5)


def test_warm_up_from_0_needs_a_schedule_of_vectors():
    """Which would be 0 of 0 at the start; with one of their own they move by it."""
    warm_up = optax.linear_schedule(0.0, 0.02, 4)
    with pytest.raises(ValueError, match="learning_rate must start above 0 .* got 0: "):
        muon(warm_up)
    warm, same = muon(warm_up, vector_rate=optax.linear_schedule(0.0, 1e-3, 2)), muon(0.02)
    state, other, shares = warm.init(tree(0)), same.init(tree(0)), []
    for seed in range(1, 4):
        updates, state = warm.update(tree(seed), state, None)
        expected, other = same.update(tree(seed), other, None)
        shares.append({n: float(jnp.abs(updates[n]).sum() / jnp.abs(expected[n]).sum()) for n in SHAPES})
    for i, row in enumerate(shares):
        assert row == pytest.approx({n: i / 4 if len(SHAPES[n]) > 1 else i / 2 for n in SHAPES}, rel=1e-5)


def test_rates_fall_with_the_root_of_the_updates():
    """At a constant gradient the steps of kernels and of vectors are rate / sqrt(1 + t / steps) of the first."""
    falling, same = muon(InverseSqrt(0.02, steps=4)), muon(0.02)
    opt_state, other = falling.init(tree(0)), same.init(tree(0))
    for t in range(5):
        updates, opt_state = falling.update(tree(1), opt_state, None)
        expected, other = same.update(tree(1), other, None)
        for name in SHAPES:
            assert_close(updates[name], np.asarray(expected[name]) / np.sqrt(1 + t / 4), 1e-6)


def test_equal_ones_share_a_program_and_pickle(small_images, key):
    def build():
        return small_gan(key, generator_tx=muon(0.01), discriminator_tx=muon(0.02, 0.9))

    state, programs = build(), quick_step._cache_size()
    first, _ = quick_step(state, small_images, key)
    second, _ = quick_step(build(), small_images, key)
    assert quick_step._cache_size() <= programs + 1
    assert_same_bits(first, second)
    assert_same_bits(quick_step(pickle.loads(pickle.dumps(state)), small_images, key)[0], first)


def test_settings_change_no_bit():
    params, gradients = tree(0), tree(1)
    tx, jitted = muon(0.02), quick_jit(muon(0.02).update)
    expected = jitted(gradients, tx.init(params), params)
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        assert_same_bits(jitted(gradients, tx.init(params), params), expected)


def test_population_of_rates(small_images, key):
    """Under vmap, and with a rate that is traced."""

    def trained(rate):
        state = small_gan(key, discriminator_tx=optax.inject_hyperparams(muon)(learning_rate=rate))
        return quick_step(state, small_images, key)[0].discriminator.params

    rates = jnp.array([0.01, 0.04])
    together = jax.vmap(trained)(rates)
    alone = trained(rates[1])
    assert_close(jax.tree.map(lambda x: x[1], together), alone, 1e-5)
