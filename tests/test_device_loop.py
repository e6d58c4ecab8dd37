"""Dispatches of steps: their number per call changes neither the states nor the metrics."""

import jax
import jax.numpy as jnp
from helpers import assert_close

from dcgan_jax import TrainConfig
from dcgan_jax.training.device_loop import StepRunner
from dcgan_jax.training.distributed import data_mesh, replicate


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
