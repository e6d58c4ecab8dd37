"""Dispatches of steps: their number per call changes neither the states nor the metrics."""

import itertools

import jax
import jax.numpy as jnp
from helpers import assert_close

from dcgan_jax import TrainConfig
from dcgan_jax.training import compile_options
from dcgan_jax.training.batch_source import DeviceImages
from dcgan_jax.training.compile_options import memory_options, quick_options
from dcgan_jax.training.device_loop import StepRunner, steps_program
from dcgan_jax.training.distributed import data_mesh, replicate


def test_steps_per_call_change_nothing(small_state, small_images, key):
    """Eleven steps, one or four at a time, with a stop after the sixth."""

    def run(steps_per_call):
        config = TrainConfig(steps=11, batch_size=4, steps_per_call=steps_per_call)
        mesh = data_mesh(1)
        state, source = replicate((jax.tree.map(jnp.copy, small_state), DeviceImages(small_images)), mesh)
        runner, rows, step = StepRunner(config, itertools.repeat(source), key, mesh, 0), [], 0
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
    source = DeviceImages(small_images)
    plain, quick = (
        steps_program(each).lower(small_state, source, key, 1, batch_size=4, capacity=1) for each in (False, True)
    )
    assert plain.as_text() == quick.as_text()
    # XLA's own level, as the tests' own programs have the quick one.
    programs = plain.compile({"xla_backend_optimization_level": 3}), quick.compile()
    (state, metrics), (quick_state, quick_metrics) = (
        program(jax.tree.map(jnp.copy, small_state), source, key, 1) for program in programs
    )
    assert_close(quick_metrics, metrics, 1e-5)
    assert quick_state.step == state.step == 1


def test_unknown_options_are_left_out(monkeypatch):
    """For flags that say otherwise, for a JAX without the option, and on other devices."""
    assert quick_options() == {"xla_backend_optimization_level": 1}
    assert memory_options() == {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    assert quick_options.__wrapped__() == {}
    monkeypatch.delenv("XLA_FLAGS")
    with monkeypatch.context() as patch:
        patch.setattr(compile_options, "_LEVEL", "xla_no_such_option")
        assert quick_options.__wrapped__() == {}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert quick_options.__wrapped__() == {}
