"""What a step of a run takes, measured: the time to compile it, its own time, and memory."""

import itertools
import time
from typing import NamedTuple

import jax

from dcgan_jax.data import Dataset
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.training.batch_source import DeviceImages
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.device_loop import StepRunner
from dcgan_jax.training.distributed import data_mesh, replicate
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.setup import create_record

_ENOUGH = 2.0  # seconds of steps that are measured, at least
_LONG = 10.0  # seconds of a first step after which no other is waited for


class StepCost(NamedTuple):
    """What a step takes.

    Attributes:
      seconds: a step's, the mean of those that were measured.
      steps: how many these are.
      compile_seconds: until the step was compiled, or read from the cache.
      state_bytes: of the networks with their optimizers, on one device.
      step_bytes: of what a step computes beside them and the images; None where XLA does not say.
      device: the kind.
    """

    seconds: float
    steps: int
    compile_seconds: float
    state_bytes: int
    step_bytes: int | None
    device: str


@jax_defaults()
def measure_step(config: TrainConfig, data: Dataset) -> StepCost:
    """Train a new state on the images for a few seconds, as a run of the config would; nothing is kept.

    After a first step that is not counted, unless it is a long one, whole turns are: of a preset whose penalty is in
    each fourth step, four steps or more.

    Args:
      config: the run's.
      data: its images, with labels if it is conditional and only then.

    Raises:
      ConfigError: if the batch cannot be split evenly over the devices.
      NotEnoughMemoryError: if a step needs more memory than is free.
    """
    mesh = data_mesh(config.devices)
    if config.batch_size % mesh.size:
        raise ConfigError(f"`batch_size` must be a multiple of {mesh.size}, the devices, got {config.batch_size}")
    record = create_record(config, data)
    state, keys = create_state(config, record)
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    turn = state.losses.penalty_every
    key_data = jax.random.key_data(keys["run"])
    state, images, labels, key_data = replicate((state, data.images, data.labels, key_data), mesh)
    key = jax.random.wrap_key_data(key_data, impl=jax.random.key_impl(keys["run"]))
    sources = itertools.repeat(DeviceImages(images, labels, config.mirror))
    runner = StepRunner(config, sources, key, mesh, 0, record.quick_compile)
    began = time.perf_counter()
    step_bytes = runner.compile(state)
    compiled = time.perf_counter()
    state, _, first = runner.advance(state, 1)
    jax.block_until_ready(state)
    seconds, steps = time.perf_counter() - compiled, 1
    if seconds < _LONG:
        start, seconds, step = time.perf_counter(), 0.0, first
        while seconds < _ENOUGH:
            last = step + turn
            while step < last:
                state, _, step = runner.advance(state, last)
            jax.block_until_ready(state)
            seconds = time.perf_counter() - start
        steps = step - first
    return StepCost(seconds / steps, steps, compiled - began, state_bytes, step_bytes, mesh.devices.flat[0].device_kind)
