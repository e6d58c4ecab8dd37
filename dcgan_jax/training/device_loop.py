"""Dispatch of training steps to the devices, one or many at a time, and transfer of their metrics."""

import dataclasses
import functools
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.stages import Wrapped

from dcgan_jax.memory import check_step_fits, release_free_memory
from dcgan_jax.state import GANState
from dcgan_jax.step import Metrics, train_step
from dcgan_jax.training.batch_source import BatchSource, step_keys
from dcgan_jax.training.compile_options import memory_options, quick_options
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.distributed import batch_sharding
from dcgan_jax.training.finite import check_finite_metrics
from dcgan_jax.training.kept_program import compile_kept, program_file

_jit = functools.partial(jax.jit, static_argnames=("batch_size", "capacity", "sharding"), donate_argnames="state")
_STEPS_PER_CALL = 25  # on an accelerator: few enough that a signal is handled within a second or so


@_jit
def run_steps(
    state: GANState,
    source: BatchSource,
    key: jax.Array,
    steps: jax.Array | int,
    *,
    batch_size: int,
    capacity: int,
    sharding: NamedSharding | None = None,
) -> tuple[GANState, Metrics]:
    """The run's next ``steps`` steps in one dispatch. ``state`` is donated: its buffers are reused.

    Batch, noise and dropout are functions of the run's key and of each step's number, not of the dispatch.

    Args:
      state: from `init_state`.
      source: the source of the real images, with labels for a state with classes.
      key: the run's PRNG key.
      steps: at most ``capacity``. It is not static: one compiled program serves every number of steps.
      batch_size: images per step.
      capacity: the maximum number of steps per dispatch; 1 leaves the loop out of the program.
      sharding: the sharding of the batch over devices that each hold ``state`` and ``source``.

    Returns:
      The new state, and for each metric an array [capacity, ...] of which the first ``steps`` rows are valid.
    """

    def step(state: GANState, call: jax.Array | int = 0) -> tuple[GANState, Metrics]:
        batch_key, step_key = step_keys(key, state.step)
        # One batch for each update of the discriminator.
        images, labels = source.batch(batch_key, batch_size * state.d_steps, call)
        if sharding is not None:
            images, labels = jax.lax.with_sharding_constraint((images, labels), sharding)
        return train_step(state, images, step_key, labels)

    if capacity == 1:
        state, metrics = step(state)
        return state, jax.tree.map(lambda value: value[None], metrics)

    def body(i: jax.Array, carry: tuple[GANState, Metrics]) -> tuple[GANState, Metrics]:
        state, metrics = step(carry[0], i)
        return state, jax.tree.map(lambda values, value: values.at[i].set(value), carry[1], metrics)

    metrics = jax.tree.map(lambda m: jnp.zeros((capacity, *m.shape), m.dtype), jax.eval_shape(step, state)[1])
    return jax.lax.fori_loop(jnp.int32(0), jnp.asarray(steps, jnp.int32), body, (state, metrics))


@functools.cache
def steps_program(quick: bool) -> Wrapped:
    """`run_steps`; if ``quick``, compiled with the options of `compile_options`, which change rounding."""
    return _jit(inspect.unwrap(run_steps), compiler_options=quick_options() | memory_options()) if quick else run_steps


def steps_per_call(config: TrainConfig, mesh: Mesh) -> int:
    """The maximum number of steps per dispatch."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return min(config.steps_per_call or (1 if on_cpu else _STEPS_PER_CALL), config.steps)


class StepRunner:
    """Dispatches a run's steps to the devices, a bounded number ahead of them, and fetches the metrics.

    Attributes:
      calls: dispatches so far.
      compiled: whether the step has been compiled.
    """

    def __init__(
        self,
        config: TrainConfig,
        sources: Iterator[BatchSource],
        key: jax.Array,
        mesh: Mesh,
        step: int,
        quick_compile: bool = False,
        keep_program: bool = False,
    ):
        """Begin after ``step`` steps.

        Args:
          config: the run's config.
          sources: the batch source of each dispatch; always the same one if it holds all images.
          key: the run's PRNG key, replicated over ``mesh``.
          mesh: the devices.
          step: the number of steps so far.
          quick_compile: as ``quick`` of `steps_program`.
          keep_program: whether the compiled step is stored for later starts, and read if an earlier one has stored it.
        """
        on_cpu = mesh.devices.flat[0].platform == "cpu"
        self.calls, self.compiled = 0, False
        self._sources, self._key, self._mesh, self._step = sources, key, mesh, step
        self._capacity = steps_per_call(config, mesh)
        self._options: dict[str, Any] = {
            "batch_size": config.batch_size,
            "capacity": self._capacity,
            "sharding": batch_sharding(mesh),
        }
        self._jitted = steps_program(quick_compile)
        self._run_steps: Callable[..., tuple[GANState, Metrics]] = functools.partial(self._jitted, **self._options)
        fields = [
            field.name for field in dataclasses.fields(config) if field.metadata["fixed"] and field.name != "seed"
        ]
        fixed = {name: getattr(config, name) for name in fields}
        self._identity = {**fixed, "capacity": self._capacity, "quick": quick_compile} if keep_program else None
        # At most two dispatches run ahead of the devices, so that a signal is soon handled. Zero if one CPU simulates
        # several devices: they share its threads, and programs that wait for each other could occupy all of them.
        self._ahead = 0 if on_cpu and mesh.size > 1 else 2
        self._pending: deque[Metrics] = deque()
        self._unread: list[tuple[int, Metrics]] = []  # per call since the last fetch: steps before it, its metrics

    def compile(self, state: GANState) -> int | None:
        """Compile the step, or read it from the cache, and check that it fits into memory, before the first `advance`.

        Returns:
          Bytes of memory that it needs besides its arguments; None if XLA does not report them.

        Raises:
          NotEnoughMemoryError: if the step needs more memory than is free.
        """
        source = next(self._sources)
        self._sources = itertools.chain([source], self._sources)
        arguments = (state, source, self._key, 1)
        lower = functools.partial(self._jitted.lower, *arguments, **self._options)
        path = None
        if self._identity is not None:
            identity = {**self._identity, "source": str(jax.tree.structure(source))}
            path = program_file(identity, arguments, self._mesh.size)
        devices = list(self._mesh.devices.flat)
        step = lower().compile() if path is None else compile_kept(path, arguments, lower, devices)
        needed = check_step_fits(step, self._options["batch_size"], self._mesh)
        self._run_steps, self.compiled = step, True
        release_free_memory()
        return needed

    def advance(self, state: GANState, last: int) -> tuple[GANState, int, int]:
        """Dispatch the next steps, up to step ``last`` at most.

        Returns:
          The new state, and the number of steps before and after.
        """
        before, self._step = self._step, min(self._step + self._capacity, last)
        steps = self._step - before
        state, metrics = self._run_steps(state, next(self._sources), self._key, steps)
        self.calls += 1
        self._unread.append((before, metrics))
        self._pending.append(metrics)
        if len(self._pending) > self._ahead:
            jax.block_until_ready(self._pending.popleft())
        return state, before, self._step

    def fetch_metrics(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield the number and the metrics of each step since the last fetch, after one transfer from the device.

        Raises:
          NotFiniteError: at the first loss that is not finite, after yielding the steps before it.
        """
        unread, self._unread = self._unread, []
        ends = [before for before, _ in unread[1:]] + [self._step]
        for (before, values), end in zip(jax.device_get(unread), ends, strict=True):
            for i in range(end - before):
                row = {name: float(each[i]) for name, each in values.items()}
                check_finite_metrics(before + i + 1, row)
                yield before + i + 1, row
