"""Training as a program: when to log, draw, save and stop. No mathematics."""

import contextlib
import dataclasses
import functools
import json
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
import numpy as np
from flax.linen.summary import tabulate

from dcgan_jax.checkpoint import (
    CheckpointError,
    checkpoint_steps,
    clear_leftovers,
    newest_intact,
    restore_checkpoint,
    save_checkpoint,
    set_aside,
    verify_checkpoint,
    written_by,
)
from dcgan_jax.classifier import load_classifier
from dcgan_jax.config import ConfigError, TrainConfig
from dcgan_jax.data import load_dataset
from dcgan_jax.evaluation import FEWEST, MOST, EvaluationError, evaluate
from dcgan_jax.images import save_grid
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.optimizers import preset
from dcgan_jax.progress import Reporter, duration
from dcgan_jax.run_folder import (
    check_writable,
    choose_folder,
    drop_rows_after,
    hold,
    read_config,
    write_config,
)
from dcgan_jax.sampling import draw_noise, generate, sample
from dcgan_jax.state import GANState, averaged, init_state
from dcgan_jax.step import Metrics, train_step
from dcgan_jax.watchdog import Watchdog

_GRID = 16  # images in a 4x4 grid, the tutorial's
# A run that goes on must have these as they were: they decide what it computes.
_FIXED = ("batch_size", "seed", "dataset", "preset", "dtype", "ema", "fakes")
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


class Run(NamedTuple):
    """A run read back from its folder.

    Attributes:
      config: its settings.
      state: the state of one of its checkpoints.
      keys: those of `fresh_state`.
    """

    config: TrainConfig
    state: GANState
    keys: dict[str, jax.Array]


def draw_batch(dataset: jax.Array, key: jax.Array, batch_size: int) -> jax.Array:
    """A batch drawn uniformly with replacement: [N, H, W, C] -> [batch_size, H, W, C], on the data's device."""
    return dataset[jax.random.randint(key, (batch_size,), 0, dataset.shape[0])]


@functools.partial(jax.jit, static_argnames=("batch_size", "capacity"), donate_argnames="state")
def run_steps(
    state: GANState, dataset: jax.Array, key: jax.Array, steps: jax.Array | int, *, batch_size: int, capacity: int
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

    Returns:
      The new state, and for each metric an array [capacity], of which the first ``steps`` mean something.
    """

    def step(state: GANState) -> tuple[GANState, Metrics]:
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, state.step))
        return train_step(state, draw_batch(dataset, batch_key, batch_size), step_key)

    if capacity == 1:
        state, metrics = step(state)
        return state, jax.tree.map(lambda value: value[None], metrics)

    def body(i: jax.Array, carry: tuple[GANState, Metrics]) -> tuple[GANState, Metrics]:
        state, metrics = step(carry[0])
        return state, jax.tree.map(lambda values, value: values.at[i].set(value), carry[1], metrics)

    metrics = jax.tree.map(lambda m: jnp.zeros((capacity,), m.dtype), jax.eval_shape(step, state)[1])
    return jax.lax.fori_loop(0, steps, body, (state, metrics))


def check(config: TrainConfig, folder: Path, resume: bool) -> np.ndarray:
    """The run's data, once everything it needs is known to be there. Writes nothing.

    Raises:
      ConfigError: if the batch is larger than the data, or a run that goes on has other settings or no
        steps left.
      RunFolderError: if the folder cannot be written.
      CheckpointError: if the run has checkpoints and none of them can be used.
      DatasetError: if the data cannot be had.
      ClassifierError: if the weights of the digit classifier are damaged.
    """
    if resume:
        _check_resumable(config, folder)
    check_writable(folder)
    if config.eval_every is not None:
        check_evaluable(config, config.eval_samples, "--eval-samples")
        load_dataset(split="test")
    if config.dataset == "mnist":
        load_classifier()
    images = load_dataset(config.dataset, data_dir=config.data_dir)
    if config.batch_size > len(images):
        raise ConfigError(
            f"--batch-size must be at most {len(images)}, the images of {config.dataset}, got {config.batch_size}"
        )
    return images


def check_evaluable(config: TrainConfig, samples: int, flag: str) -> None:
    """Raises: ConfigError if the run does not draw digits, or so many images cannot be scored."""
    if config.dataset != "mnist":
        raise ConfigError(f"only mnist can be evaluated, by a classifier of its digits; the run is on {config.dataset}")
    if not FEWEST <= samples <= MOST:
        raise ConfigError(f"{flag} must be {FEWEST} to {MOST}, got {samples}")


def _check_resumable(config: TrainConfig, folder: Path) -> None:
    """The settings agree with those of the run's first start and of its newest checkpoint, and steps are left."""
    sources = {f"the run in {folder}": dataclasses.asdict(read_config(folder))}
    done, _ = newest_intact(folder / "checkpoints")
    if done is not None:
        checkpoint = folder / "checkpoints" / str(done)
        sources[f"the checkpoint {checkpoint}"] = verify_checkpoint(checkpoint).get("settings") or {}
    for source, saved in sources.items():
        _check_same(config, source, saved)
    if done is not None and done >= config.steps:
        raise ConfigError(f"the run in {folder} already has {done} steps: ask for more with --steps")


def _check_same(config: TrainConfig, source: str, saved: dict[str, Any]) -> None:
    """Raises: ConfigError if what decides on a run's numbers is not as it was saved."""
    differing = [name for name in _FIXED if getattr(config, name) != saved.get(name)]
    if differing:
        told = ", ".join(f"{name} {saved.get(name)}, not {getattr(config, name)}" for name in differing)
        raise ConfigError(f"{source} has {told}: leave that out, or start a new run")


def summarize(state: GANState) -> str:
    """Tables of both networks' layers: shapes and parameter counts."""
    z = jnp.zeros((1, state.latent_size))
    images = jax.eval_shape(generate, state, z)
    tables = []
    for module, x in ((state.generator.module, z), (state.discriminator.module, images)):
        table = tabulate(module, jax.random.key(0), console_kwargs={"width": 120, "force_terminal": False})
        tables.append(table(jnp.zeros(x.shape, x.dtype)))
    return "".join(tables)


def fresh_state(config: TrainConfig) -> tuple[GANState, dict[str, jax.Array]]:
    """The run's first state, and its keys.

    ``run`` is for the steps, ``grid``, ``reals`` and ``fakes`` are for pictures, ``evaluation`` for its noise.
    """
    # The implementation is named so that a run does not depend on JAX's default at the time.
    seed_key = jax.random.key(config.seed, impl="threefry2x32")
    names = ("init", "run", "grid", "reals", "fakes", "evaluation")
    keys: dict[str, jax.Array] = dict(zip(names, jax.random.split(seed_key, len(names)), strict=True))
    optimizers = preset(config.preset)
    dtype = jnp.dtype(config.dtype)
    state = init_state(
        keys.pop("init"),
        generator=Generator(dtype=dtype),
        discriminator=Discriminator(dtype=dtype),
        generator_tx=optimizers.generator,
        discriminator_tx=optimizers.discriminator,
        ema=config.ema,
        fakes=config.fakes,
    )
    return state, keys


def restore_run(folder: Path, step: int | None = None) -> Run:
    """Read a run back, at one of its checkpoints. Writes nothing, and needs no lock.

    Args:
      folder: the run folder.
      step: the checkpoint's; the newest intact one if None.

    Raises:
      RunFolderError, ConfigError, CheckpointError: each with one line that says what is missing or damaged.
    """
    config = read_config(folder)
    checkpoints = folder / "checkpoints"
    if step is None:
        step, problems = newest_intact(checkpoints)
        for problem in problems:
            print(f"{problem}; falling back to step {step}", file=sys.stderr, flush=True)
    if step not in (steps := checkpoint_steps(checkpoints)):
        there = f"it has {', '.join(map(str, reversed(steps)))}" if steps else "it has none yet"
        raise CheckpointError(
            f"the run in {folder} has no checkpoint {'' if step is None else f'{step} '}to read: {there}"
        )
    path = checkpoints / str(step)
    _check_same(config, f"the checkpoint {path}", verify_checkpoint(path).get("settings") or {})
    state, keys = fresh_state(config)
    saved = restore_checkpoint(path, state)
    return Run(config, saved.state, {**keys, "run": saved.key})


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
    """
    folder = choose_folder(config.workdir, resume)
    images = check(config, folder, resume)
    if config.workdir is None and not resume:
        folder = _claim_number(folder)
    config = dataclasses.replace(config, workdir=str(folder))
    with hold(folder, resume):
        return _train(config, images, folder)


def _claim_number(folder: Path) -> Path:
    """Make the numbered folder, or the next one that no other run makes at the same moment."""
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            folder = folder.with_name(f"{int(folder.name) + 1:04d}")
        else:
            return folder


def _train(config: TrainConfig, images: np.ndarray, folder: Path) -> Outcome:
    """Train in a folder that is this process's own."""
    state, keys = fresh_state(config)
    checkpoints, samples = folder / "checkpoints", folder / "samples"
    for each in (folder, checkpoints, samples):
        clear_leftovers(each)
    start, problems = newest_intact(checkpoints)
    for problem in problems:
        print(f"{problem}; falling back to step {start}", file=sys.stderr, flush=True)
    memory = {}
    if start is not None:
        saved = restore_checkpoint(checkpoints / str(start), state)
        state, keys["run"], memory = saved.state, saved.key, saved.watchdog
        set_aside(checkpoints, start)
        changed = [
            f"{k} {was}, now {now}" for k, now in written_by().items() if (was := saved.written_by.get(k)) != now
        ]
        if changed:
            print(f"saved with {', '.join(changed)}: the run goes on, not to the same bits", flush=True)
    # Fresh or restored, all is placed on the device by name: it is one compiled program for both.
    device = jax.devices()[0]
    state, dataset, keys = jax.device_put((state, images, keys), device)
    capacity = config.steps_per_call or (1 if device.platform == "cpu" else _STEPS_PER_CALL)
    z = draw_noise(keys["grid"], _GRID, state.latent_size)
    settings = dataclasses.asdict(config)

    samples.mkdir(exist_ok=True)
    write_config(folder, config)
    drop_rows_after(folder / "metrics.jsonl", start or 0)
    if start is not None:
        print(f"going on from step {start:,} in {folder}")
    else:
        (folder / "models.txt").write_text(summarize(state), encoding="utf-8")
        save_grid(folder / "reals.png", jax.device_get(draw_batch(dataset, keys["reals"], _GRID)))
        save_grid(samples / "0.png", jax.device_get(generate(state, z)))  # an average begins as what it averages
        save_checkpoint(checkpoints, state, keys["run"], settings, config.keep_checkpoints)
        print(f"training {config.steps:,} steps of {config.batch_size} images of {config.dataset} in {folder}")
    print(f"on {device.device_kind}; the first step compiles, which takes a while", flush=True)

    def drawn(state: GANState) -> GANState:
        return state if config.ema is None else averaged(state)

    if config.ema is not None:
        print(f"pictures and evaluations use the average of the generator's weights (--ema {config.ema})")
    reals = jax.device_get(draw_batch(dataset, keys["reals"], _GRID))
    watchdog = Watchdog(start or 0, reals / 255, digits=config.dataset == "mnist", memory=memory)
    best = _best_evaluated(folder, config.eval_samples)
    collapsed = False
    began = time.perf_counter()
    pending: deque[Metrics] = deque()
    unread: list[tuple[int, Metrics]] = []  # since the last row: steps before the call, and its metrics
    step = start or 0
    with (
        Reporter(config, step) as reporter,
        _signals() as stopped,
        (folder / "metrics.jsonl").open("a") as rows,
    ):
        while step < config.steps:
            before, step = step, min(step + capacity, _next_stop(step, config))
            state, metrics = run_steps(
                state, dataset, keys["run"], step - before, batch_size=config.batch_size, capacity=capacity
            )
            unread.append((before, metrics))
            # Calls are dispatched ahead of the device, but never by more than two: a signal is soon obeyed.
            pending.append(metrics)
            if len(pending) > 2:
                jax.block_until_ready(pending.popleft())
            stopping = stopped() is not None  # asked once: a signal from here on stops the next call
            last = stopping or step == config.steps
            evaluating = config.eval_every is not None and step % config.eval_every == 0
            saving = last or evaluating or step % config.checkpoint_every == 0
            signs: list[str | None] = []
            if saving or any(_is_logged(n, config) for n in range(before + 1, step + 1)):
                for n, row in _read(unread, step):
                    signs.append(watchdog.see_losses(n, row))
                    if _is_logged(n, config):
                        rows.write(json.dumps({"step": n, **row}) + "\n")
                    if _is_logged(n, config) or (last and n == step):
                        reporter.log(n, row)
                rows.flush()
                unread.clear()
            if _is_sampled(step, config):
                pictures = jax.device_get(generate(drawn(state), z))
                save_grid(samples / f"{step}.png", pictures)
                signs.append(watchdog.see_images(step, pictures))
            for sign in filter(None, signs):
                reporter.tell(f"warning: at step {step:,} {sign}")
                collapsed = config.stop_on_collapse
            if collapsed:
                break
            if saving:
                _check_finite(state, step)
                if evaluating:
                    row = _evaluated(drawn(state), keys["evaluation"], config, reporter)
                    rows.write(json.dumps(row) + "\n")
                    best = min(filter(None, (best, _fid(row))), default=None)
                    rows.flush()
                if step == config.steps:
                    save_grid(folder / "fakes.png", jax.device_get(sample(drawn(state), keys["fakes"], _GRID)))
                os.fsync(rows.fileno())  # what a checkpoint stands for is there before it
                spare = {best[1]} if best else set()
                # What the watchdog would name now, and what it could name if a sign that has begun is told later.
                reaches = {watchdog.beyond_doubt, *([watchdog.healthy_until] if watchdog.healthy_until < step else [])}
                spare.update(n for reach in reaches for n in _up_to(checkpoints, reach)[:1])
                keep, seen = config.keep_checkpoints, watchdog.memory
                save_checkpoint(checkpoints, state, keys["run"], settings, keep, spare, seen)
            reporter.advance(step)
            if stopping:
                break

    if collapsed:
        healthy = [str(checkpoints / str(n)) for n in _up_to(checkpoints, watchdog.healthy_until)]
        told = (
            f"the last healthy checkpoint is {healthy[0]} (evaluate and sample: --checkpoint STEP)"
            if healthy
            else "no checkpoint from before it is left"
        )
        print(f"stopped at step {step:,}, and nothing of it saved; {told}")
        return Outcome(state, folder, None, collapsed=True)
    if step == config.steps:
        print(f"done: {step:,} steps, {duration(time.perf_counter() - began)}; pictures in {samples}")
        return Outcome(state, folder, None)
    print(f"stopped and saved at step {step:,}: go on with --workdir {folder} --resume")
    return Outcome(state, folder, stopped())


def _up_to(checkpoints: Path, last: int) -> list[int]:
    """The steps of the checkpoints up to a step, the newest first."""
    return [step for step in checkpoint_steps(checkpoints) if step <= last]


def _evaluated(state: GANState, key: jax.Array, config: TrainConfig, reporter: Reporter) -> dict[str, Any]:
    """The row of an evaluation. Images that cannot be scored, all the same for one, do not end a run."""
    row: dict[str, Any] = {"step": int(state.step), "weights": weights_name(config)}
    try:
        evaluation = evaluate(state, key, config.eval_samples)
    except EvaluationError as error:
        reporter.tell(f"warning: at step {row['step']:,} nothing could be evaluated: {error}")
        return {**row, "evaluation": None}
    scores, floor = evaluation.scores, evaluation.floor
    reporter.tell(
        f"{row['step']}: FID {scores.fid:.2f} (real images: {floor.fid:.2f}), precision {scores.precision:.3f} "
        f"({floor.precision:.3f}), recall {scores.recall:.3f} ({floor.recall:.3f})"
    )
    return {**row, "evaluation": evaluation.to_json()}


def weights_name(config: TrainConfig) -> str:
    """What pictures and evaluations of a run are drawn with."""
    return "last" if config.ema is None else f"average {config.ema}"


def _fid(row: dict[str, Any]) -> tuple[float, int] | None:
    evaluation = row.get("evaluation")
    return (evaluation["scores"]["fid"], row["step"]) if evaluation else None


def _best_evaluated(folder: Path, samples: int) -> tuple[float, int] | None:
    """The lowest FID of so many images among a run's rows, and its step, if its checkpoint is there."""
    kept, found = checkpoint_steps(folder / "checkpoints"), []
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # edited by hand
            row = json.loads(line)
            if row["evaluation"]["samples"] == samples and row["step"] in kept:
                found.append((float(row["evaluation"]["scores"]["fid"]), int(row["step"])))
    return min(found, default=None)


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


def _is_logged(step: int, config: TrainConfig) -> bool:
    return step == 1 or step % config.log_every == 0


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
def _signals() -> Iterator[Callable[[], signal.Signals | None]]:
    """Within, the first SIGINT or SIGTERM is only noted, so that the step can end; a second acts at once.

    A shell starts what it puts in the background with SIGINT ignored. Here it is obeyed there too: someone sent it.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    noted: list[signal.Signals] = []

    def note(number: int, frame: object) -> None:
        del frame
        noted.append(signal.Signals(number))
        for each, handler in before.items():
            signal.signal(each, defaults[each] if handler is signal.SIG_IGN else handler)

    before = {}
    with contextlib.suppress(ValueError):  # not the main thread: signals are not ours to handle
        for each in defaults:
            before[each] = signal.signal(each, note)
    try:
        yield lambda: noted[0] if noted else None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
