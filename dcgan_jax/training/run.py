"""Runs: starting, resuming and loading one, and creating one from weights."""

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from dcgan_jax.console import print_line
from dcgan_jax.data import Dataset
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.interop import import_weights, match_weights, replace_weights
from dcgan_jax.interop.common import ShapeError, WeightsError, check_shape, named_arrays
from dcgan_jax.paths import local_path
from dcgan_jax.presets import RECOMMENDED
from dcgan_jax.pretrained import PRETRAINED, TRAINED_BY, with_pretrained
from dcgan_jax.pretrained.hub import HUB_WEIGHTS, is_hub_folder, read_hub_config
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState
from dcgan_jax.training.array_store import describe_tree, first_difference
from dcgan_jax.training.checkpoint import (
    Verified,
    checkpoint_steps,
    quarantine_after,
    remove_partial,
    restore_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.digests import CheckpointError
from dcgan_jax.training.distributed import data_mesh
from dcgan_jax.training.environment import differences, environment_info
from dcgan_jax.training.fields import NO_AUGMENTATION
from dcgan_jax.training.first_state import create_state, initializer
from dcgan_jax.training.recipe import Init, Recipe, as_recipe
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.resume_checks import check_recipe, check_saved_config
from dcgan_jax.training.run_dir import claim_number, lock_run_dir, read_config, resolve_run_dir
from dcgan_jax.training.run_files import RunFiles, sample_reals
from dcgan_jax.training.scorer import RunScorer
from dcgan_jax.training.setup import create_record, find_latest, prepare_run, with_recipe


class Run(NamedTuple):
    """A run at one of its checkpoints, or before its first step.

    Attributes:
      config: its config, with the run directory as ``workdir``.
      state: the state, its step included.
      keys: those of `create_state`, of which ``run`` is the checkpoint's.
      collapse: the saved `Monitor.state_dict`; empty for a new run.
      record: its record.
      run_dir: the run directory.
      checkpoint: the checkpoint that it is at, or that it resumes from.
      data: the real images of a run that is to be trained, with labels if it is conditional.
      scorer: scores it during training, if it has evaluations.
      mesh: the devices that share its batches, if it is to be trained.
      recipe: the recipe that built its initial state, or None for the tutorial's networks.
    """

    config: TrainConfig
    state: GANState
    keys: dict[str, jax.Array]
    collapse: dict[str, Any]
    record: RunRecord = RunRecord()
    run_dir: Path = Path()
    checkpoint: Verified | None = None
    data: Dataset | None = None
    scorer: RunScorer | None = None
    mesh: Mesh | None = None
    recipe: Recipe | None = None


def open_run(config: TrainConfig, resume: bool, stack: contextlib.ExitStack, init: Init | None = None) -> Run:
    """Start a run, or resume one, and lock its directory until ``stack`` closes.

    Raises:
      ConfigError, RunDirError, DatasetError, CheckpointError, DevicesError, RecipeError: before anything is written.
    """
    run_dir = resolve_run_dir(config.workdir, resume)
    config, record, data, scorer, mesh, checkpoint, recipe = prepare_run(config, run_dir, resume, init)
    state, keys = create_state(config, record, init=recipe)
    if recipe:
        recipe.check_state(state, config.batch_size)
    saved = checkpoint_steps(run_dir / "checkpoints")
    if checkpoint is None:
        state = with_weights(state, config, recipe)
    if config.workdir is None and not resume:
        run_dir = claim_number(run_dir)
    stack.enter_context(lock_run_dir(run_dir, resume))
    for folder in (run_dir, run_dir / "checkpoints", run_dir / "samples"):
        for problem in remove_partial(folder):
            print_line(f"warning: {problem}", error=True)
    if checkpoint_steps(run_dir / "checkpoints") != saved:  # another process had the lock, or a name was restored
        checkpoint = find_latest(run_dir / "checkpoints")
    config = dataclasses.replace(config, workdir=str(run_dir))
    return resume_run(Run(config, state, keys, {}, record, run_dir, checkpoint, data, scorer, mesh, recipe))


def with_weights(state: GANState, config: TrainConfig, init: Init | None = None) -> GANState:
    """The initial state of a run with the weights of its ``init_from``.

    That is a run directory, a folder for the Hub, a safetensors or Keras file, or the name of pretrained weights. From
    a run, the last weights of both networks are taken, which were trained together; from the others, those that they
    hold. The optimizers, the step and the moving average are new. A note is printed if another preset trained the
    weights. A run whose networks a recipe built is read with ``init``.

    Raises:
      UserError: if the weights cannot be read, or belong to other networks.
    """
    if config.init_from is None:
        return state
    try:
        return _replaced(state, config, init)
    except ShapeError:  # neither setting decides it
        raise
    except WeightsError as error:
        sizes = [f"`{name}`" for name in ("width", "latent_size") if getattr(config, name) is not None]
        if not sizes:
            raise
        raise ConfigError(f"{error}; leave {' and '.join(sizes)} as the weights were trained with") from error


def _replaced(state: GANState, config: TrainConfig, init: Init | None) -> GANState:
    assert config.init_from is not None
    if config.init_from in PRETRAINED:
        state = with_pretrained(state, config.init_from)
        if init is None:
            _note_preset(TRAINED_BY, config)
        return state
    path = local_path(config.init_from, "`init_from`")
    if not path.exists():
        raise ConfigError(
            f"`init_from`: there is no run and no file {path}: give a run directory, a folder for the Hub, a "
            f"safetensors or Keras file, or {' or '.join(PRETRAINED)}"
        )
    if not path.is_dir():
        return import_weights(path, state)
    if is_hub_folder(path):
        described = read_hub_config(path)
        check_shape(described.image_shape, state, str(path))
        trained = described.training.get("preset")
        state = import_weights(path / HUB_WEIGHTS, state)
        if trained and init is None:
            _note_preset(trained, config)
        return state
    run = load_run(path, init=init if read_config(path)[1].recipe else None)
    check_shape(image_shape(run.state), state, f"the run in {path}")
    weights = match_weights(named_arrays(run.state), state, f"the run in {path}")
    if not run.recipe and init is None:
        _note_preset(run.config.preset, config)
    return replace_weights(state, weights)


def _note_preset(trained: str, config: TrainConfig) -> None:
    if trained != config.preset:
        print_line(
            f"note: the weights of {config.init_from} were trained by the preset {trained}, and this run trains by "
            f"{config.preset} (`preset={trained!r}` trains by theirs)"
        )


def resume_run(run: Run) -> Run:
    """The run, restored from its checkpoint if it has one.

    Newer checkpoints, which are damaged, are quarantined. A warning is printed if the environment differs.

    Raises:
      CheckpointError: if the checkpoint cannot be read.
    """
    if run.checkpoint is None:
        return run
    state = restore_checkpoint(run.checkpoint, run.state)
    quarantine_after(run.run_dir / "checkpoints", run.checkpoint.step)
    devices = run.mesh.size if run.mesh else 1
    changed = differences(run.checkpoint.environment, environment_info(devices))
    if changed:
        print_line(f"saved with {', '.join(changed)}: the run resumes, but not to the same bits")
    return _restored(run, state)


def _restored(run: Run, state: GANState) -> Run:
    assert run.checkpoint is not None
    digest = run.checkpoint.record.get("recipe_digest")
    if run.recipe and run.recipe.sha256 != digest:
        print_line(
            f"note: {run.recipe.name} is no longer the recipe that the checkpoint was trained by (SHA-256 "
            f"{run.recipe.sha256[:12]}..., not {str(digest)[:12]}...); its state has the same arrays"
        )
    return run._replace(state=state, keys={**run.keys, "run": run.checkpoint.key}, collapse=run.checkpoint.collapse)


@jax_defaults()
def load_run(run_dir: str | Path, step: int | None = None, *, init: Init | None = None) -> Run:
    """Read a run at one of its checkpoints. Writes nothing, and needs no lock.

    Args:
      run_dir: the run directory.
      step: the checkpoint's step; the latest valid checkpoint if None.
      init: the function ``(key, shape, classes) -> GANState`` that built the run's initial state, if its networks are
        not the tutorial's. No file of the run directory is executed.

    Raises:
      RunDirError, ConfigError, CheckpointError, RecipeError: each with one line that says what is missing or damaged.
    """
    run_dir = local_path(run_dir, "run_dir")
    config, record = read_config(run_dir)
    recipe = None if init is None else as_recipe(init)
    check_recipe(record, recipe, f"the run in {run_dir}")
    config = dataclasses.replace(config, workdir=str(run_dir))
    checkpoint = _find_checkpoint(run_dir, step)
    check_saved_config(config, record, checkpoint)
    state, keys = create_state(config, record, init=recipe)
    run = Run(config, state, keys, {}, record, run_dir, checkpoint, recipe=recipe)
    return _restored(run, restore_checkpoint(checkpoint, state))


def _find_checkpoint(run_dir: Path, step: int | None) -> Verified:
    """The checkpoint of a step, or the latest valid one. Raises: CheckpointError if there is none."""
    folder = run_dir / "checkpoints"
    if step in (steps := checkpoint_steps(folder)):
        return verify_checkpoint(folder / str(step))
    latest = find_latest(folder) if step is None else None
    if latest is None:
        saved = f"it has {', '.join(map(str, reversed(steps)))}" if steps else "it has none yet"
        raise CheckpointError(
            f"the run in {run_dir} has no checkpoint {'' if step is None else f'{step} '}to read: {saved}"
        )
    return latest


def _check_tree(state: GANState, config: TrainConfig, record: RunRecord, recipe: Recipe | None) -> None:
    """Raises: ConfigError unless a state has the arrays of the run's initial one, as it could not be read otherwise."""
    if recipe:
        first = create_state(config, record, init=recipe)[0]
    else:
        first = jax.eval_shape(initializer(config, record), jax.random.key(0))
    builder = recipe.name if recipe else "the config"
    different = first_difference(
        describe_tree(first), describe_tree(state), f"in what {builder} builds", "in the state"
    )
    if different:
        raise ConfigError(
            f"the state is not one of this run: {different}: choose `recipe` or the config that built it (in Python, "
            "init=)"
        )


@jax_defaults()
def create_run(
    config: TrainConfig,
    state: GANState,
    keys: dict[str, jax.Array],
    data: Dataset | None = None,
    *,
    init: Init | None = None,
) -> Path:
    """Create a run whose first checkpoint is ``state``, to sample from, to evaluate, or to resume.

    Args:
      config: the run's config; without a ``workdir`` the run gets the next number under ``runs``.
      state: the initial state.
      keys: the run's keys, from `create_state`.
      data: the images, if `prepare_run` has checked the config and loaded them already.
      init: the recipe that built the state, if its networks are not the tutorial's.

    Returns:
      The run directory.

    Raises:
      ConfigError, RunDirError, DatasetError, CheckpointError: the directory then holds no run.
      OSError: if a file cannot be written. The directory then holds no run, or this one, whose resumption writes it.
    """
    run_dir = resolve_run_dir(config.workdir, resume=False)
    if data is None:
        if config.preset == RECOMMENDED:  # the state's augmentation, if any, is not to be replaced
            config = dataclasses.replace(config, augment=config.augment or NO_AUGMENTATION)
        config, record, data, *_ = prepare_run(config, run_dir, resume=False, init=init)
    else:
        record = create_record(config, data)
    recipe = None if init is None else as_recipe(init)
    record = with_recipe(record, recipe)
    images = data.images
    if image_shape(state) != images.shape[1:]:
        raise ConfigError(
            f"the images of {config.dataset} are {list(images.shape[1:])}, the generator's {list(image_shape(state))}: "
            "choose `image_size` and `channels`"
        )
    if (state.classes or 0) != len(record.classes or ()):
        raise ConfigError(
            f"the state draws {state.classes or 'no'} classes, and the run {len(record.classes or ()) or 'none'}: "
            "choose `conditional` and `dataset` as those of the state"
        )
    _check_tree(state, config, record, recipe)
    if config.workdir is None:
        run_dir = claim_number(run_dir)
    config = dataclasses.replace(config, workdir=str(run_dir))
    with lock_run_dir(run_dir, resume=False):
        # Saved before config.json: a run that is interrupted here must not resume from other weights.
        checkpoints, devices = run_dir / "checkpoints", data_mesh(config.devices).size
        try:
            as_json = dataclasses.asdict(config), dataclasses.asdict(record)
            save_checkpoint(checkpoints, state, keys["run"], as_json[0], record=as_json[1], devices=devices)
            reals = sample_reals(images, keys["reals"])
            files = RunFiles(run_dir, config, record, keys, 0, devices, recipe)
        except BaseException:
            if not (run_dir / "config.json").exists():
                shutil.rmtree(checkpoints, ignore_errors=True)
            raise
        with files:
            files.write_initial(state, reals)
    return run_dir
