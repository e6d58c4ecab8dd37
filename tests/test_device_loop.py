"""Dispatches of steps: their number per call changes neither the states nor the metrics."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import assert_close, assert_same_bits

from dcgan_jax import TrainConfig
from dcgan_jax.training import quick_compile
from dcgan_jax.training.device_loop import StepRunner, mirror_some, run_steps, steps_program
from dcgan_jax.training.distributed import data_mesh, replicate
from dcgan_jax.training.quick_compile import quick_options


def test_mirrored_images_are_some(key):
    """Each image is as it was or mirrored, about half of each; the same key chooses the same."""
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (400, 4, 6, 1), np.uint8))
    mirrored = mirror_some(images, key)
    turned = np.asarray((mirrored == images[:, :, ::-1]).all((1, 2, 3)))
    kept = np.asarray((mirrored == images).all((1, 2, 3)))
    assert (turned ^ kept).all()
    assert 150 < turned.sum() < 250  # five standard deviations
    assert (mirrored == mirror_some(images, key)).all()


def test_mirror_changes_the_real_images_alone(small_state, small_images, key):
    """A data set of images that are their own mirror images gives the same bits with it."""
    symmetric = jnp.concatenate([small_images[:, :, :4], small_images[:, :, 3::-1]], axis=2)
    copies = [jax.tree.map(jnp.copy, small_state) for _ in range(4)]
    options = {"batch_size": 4, "capacity": 1}
    plain, mirrored = (run_steps(copies[i], symmetric, key, 1, mirror=bool(i), **options)[0] for i in range(2))
    assert_same_bits(plain, mirrored)
    plain, mirrored = (run_steps(copies[i], small_images, key, 1, mirror=bool(i % 2), **options)[0] for i in (2, 3))
    assert jax.tree.leaves(plain.discriminator)[1].tolist() != jax.tree.leaves(mirrored.discriminator)[1].tolist()


def test_steps_per_call_change_nothing(small_state, small_images, key):
    """Eleven steps, one or four at a time, with a stop after the sixth."""

    def run(steps_per_call):
        config = TrainConfig(steps=11, batch_size=4, steps_per_call=steps_per_call)
        mesh = data_mesh(1)
        state, images = replicate((jax.tree.map(jnp.copy, small_state), small_images), mesh)
        runner, rows, step = StepRunner(config, images, key, mesh, 0), [], 0
        while step < config.steps:
            state, before, step = runner.advance(state, 6 if step < 6 else 11)
            assert step - before <= steps_per_call
            rows += runner.fetch_metrics()
        return state, rows, runner.calls

    state, rows, calls = run(4)
    single, single_rows, single_calls = run(1)
    assert (calls, single_calls) == (4, 11)
    assert [step for step, _ in rows] == [step for step, _ in single_rows] == list(range(1, 12))
    # RMSprop multiplies what the two programs round differently.
    assert_close([row for _, row in rows], [row for _, row in single_rows], 1e-3)
    assert state.step == single.step == 11


def test_quick_compile_is_the_same_program(small_state, small_images, key):
    """Only rounded in another order: the first step of RMSprop divides a gradient by its own size."""
    plain, quick = (
        steps_program(each).lower(small_state, small_images, key, 1, batch_size=4, capacity=1) for each in (False, True)
    )
    assert plain.as_text() == quick.as_text()
    # XLA's own level, as the tests' own programs have the quick one.
    programs = plain.compile({"xla_backend_optimization_level": 3}), quick.compile()
    (state, metrics), (quick_state, quick_metrics) = (
        program(jax.tree.map(jnp.copy, small_state), small_images, key, 1) for program in programs
    )
    assert_close(quick_metrics, metrics, 1e-5)
    assert quick_state.step == state.step == 1


def test_unknown_options_are_left_out(monkeypatch):
    """For flags that say otherwise, for a JAX without the option, and on other devices."""
    assert quick_options() == {"xla_backend_optimization_level": 1}
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    assert quick_options.__wrapped__() == {}
    monkeypatch.delenv("XLA_FLAGS")
    with monkeypatch.context() as patch:
        patch.setattr(quick_compile, "_LEVEL", "xla_no_such_option")
        assert quick_options.__wrapped__() == {}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert quick_options.__wrapped__() == {}
