"""Measurement of a training step: compile time, run time and memory."""

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

_ENOUGH = 2.0  # minimum seconds of measured steps
_LONG = 10.0  # a first step of this many seconds is the only one measured


class StepCost(NamedTuple):
    """The time and memory of a training step.

    Attributes:
      seconds: mean time of the measured steps.
      steps: the number of measured steps.
      compile_seconds: time until the step was compiled, or read from the cache.
      state_bytes: size of the networks with their optimizers, on one device.
      step_bytes: memory that a step needs besides these and the images; None if XLA does not report it.
      device: the kind of device.
    """

    seconds: float
    steps: int
    compile_seconds: float
    state_bytes: int
    step_bytes: int | None
    device: str


@jax_defaults()
def measure_step(config: TrainConfig, data: Dataset) -> StepCost:
    """Train a new state on the images for a few seconds, as a run of the config would, and discard it.

    The first step is a warm-up, unless it takes at least 10 seconds: then it is the only one measured. After a warm-up,
    whole periods of the penalty are measured, such as four steps.

    Args:
      config: the run's config.
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
