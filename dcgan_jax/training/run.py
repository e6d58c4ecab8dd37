"""A run: start it, resume it, read it back, or create one from weights."""

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dcgan_jax.console import print_line
from dcgan_jax.data import Dataset
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.interop import import_weights, match_weights, replace_weights
from dcgan_jax.interop.common import named_arrays
from dcgan_jax.paths import local_path
from dcgan_jax.pretrained import PRETRAINED, TRAINED_BY, with_pretrained
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState
from dcgan_jax.training.checkpoint import (
    CheckpointError,
    checkpoint_steps,
    latest_valid_step,
    quarantine_after,
    remove_partial,
    restore_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.distributed import data_mesh
from dcgan_jax.training.environment import differences, environment_info
from dcgan_jax.training.run_dir import claim_number, lock_run_dir, read_config, resolve_run_dir
from dcgan_jax.training.run_files import RunFiles, sample_reals
from dcgan_jax.training.scorer import RunScorer
from dcgan_jax.training.setup import create_state, prepare_run, validate_same


class Run(NamedTuple):
    """A run at one of its checkpoints, or before its first step.

    Attributes:
      config: its config, with the run directory as ``workdir``.
      state: the state, its step included.
      keys: those of `create_state`, of which ``run`` is the checkpoint's.
      collapse: the state of the collapse detector and the last penalty, as JSON holds them.
      data: the real images, and their classes if it is conditional, of a run that is to be trained.
      scorer: what scores it while it trains, if it has evaluations.
    """

    config: TrainConfig
    state: GANState
    keys: dict[str, jax.Array]
    collapse: dict[str, Any]
    data: Dataset | None = None
    scorer: RunScorer | None = None


def open_run(config: TrainConfig, resume: bool, stack: contextlib.ExitStack) -> Run:
    """Start a run, or resume one, and lock its directory until ``stack`` closes.

    Raises:
      ConfigError, RunDirError, DatasetError, CheckpointError, DevicesError: before anything is written.
    """
    run_dir = resolve_run_dir(config.workdir, resume)
    config, data, scorer = prepare_run(config, run_dir, resume)
    state, keys = create_state(config)
    if not checkpoint_steps(run_dir / "checkpoints"):
        state = with_weights(state, config)
    if config.workdir is None and not resume:
        run_dir = claim_number(run_dir)
    stack.enter_context(lock_run_dir(run_dir, resume))
    for folder in (run_dir, run_dir / "checkpoints", run_dir / "samples"):
        for problem in remove_partial(folder):
            print_line(f"warning: {problem}", error=True)
    return resume_run(Run(dataclasses.replace(config, workdir=str(run_dir)), state, keys, {}, data, scorer))


def with_weights(state: GANState, config: TrainConfig) -> GANState:
    """The first state of a run with the weights of ``--init-from``: a run, a file, or the name of pretrained ones.

    Of a run they are the last weights of both networks, which fit each other, and of a file those that it holds. The
    optimizers, the step and the moving average are new. A line says so if another preset trained the weights.

    Raises:
      UserError: if they cannot be read, or are of other networks.
    """
    if config.init_from is None:
        return state
    if config.init_from in PRETRAINED:
        state = with_pretrained(state, config.init_from)
        _note_preset(TRAINED_BY, config)
        return state
    path = local_path(config.init_from, "--init-from")
    if not path.exists():
        raise ConfigError(
            f"--init-from: there is no run and no file {path}: give a run directory, a safetensors or Keras file, or "
            f"{' or '.join(PRETRAINED)}"
        )
    if not path.is_dir():
        return import_weights(path, state)
    run = load_run(path)
    weights = match_weights(named_arrays(run.state), state, f"the run in {path}")
    _note_preset(run.config.preset, config)
    return replace_weights(state, weights)


def _note_preset(trained: str, config: TrainConfig) -> None:
    if trained != config.preset:
        print_line(
            f"note: the weights of {config.init_from} were trained by the preset {trained}, and this run trains by "
            f"{config.preset} (--preset {trained} trains by theirs)"
        )


def resume_run(run: Run) -> Run:
    """The run at its latest valid checkpoint, or as it is if it has none.

    Newer checkpoints, which are damaged, are quarantined. A warning is printed if the environment differs.

    Raises:
      CheckpointError: if the run has checkpoints and none of them is valid.
    """
    checkpoints = Path(str(run.config.workdir)) / "checkpoints"
    step = _latest_step(checkpoints)
    if step is None:
        return run
    saved = restore_checkpoint(checkpoints / str(step), run.state)
    quarantine_after(checkpoints, step)
    changed = differences(saved.environment, environment_info(data_mesh(run.config.devices).size))
    if changed:
        print_line(f"saved with {', '.join(changed)}: the run resumes, but not to the same bits")
    return run._replace(state=saved.state, keys={**run.keys, "run": saved.key}, collapse=saved.collapse)


@jax_defaults()
def load_run(run_dir: str | Path, step: int | None = None) -> Run:
    """Read a run at one of its checkpoints. Writes nothing, and needs no lock.

    Args:
      run_dir: the run directory.
      step: the checkpoint's; the latest valid one if None.

    Raises:
      RunDirError, ConfigError, CheckpointError: each with one line that says what is missing or damaged.
    """
    run_dir = local_path(run_dir, "run_dir")
    config = dataclasses.replace(read_config(run_dir), workdir=str(run_dir))
    checkpoints = run_dir / "checkpoints"
    if step is None:
        step = _latest_step(checkpoints)
    if step not in (steps := checkpoint_steps(checkpoints)):
        saved = f"it has {', '.join(map(str, reversed(steps)))}" if steps else "it has none yet"
        raise CheckpointError(
            f"the run in {run_dir} has no checkpoint {'' if step is None else f'{step} '}to read: {saved}"
        )
    path = checkpoints / str(step)
    validate_same(config, f"the checkpoint {path}", verify_checkpoint(path).get("settings") or {})
    state, keys = create_state(config)
    saved = restore_checkpoint(path, state)
    return Run(config, saved.state, {**keys, "run": saved.key}, saved.collapse)


@jax_defaults()
def create_run(config: TrainConfig, state: GANState, keys: dict[str, jax.Array], data: Dataset | None = None) -> Path:
    """Create a run whose first checkpoint is ``state``, to sample from, to evaluate, or to resume.

    Args:
      config: the run's; without a ``workdir`` it gets the next number under ``runs``.
      state: the first state.
      keys: the run's, from `create_state`.
      data: the images, if the config is from `prepare_run` already.

    Returns:
      The run directory.

    Raises:
      ConfigError, RunDirError, DatasetError, CheckpointError: the directory then holds no run.
      OSError: if a file cannot be written. The directory then holds none, or this one, and resuming it writes the file.
    """
    run_dir = resolve_run_dir(config.workdir, resume=False)
    if data is None:
        config, data, _ = prepare_run(config, run_dir, resume=False)
    images = data.images
    if image_shape(state) != images.shape[1:]:
        raise ConfigError(
            f"the images of {config.dataset} are {list(images.shape[1:])}, the generator's {list(image_shape(state))}: "
            "choose --image-size and --channels"
        )
    if (state.classes or 0) != len(config.classes or ()):
        raise ConfigError(
            f"the state draws {state.classes or 'no'} classes, and the run {len(config.classes or ()) or 'none'}: "
            "choose --conditional and --dataset as those of the state"
        )
    if config.workdir is None:
        run_dir = claim_number(run_dir)
    config = dataclasses.replace(config, workdir=str(run_dir))
    with lock_run_dir(run_dir, resume=False):
        # Before the directory holds a run: one that is interrupted here must not resume from other weights.
        checkpoints, devices = run_dir / "checkpoints", data_mesh(config.devices).size
        try:
            save_checkpoint(checkpoints, state, keys["run"], dataclasses.asdict(config), devices=devices)
            reals = sample_reals(images, keys["reals"])
            files = RunFiles(config, keys, 0)
        except BaseException:
            if not (run_dir / "config.json").exists():
                shutil.rmtree(checkpoints, ignore_errors=True)
            raise
        with files:
            files.write_initial(state, reals)
    return run_dir


def _latest_step(checkpoints: Path) -> int | None:
    """The step of the latest valid checkpoint, or None; prints a warning for each newer one, which is damaged."""
    step, problems = latest_valid_step(checkpoints)
    for problem in problems:
        print_line(f"{problem}; falling back to step {step}", error=True)
    return step
