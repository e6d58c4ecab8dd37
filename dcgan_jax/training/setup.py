"""Preparing a run to start or resume: checks, its images and its scorer."""

import dataclasses
import math
import secrets
from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from dcgan_jax.console import counted, print_line
from dcgan_jax.data import Dataset, DatasetError, load_data, load_dataset, parse_size, say_classes
from dcgan_jax.evaluation.classifier import load_classifier
from dcgan_jax.evaluation.image_scorer import explain_pixels
from dcgan_jax.evaluation.overfitting import Called, choose_called
from dcgan_jax.evaluation.real_images import hold_out, load_test_split
from dcgan_jax.evaluation.strided_classifier import load_strided_classifier
from dcgan_jax.presets import FEW_PICTURES, RECOMMENDED, recommended_augmentation
from dcgan_jax.training.checkpoint import Verified, latest_checkpoint
from dcgan_jax.training.compile_options import quick_options
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.distributed import data_mesh
from dcgan_jax.training.fields import NO_AUGMENTATION
from dcgan_jax.training.history import figures, read_history
from dcgan_jax.training.loggers import validate_loggers
from dcgan_jax.training.recipe import Init, Recipe, as_recipe
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.resume_checks import check_recipe, check_same, check_saved_config
from dcgan_jax.training.run_dir import check_writable, read_config
from dcgan_jax.training.scorer import RunScorer, figure_while_training, is_of_digits, scorer_while_training


class Prepared(NamedTuple):
    """A run that can start or resume.

    Attributes:
      config: its config.
      record: its record, new or as written at its start.
      data: the images, with labels if the run is conditional.
      scorer: scores the run during training; None without evaluations.
      mesh: the devices that share its batches.
      checkpoint: the latest valid checkpoint of a resumed run, if it has any.
      recipe: the recipe that builds its initial state, or None for the tutorial's networks.
    """

    config: TrainConfig
    record: RunRecord
    data: Dataset
    scorer: RunScorer | None
    mesh: Mesh
    checkpoint: Verified | None
    recipe: Recipe | None


def prepare_run(config: TrainConfig, run_dir: Path, resume: bool, init: Init | None = None) -> Prepared:
    """Check that a run can start or resume, and load its data. Writes nothing.

    Args:
      config: the run's config.
      run_dir: its directory, from `resolve_run_dir`.
      resume: whether it resumes.
      init: builds its initial state; if None, the config determines it.

    Raises:
      ConfigError: if the batch is larger than the data or cannot be split evenly, or a resumed run has another config,
        other data or no steps left.
      DevicesError: if there are fewer devices than requested.
      RunDirError: if the run directory cannot be written.
      TensorBoardError, TrackerError: if a logger cannot be used.
      CheckpointError: if the run has checkpoints and none of them can be used.
      DatasetError: if the data cannot be loaded.
      ClassifierError: if the weights of the digit classifier are damaged.
    """
    recipe, saved, checkpoint = None if init is None else as_recipe(init), None, None
    if resume:
        config, saved, checkpoint = _prepare_resume(config, run_dir, recipe)
    if recipe:
        config.check_recipe(recipe.name)
    _check_evaluations(config, resume)
    check_writable(run_dir)
    validate_loggers(config)
    _check_package_data(config)
    mesh = data_mesh(config.devices)
    if config.batch_size % mesh.size:
        raise ConfigError(
            f"`batch_size` must be a multiple of {mesh.size}, the devices that share it, got {config.batch_size}: "
            "choose another, or fewer `devices`"
        )
    data = _load_images(config, saved, run_dir)
    if config.batch_size > len(data.images):
        # It must be a multiple of the number of devices: if that exceeds the images, no batch fits.
        fewer = f", and at most {len(data.images)} `devices`" if len(data.images) < mesh.size else ""
        raise ConfigError(
            f"`batch_size` must be at most {len(data.images)}, the images of {config.dataset}, got "
            f"{config.batch_size}: choose a smaller one{fewer}"
        )
    if not resume and recipe is None:
        config = with_augmentation(config, len(data.images))
    record = with_log_id(with_recipe(saved or create_record(config, data), recipe), config.log)
    done = None if checkpoint is None else checkpoint.step
    scorer = None if config.eval_every is None else _prepare_scorer(config, data, run_dir, done)
    return Prepared(config, record, data, scorer, mesh, checkpoint, recipe)


def with_augmentation(config: TrainConfig, images: int) -> TrainConfig:
    """The config of a new run on ``images`` images with the augmentation of its preset, which a printed note names.

    It is unchanged if it names an augmentation itself, or the preset has none.
    """
    names = recommended_augmentation(images) if config.preset == RECOMMENDED else None
    if names is None or config.augment is not None:
        return config
    print_line(
        f"note: of {counted(images, 'training image')}, fewer than {FEW_PICTURES:,}, the preset {config.preset} "
        f"augments what the discriminator sees, which could memorise them: `augment={names!r}` "
        f"(`augment={NO_AUGMENTATION!r}` for none)"
    )
    return dataclasses.replace(config, augment=names)


def _check_evaluations(config: TrainConfig, resume: bool) -> None:
    """Raises: ConfigError if `stop_at_fid`, `classifier` or `features` does not fit the run's evaluations."""
    if config.stop_at_fid is not None and config.eval_every is None:
        raise ConfigError("`stop_at_fid` needs evaluations: add `eval_every=N`")
    for name in ("classifier", "features"):
        if getattr(config, name) is not None and config.eval_every is None and not resume:
            raise ConfigError(f"`{name}` is for evaluations: add `eval_every=N`, or leave it out")
    if config.classifier is not None and config.features is not None:
        raise ConfigError("evaluations are by `classifier` or by `features`: leave one of them out")
    if config.stop_at_fid is not None and config.features is not None:
        raise ConfigError("`stop_at_fid`: evaluations by `features` are compared by KID: leave one of them out")
    if config.stop_at_fid is not None and figure_while_training(config) != "fid":
        raise ConfigError(
            f"`stop_at_fid`: images of {config.dataset} have no FID without a classifier: add `classifier=FILE` "
            "(dcgan-jax train-classifier), or leave it out"
        )


def _check_package_data(config: TrainConfig) -> None:
    """Read the package's own files for evaluations now rather than at the first one. Raises: if they are damaged."""
    if is_of_digits(config):
        load_classifier()
        if config.eval_every is not None:
            load_dataset(split="test")
            load_strided_classifier()


def _prepare_scorer(config: TrainConfig, data: Dataset, run_dir: Path, done: int | None) -> RunScorer:
    """The run's scorer during training, after ``done`` steps; prints what its evaluations lack.

    Raises:
      UserError: as `scorer_while_training`; or if a resumed run has already reached the FID to stop at.
    """
    scorer = scorer_while_training(config, data)
    kind = scorer.comparability
    if kind.by_pixels:
        print_line(explain_pixels(config.dataset, data.images.shape[1:]), error=True)
    called = _called(config, data)
    if kind.samples < config.eval_samples:
        print_line(f"evaluations are of {kind.samples:,} images, of which there are real ones too")
    if done is not None and config.stop_at_fid is not None:
        evaluations = figures(read_history(run_dir)).get(kind, [])
        fid = {step: fid for fid, step in evaluations}.get(done, math.inf)
        if fid <= config.stop_at_fid:
            raise ConfigError(
                f"the run in {run_dir} already has FID {fid:.2f}: ask for less than `stop_at_fid="
                f"{config.stop_at_fid:g}`, or for none"
            )
    return scorer._replace(called=called)


def _called(config: TrainConfig, data: Dataset) -> Called | None:
    """The real images of `discriminator_calls`: the run's, and those held out or of the test split; None without them.

    A run does not depend on them: if its test split cannot be used, a line says why.
    """
    try:
        held_out = load_test_split(config.dataset, data, config.reading())
    except DatasetError as error:  # such as a class that only the test split has
        print_line(f"the discriminator is not asked about images of the test split: {error}")
        return None
    return None if held_out is None else choose_called(data, held_out)


def _load_images(config: TrainConfig, saved: RunRecord | None, run_dir: Path) -> Dataset:
    """Load and check the run's images; those of a resumed run must be the ones that it recorded."""
    try:
        data = load_images(config, saved)
    except DatasetError as error:
        where = "; if the run's images are elsewhere now, `dataset` says where" if saved else ""
        raise DatasetError(f"{error}{where}") from error
    if config.hold_out is not None and not saved and _has_test_split(config, data):
        raise ConfigError(
            f"`hold_out` is for images without a test split, and {config.dataset} has one, with which evaluations "
            "compare (`eval_every=N`): leave it out"
        )
    for note in data.notes:
        print_line(f"{config.dataset}: {note}")
    if config.conditional and len(data.classes) < 2:
        classes = say_classes(data.classes, config.dataset)
        raise ConfigError(
            f"`conditional` needs images of at least two classes, and those of {config.dataset} {classes}: put the "
            "pictures of each class in a folder of its own, or leave the flag out"
        )
    if saved:
        check_unchanged(config, saved, data, run_dir, "restore them, or start a new run")
    return data


def _has_test_split(config: TrainConfig, data: Dataset) -> bool:
    plain = data._replace(labels=None, classes=(), held_out=None)
    return load_test_split(config.dataset, plain, config.reading()) is not None


def create_record(config: TrainConfig, data: Dataset) -> RunRecord:
    """The record of a new run on these images and this device."""
    height, width, channels = data.images.shape[1:]
    shape, quick = (height, width, channels), config.dtype == "float32" and bool(quick_options())
    return RunRecord(shape, data.classes or None, data.digest(), quick)


def with_recipe(record: RunRecord, recipe: Recipe | None) -> RunRecord:
    """The record with the recipe's name and digest; unchanged without one."""
    return dataclasses.replace(record, recipe=recipe.name, recipe_digest=recipe.sha256) if recipe else record


def with_log_id(record: RunRecord, log: str) -> RunRecord:
    """The record with an identifier for the tracker, if the run logs to one and has no identifier yet."""
    named = record.log_id is not None or log == "none"
    return record if named else dataclasses.replace(record, log_id=secrets.token_hex(4))


def check_unchanged(config: TrainConfig, record: RunRecord, data: Dataset, run_dir: object, remedy: str) -> None:
    """Raises: ConfigError if the loaded images are not those that the run recorded."""
    digest = data.digest()
    if record.data_digest not in (None, digest):
        raise ConfigError(
            f"the images of {config.dataset} are no longer those that the run in {run_dir} began with (SHA-256 "
            f"{digest[:12]}..., not {record.data_digest[:12]}...): {remedy}"
        )


def load_images(config: TrainConfig, record: RunRecord | None = None) -> Dataset:
    """The run's training images, with labels if it is conditional; in the record's size if there is one.

    Images that the run holds out are in ``held_out``.

    Raises: as `load_data` and `hold_out`.
    """
    size = None if config.image_size is None else parse_size(config.image_size)
    channels = config.channels
    if record:
        size, channels = record.image_shape[:2], record.image_shape[2]
    data = load_data(
        config.dataset,
        image_size=size,
        channels=channels,
        stream=config.stream,
        cache_dir=config.cache_dir,
        **config.reading().arguments(labels=config.conditional),
    )
    return data if config.hold_out is None else hold_out(data, config.hold_out, config.dataset)


def _prepare_resume(
    config: TrainConfig, run_dir: Path, recipe: Recipe | None
) -> tuple[TrainConfig, RunRecord, Verified | None]:
    """The checked config, the run's record, and its latest valid checkpoint or None."""
    saved, record = read_config(run_dir)
    check_recipe(record, recipe, f"the run in {run_dir}")
    if config.augment is None and config.preset == RECOMMENDED:  # what the preset chose when the run began
        config = dataclasses.replace(config, augment=saved.augment)
    check_same(config, record, f"the run in {run_dir}", saved, record)
    config = dataclasses.replace(
        config, image_size=config.image_size or saved.image_size, channels=config.channels or saved.channels
    )
    checkpoint = find_latest(run_dir / "checkpoints")
    if checkpoint is None:
        return config, record, None
    check_saved_config(config, record, checkpoint)
    if checkpoint.step >= config.steps:
        raise ConfigError(f"the run in {run_dir} already has {checkpoint.step} steps: ask for more with `steps`")
    return config, record, checkpoint


def find_latest(checkpoints: Path) -> Verified | None:
    """The latest valid checkpoint, or None; prints a line for each newer one, which is damaged."""
    checkpoint, problems = latest_checkpoint(checkpoints)
    for problem in problems:
        print_line(f"{problem}; falling back to step {checkpoint and checkpoint.step}", error=True)
    return checkpoint
