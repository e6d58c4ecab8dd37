"""RMSprop against Keras and its formulas, and the presets against what was published."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close

from dcgan_jax import rmsprop

UPDATES = 50


def gradients():
    """Fifty gradients from 1e-6 to 3: on both sides of the clip and of where eps matters."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(UPDATES, 40)) * np.logspace(-6, 0.5, 40)).astype(np.float32)


def trajectory(tx, start):
    params, opt_state = jnp.asarray(start), tx.init(jnp.asarray(start))
    update = jax.jit(tx.update)
    steps = []
    for g in gradients():
        updates, opt_state = update(jnp.asarray(g), opt_state, params)
        params = optax.apply_updates(params, updates)
        steps.append(params)
    return np.stack(steps)


@pytest.mark.parametrize(("decay", "clip"), [(0.0, None), (1e-2, 0.5)])
def test_trajectory_is_that_of_keras_3(decay, clip):
    import keras

    start = np.linspace(-1, 1, 40, dtype=np.float32)
    variable = keras.Variable(start)
    schedule = keras.optimizers.schedules.InverseTimeDecay(1e-2, decay_steps=1, decay_rate=decay)
    optimizer = keras.optimizers.RMSprop(schedule, rho=0.9, epsilon=1e-7, clipvalue=clip)
    theirs = []
    for g in gradients():
        optimizer.apply([jnp.asarray(g)], [variable])
        theirs.append(np.asarray(variable.value))
    ours = trajectory(rmsprop(1e-2, decay, clip, eps_in_sqrt=True), start)
    np.testing.assert_allclose(ours, np.stack(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("decay", "clip"), [(0.0, None), (1e-2, 0.5)])
def test_trajectory_is_keras_2s_formula(decay, clip):
    start = np.linspace(-1, 1, 40)
    p, nu, theirs = start.copy(), np.zeros(40), []
    for t, g in enumerate(gradients().astype(np.float64)):
        g = g if clip is None else np.clip(g, -clip, clip)
        nu = 0.9 * nu + 0.1 * g**2
        p = p - 1e-2 / (1 + decay * t) * g / (np.sqrt(nu) + 1e-7)
        theirs.append(p)
    ours = trajectory(rmsprop(1e-2, decay, clip), start.astype(np.float32))
    np.testing.assert_allclose(ours, np.stack(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("eps_in_sqrt", [False, True])
def test_gradient_through_updates_with_zeros(eps_in_sqrt):
    """A derivative through two updates is that of the formula, also where gradients are 0.

    Many units have no gradient: rectifiers that are off, and what dropout leaves out.
    """

    def after(rate):
        tx, params = rmsprop(rate, eps_in_sqrt=eps_in_sqrt), jnp.ones(2)
        opt_state = tx.init(params)
        for _ in range(2):
            updates, opt_state = tx.update(params * jnp.array([3.0, 0.0]), opt_state, params)  # of 1.5 x^2 and of 0
            params = optax.apply_updates(params, updates)
        return params.sum()

    with jax.enable_x64(True):
        slope, h = float(jax.grad(after)(1e-2)), 1e-5
        difference = float(after(1e-2 + h) - after(1e-2 - h)) / (2 * h)
        assert slope == pytest.approx(difference, rel=1e-6)  # its error is h^2


def test_place_of_epsilon_is_seen_in_small_steps():
    g = jnp.array([1e-5])
    outside, _ = rmsprop(1.0).update(g, rmsprop(1.0).init(g))
    inside, _ = rmsprop(1.0, eps_in_sqrt=True).update(g, rmsprop(1.0).init(g))
    np.testing.assert_allclose(outside, -1e-5 / (1e-5 * 0.1**0.5 + 1e-7), rtol=1e-5)
    np.testing.assert_allclose(inside, -1e-5 / (1e-11 + 1e-7) ** 0.5, rtol=1e-5)


def test_learning_rate_may_be_a_schedule():
    schedule = optax.piecewise_constant_schedule(1.0, {1: 0.1})
    g = jnp.ones(1)
    tx = rmsprop(schedule)
    first, opt_state = tx.update(g, tx.init(g))
    second, _ = tx.update(g, opt_state)
    np.testing.assert_allclose(first, -1 / 0.1**0.5, rtol=1e-5)
    np.testing.assert_allclose(second, -0.1 / 0.19**0.5, rtol=1e-5)


def test_hyperparameters_inject_and_vmap():
    g = jnp.array([0.3, -2.0])
    tx = optax.inject_hyperparams(rmsprop)(learning_rate=1.0, decay=0.5, clip=1.0)

    def first_step(lr):
        opt_state = tx.init(g)
        opt_state.hyperparams["learning_rate"] = lr
        return tx.update(g, opt_state)[0]

    rates = jnp.array([0.1, 0.2])
    separate = jnp.stack([rmsprop(lr, 0.5, 1.0).update(g, rmsprop(lr).init(g))[0] for lr in rates])
    assert_close(jax.vmap(first_step)(rates), separate, 1e-6)
