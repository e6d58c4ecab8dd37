"""Training as a program: when to log, draw, save and stop. No mathematics."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.summary import tabulate

from dcgan_jax.checkpoint import latest_step, restore_checkpoint, save_checkpoint
from dcgan_jax.config import ConfigError, TrainConfig
from dcgan_jax.data import load_dataset
from dcgan_jax.images import save_grid
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.optimizers import preset
from dcgan_jax.sampling import draw_noise, generate, sample
from dcgan_jax.state import GANState, init_state
from dcgan_jax.step import Metrics, train_step

_GRID = 16  # images in a 4x4 grid, the tutorial's
_SLOW_SECONDS = 30 * 60  # a run longer than this is told how to get a first picture sooner
# A run that goes on must have these as they were: they decide what it computes.
_FIXED = ("batch_size", "seed", "dataset", "preset", "dtype")
_STEPS_PER_CALL = 25  # on an accelerator: few enough that a signal is obeyed within a second or so


class RunFolderError(ValueError):
    """The run folder cannot be used; the message is one line that says why and what to do."""


class Outcome(NamedTuple):
    """What `train` ends with.

    Attributes:
      state: the last state.
      folder: the run folder.
      stopped_by: the signal that ended the run early, or None.
    """

    state: GANState
    folder: Path
    stopped_by: signal.Signals | None


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
      capacity: the most steps that one call is used for. 1 leaves the loop out of the program: within a loop,
        XLA on a CPU gives convolutions and products a slower road.

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


def run_folder(workdir: str | None, resume: bool) -> Path:
    """The folder of a new run or, with ``resume``, of one that can go on. Writes nothing.

    Args:
      workdir: the folder; if None, the next number under ``runs``, or with ``resume`` the newest run there.
      resume: whether to go on with a run.

    Raises:
      RunFolderError: if a new run would meet files, or there is nothing to go on with.
    """
    runs = Path("runs")
    numbered = [p for p in runs.glob("*") if p.name.isdigit()]
    if not resume:
        number = 1 + max((int(p.name) for p in numbered), default=0)
        folder = Path(workdir) if workdir else runs / f"{number:04d}"
        if (folder / "config.json").exists():
            raise RunFolderError(f"{folder} already holds a run: add --resume to go on with it, or choose another")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunFolderError(f"{folder} is not an empty folder: choose another --workdir")
        return folder
    held = sorted((int(p.name), p) for p in numbered if (p / "config.json").exists())
    if not workdir and not held:
        raise RunFolderError(f"nothing to resume in {runs.absolute()}: name the run's folder with --workdir")
    folder = Path(workdir) if workdir else held[-1][1]
    if not (folder / "config.json").exists():
        raise RunFolderError(f"nothing to resume in {folder}: it holds no run; leave --resume out to start one")
    if latest_step(folder / "checkpoints") is None:
        raise RunFolderError(f"nothing to resume in {folder}: it has no checkpoint; start again in another folder")
    return folder


def check(config: TrainConfig, folder: Path, resume: bool) -> np.ndarray:
    """The run's data, once everything it needs is known to be there. Writes nothing.

    Raises:
      ConfigError: if the batch is larger than the data, or a run that goes on has other settings or no
        steps left.
      RunFolderError: if the folder cannot be written.
      DatasetError: if the data cannot be had.
    """
    if resume:
        saved = read_config(folder)
        differing = [name for name in _FIXED if getattr(config, name) != getattr(saved, name)]
        if differing:
            told = ", ".join(f"{n} {getattr(saved, n)}, not {getattr(config, n)}" for n in differing)
            raise ConfigError(f"the run in {folder} has {told}: leave that out, or start a new run")
        done = latest_step(folder / "checkpoints") or 0
        if done >= config.steps:
            raise ConfigError(f"the run in {folder} already has {done} steps: ask for more with --steps")
    parent = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunFolderError(f"cannot write the run folder {folder}: choose another --workdir")
    images = load_dataset(config.dataset, data_dir=config.data_dir)
    if config.batch_size > len(images):
        raise ConfigError(
            f"--batch-size must be at most {len(images)}, the images of {config.dataset}, got {config.batch_size}"
        )
    return images


def read_config(folder: Path) -> TrainConfig:
    """The settings of the run in a folder.

    Raises:
      RunFolderError: if there is no run.
      ConfigError: if its ``config.json`` cannot be used.
    """
    try:
        text = (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"nothing to resume in {folder}: it holds no readable config.json") from error
    try:
        return TrainConfig.from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{folder / 'config.json'}: {error}") from error


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
    """The run's first state, and its keys: ``run`` for the steps, ``grid``, ``reals``, ``fakes`` for pictures."""
    # The implementation is named so that a run does not depend on JAX's default at the time.
    seed_key = jax.random.key(config.seed, impl="threefry2x32")
    names = ("init", "run", "grid", "reals", "fakes")
    keys: dict[str, jax.Array] = dict(zip(names, jax.random.split(seed_key, len(names)), strict=True))
    optimizers = preset(config.preset)
    dtype = jnp.dtype(config.dtype)
    state = init_state(
        keys.pop("init"),
        generator=Generator(dtype=dtype),
        discriminator=Discriminator(dtype=dtype),
        generator_tx=optimizers.generator,
        discriminator_tx=optimizers.discriminator,
    )
    return state, keys


def train(config: TrainConfig, *, resume: bool = False) -> Outcome:
    """Train, or go on with a run, and leave everything in its folder.

    Args:
      config: the settings.
      resume: go on from the newest checkpoint of the run in ``config.workdir``.

    Raises:
      ConfigError, RunFolderError, CheckpointError, DatasetError: each with one line for the user, before
        anything is written.
    """
    folder = run_folder(config.workdir, resume)
    config = dataclasses.replace(config, workdir=str(folder))
    images = check(config, folder, resume)
    state, keys = fresh_state(config)
    checkpoints = folder / "checkpoints"
    if resume:
        step = latest_step(checkpoints) or 0
        state, keys["run"] = restore_checkpoint(checkpoints, step, state, keys["run"])
    # Fresh or restored, all is placed on the device by name: it is one compiled program for both.
    device = jax.devices()[0]
    state, dataset, keys = jax.device_put((state, images, keys), device)
    capacity = config.steps_per_call or (1 if device.platform == "cpu" else _STEPS_PER_CALL)
    z = draw_noise(keys["grid"], _GRID, state.latent_size)

    _open_folder(folder, config)
    start = int(state.step)
    if resume:
        _drop_rows_after(folder / "metrics.jsonl", start)
        print(f"going on from step {start:,} in {folder}")
    else:
        (folder / "models.txt").write_text(summarize(state), encoding="utf-8")
        save_grid(folder / "reals.png", jax.device_get(draw_batch(dataset, keys["reals"], _GRID)))
        save_grid(folder / "samples" / "0.png", jax.device_get(generate(state, z)))
        save_checkpoint(checkpoints, state, keys["run"])
        print(f"training {config.steps:,} steps of {config.batch_size} images of {config.dataset} in {folder}")
    print(f"on {device.device_kind}; the first step compiles, which takes a while", flush=True)

    began = time.perf_counter()
    pending: deque[Metrics] = deque()
    step = start
    with (
        _Reporter(config, start) as reporter,
        _signals() as stopped,
        (folder / "metrics.jsonl").open("a") as rows,
    ):
        while step < config.steps:
            before, step = step, min(step + capacity, _next_stop(step, config))
            state, metrics = run_steps(
                state, dataset, keys["run"], step - before, batch_size=config.batch_size, capacity=capacity
            )
            # Calls are dispatched ahead of the device, but never by more than two: a signal is soon obeyed.
            pending.append(metrics)
            if len(pending) > 2:
                jax.block_until_ready(pending.popleft())
            stopping = stopped() is not None  # asked once: a signal from here on stops the next call
            logged = [n for n in range(before + 1, step + 1) if n == 1 or n % config.log_every == 0]
            fetched = jax.device_get(metrics) if logged else {}
            for n in logged:
                row = {name: float(values[n - before - 1]) for name, values in fetched.items()}
                rows.write(json.dumps({"step": n, **row}) + "\n")
                rows.flush()
                reporter.log(n, row)
            if _is_sampled(step, config):
                save_grid(folder / "samples" / f"{step}.png", jax.device_get(generate(state, z)))
            if stopping or step == config.steps or step % config.checkpoint_every == 0:
                save_checkpoint(checkpoints, state, keys["run"])
            reporter.advance(step)
            if stopping:
                break

    if step == config.steps:
        save_grid(folder / "fakes.png", jax.device_get(sample(state, keys["fakes"], _GRID)))
        print(f"done: {step:,} steps, {_duration(time.perf_counter() - began)}; pictures in {folder / 'samples'}")
        return Outcome(state, folder, None)
    print(f"stopped and saved at step {step:,}: go on with --workdir {folder} --resume")
    return Outcome(state, folder, stopped())


def _is_sampled(step: int, config: TrainConfig) -> bool:
    """Every ``sample_every`` steps, and before the first of these at the powers of two."""
    return step % config.sample_every == 0 or (step < config.sample_every and step & (step - 1) == 0)


def _next_stop(step: int, config: TrainConfig) -> int:
    """The next step after which the state itself is wanted, not only its metrics."""
    stops = [config.steps, *(step - step % every + every for every in (config.sample_every, config.checkpoint_every))]
    power_of_two = 1 << step.bit_length()
    return min([*stops, power_of_two] if power_of_two < config.sample_every else stops)


def _open_folder(folder: Path, config: TrainConfig) -> None:
    """Make the folder and write the settings, in one move each."""
    try:
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        partial = folder / "config.json.partial"
        partial.write_text(config.to_json(), encoding="utf-8")
        os.replace(partial, folder / "config.json")
    except OSError as error:
        raise RunFolderError(
            f"cannot write the run folder {folder} ({error.strerror}): choose another --workdir"
        ) from error


def _drop_rows_after(path: Path, step: int) -> None:
    """Remove the metrics that lie past the checkpoint: their steps will be done again."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):  # the last row of a killed run can be half written
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    os.replace(partial, path)


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], signal.Signals | None]]:
    """Within, the first SIGINT or SIGTERM is only noted, so that the step can end; a second acts at once."""
    noted: list[signal.Signals] = []

    def note(number: int, frame: object) -> None:
        del frame
        noted.append(signal.Signals(number))
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {}
    with contextlib.suppress(ValueError):  # not the main thread: signals are not ours to handle
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, note)
    try:
        yield lambda: noted[0] if noted else None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Reporter:
    """What the user sees: a progress bar on a terminal, else the tutorial's lines; and how long it will take."""

    def __init__(self, config: TrainConfig, start: int):
        self._config = config
        self._calls = 0
        self._first: tuple[int, float] | None = None
        self._told = False
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=config.steps, initial=start, unit="step", dynamic_ncols=True)

    def __enter__(self) -> "_Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def log(self, step: int, values: dict[str, float]) -> None:
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
        else:
            d, a = (values["d_loss"], values["d_accuracy"]), (values["g_loss"], values["g_accuracy"])
            print(f"{step}: [D loss: {d[0]:f}, acc: {d[1]:f}]  [A loss: {a[0]:f}, acc: {a[1]:f}]", flush=True)

    def advance(self, step: int) -> None:
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
        now = time.perf_counter()
        self._calls += 1
        if self._calls == 2:
            self._first = (step, now)  # the first two calls compile and fill the queue
        elif self._first is not None and not self._told:
            steps, seconds = step - self._first[0], now - self._first[1]
            if steps >= 5 and (seconds >= 0.5 or steps >= 50):
                self._told = True
                for line in _forecast(self._config, self._config.steps - step, seconds / steps):
                    self._bar.write(line) if self._bar is not None else print(line, flush=True)


def _forecast(config: TrainConfig, steps_left: int, seconds_per_step: float) -> list[str]:
    """How long the rest takes; on a slow device, which flags give a first picture within half an hour."""
    left = steps_left * seconds_per_step
    lines = [f"{1 / seconds_per_step:.2f} steps/s: the remaining {steps_left:,} steps take about {_duration(left)}"]
    if left > _SLOW_SECONDS:
        # A step takes time in proportion to its batch. A fifth is left for starting up and for a slower moment.
        batch_size = min(64, config.batch_size)
        per_step = seconds_per_step * batch_size / config.batch_size
        steps = int(0.8 * _SLOW_SECONDS / per_step)
        if steps >= 100:
            steps = steps // 100 * 100
        lines.append(
            f"for a first picture within half an hour: --batch-size {batch_size} --steps {max(1, steps)} "
            f"--sample-every {max(1, min(100, steps // 2))}"
        )
    return lines


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
