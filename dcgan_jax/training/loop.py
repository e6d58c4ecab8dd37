"""The training loop: run steps, then log, sample, evaluate and save what is due."""

import contextlib
import dataclasses
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from dcgan_jax.console import print_line
from dcgan_jax.data.mapped import is_mapped
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.memory import free_on, is_large
from dcgan_jax.state import GANState
from dcgan_jax.training import schedule
from dcgan_jax.training.announce import acknowledge, announce_start
from dcgan_jax.training.batch_source import BatchSource, DeviceImages
from dcgan_jax.training.collapse import CollapseThresholds
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.device_loop import StepRunner, steps_per_call
from dcgan_jax.training.distributed import (
    JobFailedError,
    PrimaryProcessError,
    batches_sharding,
    broadcast_arrays,
    broadcast_json,
    data_mesh,
    is_primary,
    local_replica,
    replicate,
    run_on_primary,
)
from dcgan_jax.training.finite import NotFiniteError, check_finite
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.host_batches import sent_batches
from dcgan_jax.training.overfitting import note_few_images
from dcgan_jax.training.primary import open_primary
from dcgan_jax.training.profile import check_profile, profile_steps
from dcgan_jax.training.recipe import Init, as_recipe
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run import Run, open_run
from dcgan_jax.training.setup import check_unchanged, load_images
from dcgan_jax.training.signals import stop_signals
from dcgan_jax.training.timing import Advance, record_timing


class Outcome(NamedTuple):
    """The result of `train`.

    Attributes:
      state: the last state.
      folder: the run directory.
      stopped_by: the signal that ended the run early, or None.
      collapsed: whether the run was stopped because it had collapsed.
    """

    state: GANState
    folder: Path
    stopped_by: signal.Signals | None
    collapsed: bool = False


@jax_defaults()
def train(
    config: TrainConfig,
    *,
    init: Init | None = None,
    resume: bool = False,
    thresholds: CollapseThresholds | None = None,
    profile: int | None = None,
    on_steps: Callable[[Path, int, int], None] | None = None,
    keep_program: bool = False,
) -> Outcome:
    """Train or resume a run, and write everything to its run directory.

    Args:
      config: the run's config.
      init: a function ``(key, shape, classes) -> GANState`` that builds a run's initial state, for images of
        shape (H, W, C) and a number of classes or None; without it, ``config`` determines the state.
      resume: resume the run in ``config.workdir`` from its latest valid checkpoint, or from its start if it was killed
        before its first.
      thresholds: when a run counts as collapsed; the defaults if None.
      profile: how many steps after the first dispatch to trace, for Perfetto and xprof; none if None.
      on_steps: called on the primary process after everything due after a dispatch has been written, with the run
        directory and the step numbers before and after the dispatch. It must not raise.
      keep_program: whether the compiled step is stored in JAX's compilation cache, if there is one, and read from there
        without tracing it again. Only for a process that runs this package as installed: functions that were replaced
        are not detected. Runs with ``init`` and runs of several processes always trace their step.

    Raises:
      ConfigError, RunDirError, DatasetError, RecipeError: each with one line for the user, before anything is written.
      CheckpointError: as above, or because a checkpoint cannot be written; earlier ones are unchanged.
      NotFiniteError: if a loss or a number of the state is not finite; the checkpoints are from before it.
      JobFailedError: in a job of several processes, if this one fails or another is gone.
    """

    def open_checked(stack: contextlib.ExitStack) -> Run:
        check_profile(profile)
        return open_run(config, resume, stack, init)

    with contextlib.ExitStack() as stack:
        run = run_on_primary(lambda: open_checked(stack))
        try:
            keep = keep_program and init is None and jax.process_count() == 1
            return _train(_broadcast_run(run, init), thresholds, broadcast_json(profile), on_steps, keep)
        except (NotFiniteError, PrimaryProcessError):  # raised on all processes
            raise
        except BaseException as error:
            if jax.process_count() > 1:
                raise JobFailedError(str(error) or type(error).__name__) from error
            raise


def _broadcast_run(run: Run | None, init: Init | None) -> Run:
    """The primary's run on all processes; the others pass None, and build the state by their own ``init``."""
    if jax.process_count() == 1 and run is not None:
        return run
    about = broadcast_json(run and [dataclasses.asdict(run.config), dataclasses.asdict(run.record)])
    config, record = TrainConfig.from_values(about[0]), RunRecord.from_values(about[1])
    recipe = None if init is None else as_recipe(init)
    if record.recipe_digest != (recipe and recipe.sha256):
        raise ConfigError(
            f"the first process has the recipe {record.recipe}, and this one {recipe and recipe.name} of another "
            "content: give all machines the same `recipe`"
        )
    state, keys = (run.state, run.keys) if run else create_state(config, record, init=recipe)
    key_data = jax.tree.map(jax.random.key_data, keys)
    state, key_data = broadcast_arrays((state, key_data))
    keys = {name: jax.random.wrap_key_data(key_data[name], impl=jax.random.key_impl(keys[name])) for name in keys}
    if run:
        return run._replace(config=config, state=state, keys=keys)
    run_dir, mesh = Path(str(config.workdir)), data_mesh(config.devices)
    return Run(config, state, keys, {}, record, run_dir, mesh=mesh, recipe=recipe)


def _train(
    run: Run,
    thresholds: CollapseThresholds | None,
    profile: int | None,
    on_steps: Callable[[Path, int, int], None] | None,
    keep_program: bool,
) -> Outcome:
    """Train in a run directory that this job has locked, from a saved state or a new one."""
    config, mesh = run.config, run.mesh
    assert mesh is not None  # it is to be trained
    state, sources, key = _place(run, mesh)
    step, stop_signal, collapsed, reached = int(state.step), None, False, False
    runner = StepRunner(config, sources, key, mesh, step, run.record.quick_compile, keep_program)
    with contextlib.ExitStack() as stack:
        stack.callback(getattr(sources, "close", lambda: None))
        stop = stack.enter_context(stop_signals(partial(acknowledge, runner) if is_primary() else None))
        if is_primary():
            announce_start(config, run.run_dir, run.record.recipe, state, mesh)
            _note_few_images(run)
        compiling = time.perf_counter()
        runner.compile(state)  # the last check that can fail: nothing is written before it
        compile_seconds = time.perf_counter() - compiling
        primary = open_primary(run, thresholds, stack) if is_primary() else None
        first = _copy(state) if primary and step == 0 else None
        advance = stack.enter_context(_measured(runner.advance, run.run_dir, step, mesh, compile_seconds, profile))
        while step < config.steps:
            # Steps, up to the next one whose state is needed here. Signals are checked once per dispatch.
            state, before, step = advance(state, schedule.next_stop(step, config))
            # Write the first files, of the initial state, while the first steps run.
            if primary and first is not None:
                primary.write_initial(first)
                first = None
            stop_signal = stop(runner.calls)
            stopping = stop_signal is not None
            due = schedule.due(before, step, config, stopping=stopping)
            # Metrics. Every process fetches them, and raises if one is not finite.
            if due.log or due.save:
                rows = runner.fetch_metrics()
                if primary:
                    primary.write_metrics(rows, last=step if stopping or step == config.steps else None)
                else:
                    list(rows)
            # Samples.
            if due.sample and primary:
                primary.save_samples(state)
            # Collapse. The primary observes it, and all processes stop.
            if config.stop_on_collapse and any(due):
                collapsed = broadcast_json(primary and primary.monitor.collapsed)
                if collapsed:
                    break
            # Checkpoint, after a check that every number is finite.
            if due.save:
                check_finite(local_replica(state), step)
                if primary:
                    primary.save_checkpoint(state, due.evaluate)
            if primary:
                primary.reporter.update(step)
                if on_steps:
                    on_steps(run.run_dir, before, step)
            # Good enough. The primary evaluates, and all processes stop.
            if config.stop_at_fid is not None and due.evaluate:
                reached = broadcast_json(primary and primary.monitor.reached)
            if stopping or reached:
                break
        if primary:
            primary.finish(step)
    stopped_by = None if collapsed or reached or step == config.steps else stop_signal
    return Outcome(local_replica(state), run.run_dir, stopped_by, collapsed)


def _note_few_images(run: Run) -> None:
    """Print a note if a new run on few images neither prevents overfitting nor measures it."""
    if run.data is not None and int(run.state.step) == 0:
        called = run.data.held_out is not None or (run.scorer is not None and run.scorer.called is not None)
        note = note_few_images(run.state, len(run.data.images), called, run.recipe is not None)
        if note:
            print_line(note)


def _copy(state: GANState) -> GANState:
    """A copy of the state on one device: the next step reuses the buffers of ``state``."""
    local = local_replica(state)
    return jax.device_put(local, jax.tree.map(lambda leaf: leaf.sharding, local), may_alias=False)


@contextlib.contextmanager
def _measured(
    advance: Advance, run_dir: Path, step: int, mesh: Mesh, compile_seconds: float, profile: int | None
) -> Iterator[Advance]:
    """``advance``, timed and optionally profiled; only the primary writes the results."""
    with contextlib.ExitStack() as stack:
        if is_primary():
            advance = stack.enter_context(record_timing(advance, run_dir, step, mesh, compile_seconds))
        if profile:
            folder = run_dir / "profile" if is_primary() else None
            advance = stack.enter_context(profile_steps(advance, folder, profile))
        yield advance


def _place(run: Run, mesh: Mesh) -> tuple[GANState, Iterator[BatchSource], jax.Array]:
    """The state and the run's key, replicated over the mesh, and the batch source of each dispatch.

    Used for new and resumed runs, so that they share one compiled program.
    """
    config, data = run.config, run.data
    if data is None:  # not the primary process, which has checked its images
        data = load_images(config, run.record)
        check_unchanged(config, run.record, data, run.run_dir, "give all machines the same images")
    key, step = run.keys["run"], int(run.state.step)
    streams = is_mapped(data.images) or (config.stream is None and _is_beyond(data.images.nbytes, mesh))
    held = None if streams else (data.images, data.labels)
    state, held, key_data = replicate((run.state, held, jax.random.key_data(key)), mesh)
    if held is not None:
        sources = itertools.repeat(DeviceImages(held[0], held[1], mirror=config.mirror))
    else:
        capacity, size = steps_per_call(config, mesh), config.batch_size * run.state.d_steps
        options: dict[str, Any] = {"mirror": config.mirror, "sharding": batches_sharding(mesh)}
        sources = sent_batches(data, key, size, _dispatches(step, config, capacity), capacity, **options)
    return state, sources, jax.random.wrap_key_data(key_data, impl=jax.random.key_impl(key))


def _is_beyond(size: int, mesh: Mesh) -> bool:
    """Whether this many bytes exceed a third of the free memory of the device, if it has its own memory."""
    device = mesh.local_devices[0]
    return device.platform != "cpu" and is_large(size, free_on(device))


def _dispatches(step: int, config: TrainConfig, capacity: int) -> Iterator[tuple[int, int]]:
    """Yield, for each dispatch from ``step`` on, the number of steps before it and of its own."""
    while step < config.steps:
        end = min(step + capacity, schedule.next_stop(step, config))
        yield step, end - step
        step = end
