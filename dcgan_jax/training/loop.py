"""Training as a program: when to log, draw, save and stop. No mathematics."""

import contextlib
import dataclasses
import functools
import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from dcgan_jax.training.checkpoint import (
    checkpoint_steps,
    clear_leftovers,
    newest_intact,
    restore_checkpoint,
    set_aside,
    written_by,
)
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.data import load_dataset
from dcgan_jax.training.distributed import (
    BrokenJobError,
    FirstProcessError,
    arrays_from_first,
    data_mesh,
    from_first,
    is_first,
    notice,
    own,
    replicate,
    split,
)
from dcgan_jax.training.progress import duration
from dcgan_jax.training.writer import GRID, Records, is_logged
from dcgan_jax.training.run import check, fresh_state
from dcgan_jax.training.run_dir import choose_folder, hold
from dcgan_jax.state import GANState
from dcgan_jax.step import Metrics, train_step

_STEPS_PER_CALL = 25  # on an accelerator: few enough that a signal is obeyed within a second or so


class NotFiniteError(ArithmeticError):
    """A loss or a parameter is NaN or infinite; the message is one line that says which, and at which step."""


class Outcome(NamedTuple):
    """What `train` ends with.

    Attributes:
      state: the last state.
      folder: the run folder.
      stopped_by: the signal that ended the run early, or None.
      collapsed: whether the watchdog did.
    """

    state: GANState
    folder: Path
    stopped_by: signal.Signals | None
    collapsed: bool = False


def draw_batch(dataset: jax.Array, key: jax.Array, batch_size: int) -> jax.Array:
    """A batch drawn uniformly with replacement: [N, H, W, C] -> [batch_size, H, W, C], on the data's device."""
    return dataset[jax.random.randint(key, (batch_size,), 0, dataset.shape[0])]


@functools.partial(jax.jit, static_argnames=("batch_size", "capacity", "sharding"), donate_argnames="state")
def run_steps(
    state: GANState,
    dataset: jax.Array,
    key: jax.Array,
    steps: jax.Array | int,
    *,
    batch_size: int,
    capacity: int,
    sharding: NamedSharding | None = None,
) -> tuple[GANState, Metrics]:
    """The run's next ``steps`` steps in one call to the device. ``state`` is donated: its buffers are used again.

    Batch, noise and dropout are functions of the run's key and of each step's number, not of the call.

    Args:
      state: from `init_state`.
      dataset: all real images, [N, H, W, C], on the device.
      key: the run's.
      steps: at most ``capacity``; it is a number like any other to the compiled program, which serves them all.
      batch_size: images in a step.
      capacity: the most steps that one call is used for; 1 leaves the loop out of the program.
      sharding: how the rows of a batch are spread over devices that each hold ``state`` and ``dataset``.

    Returns:
      The new state, and for each metric an array [capacity], of which the first ``steps`` mean something.
    """

    def step(state: GANState) -> tuple[GANState, Metrics]:
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, state.step))
        images = draw_batch(dataset, batch_key, batch_size)
        if sharding is not None:
            images = jax.lax.with_sharding_constraint(images, sharding)
        return train_step(state, images, step_key)

    if capacity == 1:
        state, metrics = step(state)
        return state, jax.tree.map(lambda value: value[None], metrics)

    def body(i: jax.Array, carry: tuple[GANState, Metrics]) -> tuple[GANState, Metrics]:
        state, metrics = step(carry[0])
        return state, jax.tree.map(lambda values, value: values.at[i].set(value), carry[1], metrics)

    metrics = jax.tree.map(lambda m: jnp.zeros((capacity,), m.dtype), jax.eval_shape(step, state)[1])
    return jax.lax.fori_loop(0, steps, body, (state, metrics))


def train(config: TrainConfig, *, resume: bool = False) -> Outcome:
    """Train, or go on with a run, and leave everything in its folder.

    Args:
      config: the settings.
      resume: go on from the newest intact checkpoint of the run in ``config.workdir``, from the start if it
        was killed before its first.

    Raises:
      ConfigError, RunFolderError, DatasetError: each with one line for the user, before anything is written.
      CheckpointError: likewise, or because a checkpoint cannot be written; earlier ones are as they were.
      NotFiniteError: if a loss or a parameter is not finite; the checkpoints are those from before.
      BrokenJobError: in a job of several processes, if this one cannot write or another is gone.
    """
    with contextlib.ExitStack() as until_the_end:
        found: list[tuple[GANState, jax.Array, dict[str, Any]]] = []

        def claim() -> dict[str, Any]:
            folder = choose_folder(config.workdir, resume)
            check(config, folder, resume)
            if config.workdir is None and not resume:
                folder = _claim_number(folder)
            until_the_end.enter_context(hold(folder, resume))
            found.append(_restore(config, folder))
            return dataclasses.asdict(dataclasses.replace(config, workdir=str(folder)))

        agreed = TrainConfig(**from_first(claim))  # an error here is one that all know of
        try:
            return _train(agreed, *(found.pop() if found else (*_beginning(agreed), {})))
        except (NotFiniteError, FirstProcessError):  # on all processes
            raise
        except BaseException as error:
            if jax.process_count() > 1:
                raise BrokenJobError(str(error) or type(error).__name__) from error
            raise


def _claim_number(folder: Path) -> Path:
    """Make the numbered folder, or the next one that no other run makes at the same moment."""
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            folder = folder.with_name(f"{int(folder.name) + 1:04d}")
        else:
            return folder


def _beginning(config: TrainConfig) -> tuple[GANState, jax.Array]:
    state, keys = fresh_state(config)
    return state, keys["run"]


def _restore(config: TrainConfig, folder: Path) -> tuple[GANState, jax.Array, dict[str, Any]]:
    """The state, the run's key and the watchdog's memory as they were last saved, or those of a run that begins.

    What cannot be used in the folder is removed or set aside.
    """
    state, key = _beginning(config)
    checkpoints = folder / "checkpoints"
    for each in (folder, checkpoints, folder / "samples"):
        clear_leftovers(each)
    start, problems = newest_intact(checkpoints)
    for problem in problems:
        print(f"{problem}; falling back to step {start}", file=sys.stderr, flush=True)
    if start is None:
        return state, key, {}
    saved = restore_checkpoint(checkpoints / str(start), state)
    set_aside(checkpoints, start)
    now = written_by(data_mesh(config.devices).size)
    changed = [f"{k} {was}, now {now[k]}" for k in now if (was := saved.written_by.get(k)) != now[k]]
    if changed:
        print(f"saved with {', '.join(changed)}: the run goes on, not to the same bits", flush=True)
    return saved.state, saved.key, saved.watchdog


def _train(config: TrainConfig, state: GANState, key: jax.Array, memory: dict[str, Any]) -> Outcome:
    """Train in a folder that is this job's own, from a state that it has saved or a new one."""
    state, key_data = arrays_from_first((state, jax.random.key_data(key)))
    keys = {**fresh_state(config)[1], "run": key}
    images = load_dataset(config.dataset, data_dir=config.data_dir)
    # Fresh or restored, all is placed on the devices by name: it is one compiled program for both.
    mesh = data_mesh(config.devices)
    state, dataset, key_data = replicate((state, images, key_data), mesh)
    run_key = jax.random.wrap_key_data(key_data, impl=jax.random.key_impl(key))
    device = mesh.devices.flat[0]
    capacity = min(config.steps_per_call or (1 if device.platform == "cpu" else _STEPS_PER_CALL), config.steps)
    # Calls are dispatched ahead of the devices, but never by more than two: a signal is soon obeyed. Where one CPU is
    # several devices not at all: they share its threads, and calls that wait for each other's could take them all.
    ahead = 0 if device.platform == "cpu" and mesh.size > 1 else 2
    start = step = int(state.step)
    folder = Path(str(config.workdir))

    began = time.perf_counter()
    pending: deque[Metrics] = deque()
    unread: list[tuple[int, Metrics]] = []  # since the last row: steps before the call, and its metrics
    collapsed, by = False, None
    with contextlib.ExitStack() as until_the_end:
        records = None
        if is_first():
            reals = jax.device_get(draw_batch(own(dataset), keys["reals"], GRID))
            records = until_the_end.enter_context(Records(config, keys, reals, step, memory))
            new = not checkpoint_steps(folder / "checkpoints")
            if new:
                records.begin(state)
            _announce(config, None if new else start, mesh)
        stopped = until_the_end.enter_context(_signals())
        calls = 0
        while step < config.steps:
            before, step = step, min(step + capacity, _next_stop(step, config))
            state, metrics = run_steps(
                state,
                dataset,
                run_key,
                step - before,
                batch_size=config.batch_size,
                capacity=capacity,
                sharding=split(mesh),
            )
            calls += 1
            unread.append((before, metrics))
            pending.append(metrics)
            if len(pending) > ahead:
                jax.block_until_ready(pending.popleft())
            by = stopped(calls)  # asked once: a signal from here on stops the next call
            last = by is not None or step == config.steps
            evaluating = config.eval_every is not None and step % config.eval_every == 0
            saving = last or evaluating or step % config.checkpoint_every == 0
            drawing = _is_sampled(step, config)
            logging = any(is_logged(n, config) for n in range(before + 1, step + 1))
            if saving or logging:
                rows = _read(unread, step)
                if records:
                    records.losses(rows, last=step if last else None)
                else:
                    deque(rows, maxlen=0)  # it raises what the first process's raises
                unread.clear()
            if drawing and records:
                records.picture(state)
            if config.stop_on_collapse and (saving or logging or drawing):
                collapsed = from_first(lambda: {"collapsed": records is not None and records.collapsed})["collapsed"]
                if collapsed:
                    break
            if saving:
                _check_finite(own(state), step)
                if records:
                    records.save(state, evaluating)
            if records:
                records.reporter.advance(step)
            if by is not None:
                break

        if records and collapsed:
            healthy = records.last_healthy()
            told = f"the last healthy checkpoint is {healthy} (evaluate and sample: --checkpoint STEP)"
            told = told if healthy else "no checkpoint from before it is left"
            print(f"stopped at step {step:,}, and nothing of it saved; {told}")
        elif records and step == config.steps:
            took = duration(time.perf_counter() - began)
            print(f"done: {step:,} steps, {took}; pictures in {folder / 'samples'}")
        elif records:
            print(f"stopped and saved at step {step:,}: go on with --workdir {folder} --resume")
        return Outcome(own(state), folder, None if collapsed or step == config.steps else by, collapsed)


def _announce(config: TrainConfig, start: int | None, mesh: Mesh) -> None:
    """What will be done, before it takes long."""
    if start is not None:
        print(f"going on from step {start:,} in {config.workdir}")
    else:
        print(f"training {config.steps:,} steps of {config.batch_size} images of {config.dataset} in {config.workdir}")
    devices = mesh.devices.flat[0].device_kind + (f", {mesh.size} of them" if mesh.size > 1 else "")
    print(f"on {devices}; the first step compiles, which takes a while", flush=True)
    if config.ema is not None:
        print(f"pictures and evaluations use the average of the generator's weights (--ema {config.ema})")


def _read(unread: list[tuple[int, Metrics]], last: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Each step's metrics, fetched from the device in one go.

    Raises:
      NotFiniteError: at the first loss that is not finite.
    """
    ends = [before for before, _ in unread[1:]] + [last]
    for (before, values), end in zip(jax.device_get(unread), ends, strict=True):
        for i in range(end - before):
            row = {name: float(each[i]) for name, each in values.items()}
            for name, value in row.items():
                if not math.isfinite(value):
                    raise NotFiniteError(_not_finite(f"{name} is {value}", before + i + 1))
            yield before + i + 1, row


def _check_finite(state: GANState, step: int) -> None:
    """Raises: NotFiniteError if anything in the state is not finite."""
    for path, finite in jax.tree_util.tree_leaves_with_path(jax.device_get(_are_finite(state))):
        if not finite:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise NotFiniteError(_not_finite(f"{name} is not finite", step))


@jax.jit
def _are_finite(state: GANState) -> GANState:
    return jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), state)


def _not_finite(what: str, step: int) -> str:
    return (
        f"{what} at step {step}: stopped, and nothing of it saved; going on with --resume from the newest checkpoint "
        "would do the same steps again, so try another --preset or --seed"
    )


def _is_sampled(step: int, config: TrainConfig) -> bool:
    """Every ``sample_every`` steps, and before the first of these at the powers of two."""
    return step % config.sample_every == 0 or (step < config.sample_every and step & (step - 1) == 0)


def _next_stop(step: int, config: TrainConfig) -> int:
    """The next step after which the state itself is wanted, not only its metrics."""
    cadences = filter(None, (config.sample_every, config.checkpoint_every, config.eval_every))
    stops = [config.steps, *(step - step % every + every for every in cadences)]
    power_of_two = 1 << step.bit_length()
    return min([*stops, power_of_two] if power_of_two < config.sample_every else stops)


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[int], signal.Signals | None]]:
    """Within, the first SIGINT or SIGTERM is only noted, so that the step can end; a second acts at once.

    It yields what to ask after each call to the devices, of which it is the how many-th: whether to stop. In a job of
    several processes all stop at the same call, and SIGINT is passed on as the SIGTERM that JAX watches for.

    A shell starts what it puts in the background with SIGINT ignored. Here it is obeyed there too: someone sent it.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    noted: list[signal.Signals] = []

    def note(number: int, frame: object) -> None:
        del frame
        noted.append(signal.Signals(number))
        for each, handler in before.items():
            signal.signal(each, defaults[each] if handler is signal.SIG_IGN else handler)

    def pass_on(number: int, frame: object) -> None:
        del frame
        signal.signal(number, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGTERM)

    many = jax.process_count() > 1
    before = {}
    with contextlib.suppress(ValueError):  # not the main thread: signals are not ours to handle
        for each in [signal.SIGINT] if many else defaults:
            before[each] = signal.signal(each, pass_on if many else note)
    try:
        yield notice if many else lambda _: noted[0] if noted else None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
