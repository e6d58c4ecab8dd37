"""What a run is built from: its checked config, its first state and keys, and the table of its layers."""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen.summary import tabulate

from dcgan_jax.console import print_line
from dcgan_jax.data import Dataset, DatasetError, load_data, load_dataset, parse_size
from dcgan_jax.evaluation.classifier import load_classifier
from dcgan_jax.evaluation.image_scorer import explain_pixels
from dcgan_jax.evaluation.strided_classifier import load_strided_classifier
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.presets import preset
from dcgan_jax.pretrained import PRETRAINED
from dcgan_jax.prng import seed_key, split_key
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState, init_state
from dcgan_jax.training.checkpoint import latest_valid_step, verify_checkpoint
from dcgan_jax.training.config import ADDED, ConfigError, TrainConfig
from dcgan_jax.training.distributed import data_mesh
from dcgan_jax.training.history import figures, read_history
from dcgan_jax.training.loggers import validate_loggers
from dcgan_jax.training.quick_compile import quick_options
from dcgan_jax.training.run_dir import check_writable, read_config
from dcgan_jax.training.scorer import RunScorer, has_fid, is_of_digits, scorer_while_training

# These fields decide what a run computes: a resumed run must have them unchanged.
_IMMUTABLE = (
    *("batch_size", "seed", "dataset", "image_size", "channels", "mirror", "conditional"),
    *("preset", "init_from", "dtype", "ema", "fakes", "quick_compile"),
)
# These a run finds in its images and its devices, or draws; where a config does not say them, they are as recorded.
_RECORDED = ("image_size", "channels", "classes", "data_digest", "log_id", "quick_compile")


def prepare_run(config: TrainConfig, run_dir: Path, resume: bool) -> tuple[TrainConfig, Dataset, RunScorer | None]:
    """Check that a run can start or resume, and load its data. Writes nothing.

    Returns:
      The config, for a new run with the size, channels, classes and digest of its images, and with an identifier if
      it logs under one; the images, whose classes are there if the run is conditional; and what scores the run while
      it trains, or None without evaluations.

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
    if config.stop_at_fid is not None and config.eval_every is None:
        raise ConfigError("--stop-at-fid needs evaluations: add --eval-every N")
    if config.classifier is not None and config.eval_every is None and not resume:
        raise ConfigError("--classifier is for evaluations: add --eval-every N, or leave it out")
    config, done = _validate_resume(config, run_dir) if resume else (config, None)
    if config.stop_at_fid is not None and not has_fid(config):
        raise ConfigError(
            f"--stop-at-fid: images of {config.dataset} have no FID without a classifier: add --classifier FILE "
            "(dcgan-jax train-classifier), or leave it out"
        )
    check_writable(run_dir)
    config = validate_loggers(config)
    if is_of_digits(config):
        load_classifier()
        if config.eval_every is not None:
            load_dataset(split="test")
            load_strided_classifier()
    devices = data_mesh(config.devices).size
    if config.batch_size % devices:
        raise ConfigError(
            f"--batch-size must be a multiple of {devices}, the devices that share it, got {config.batch_size}: choose "
            "another, or fewer --devices"
        )
    config, data = _load_images(config, run_dir, resume)
    if config.batch_size > len(data.images):
        raise ConfigError(
            f"--batch-size must be at most {len(data.images)}, the images of {config.dataset}, got "
            f"{config.batch_size}: choose a smaller one"
        )
    return config, data, None if config.eval_every is None else _validate_evaluation(config, data, run_dir, done)


def _validate_evaluation(config: TrainConfig, data: Dataset, run_dir: Path, done: int | None) -> RunScorer:
    """What scores the run while it trains, after ``done`` steps; what its evaluations lack is printed.

    Raises:
      UserError: as `scorer_while_training`; or if a resumed run already has the FID to stop at.
    """
    scorer = scorer_while_training(config, data)
    kind = scorer.comparability
    if kind.by_pixels:
        print_line(explain_pixels(config.dataset, data.images.shape[1:]), error=True)
    if kind.samples < config.eval_samples:
        print_line(f"evaluations are of {kind.samples:,} images, of which there are real ones too")
    if done is not None and config.stop_at_fid is not None:
        evaluations = figures(read_history(run_dir)).get(kind, [])
        fid = {step: fid for fid, step in evaluations}.get(done, math.inf)
        if fid <= config.stop_at_fid:
            raise ConfigError(
                f"the run in {run_dir} already has FID {fid:.2f}: ask for less than --stop-at-fid "
                f"{config.stop_at_fid:g}, or for none"
            )
    return scorer


def _load_images(config: TrainConfig, run_dir: Path, resume: bool) -> tuple[TrainConfig, Dataset]:
    """The run's images, and the config that has their size, channels and digest; those of a resumed run are checked."""
    try:
        data = load_images(config)
    except DatasetError as error:
        where = "; if the run's images are elsewhere now, --dataset says where" if resume else ""
        raise DatasetError(f"{error}{where}") from error
    for note in data.notes:
        print_line(f"{config.dataset}: {note}")
    if config.conditional and len(data.classes) < 2:
        raise ConfigError(
            f"--conditional needs images of at least two classes, and those of {config.dataset} have none: put the "
            "pictures of each class in a folder of its own, or leave the flag out"
        )
    digest = data.digest()
    if resume:
        check_unchanged(config, digest, run_dir, "restore them, or start a new run")
        return config, data
    height, width, channels = data.images.shape[1:]
    found = {"image_size": f"{height}x{width}", "channels": channels, "data_digest": digest}
    quick = bool(quick_options()) if config.quick_compile is None else config.quick_compile
    return dataclasses.replace(config, **found, classes=data.classes or None, quick_compile=quick), data


def check_unchanged(config: TrainConfig, digest: str, run_dir: object, remedy: str) -> None:
    """Raises: ConfigError if the images that were loaded are not those that the run has recorded."""
    if config.data_digest not in (None, digest):
        raise ConfigError(
            f"the images of {config.dataset} are no longer those that the run in {run_dir} began with (SHA-256 "
            f"{digest[:12]}..., not {config.data_digest[:12]}...): {remedy}"
        )


def load_images(config: TrainConfig) -> Dataset:
    """The run's images, with classes if it is conditional. Raises: as `load_data`."""
    size = None if config.image_size is None else parse_size(config.image_size)
    options = {"labels": config.conditional, "image_size": size, "channels": config.channels}
    return load_data(config.dataset, data_dir=config.data_dir, **options)


def _validate_resume(config: TrainConfig, run_dir: Path) -> tuple[TrainConfig, int | None]:
    """The config, with what the run has recorded, and the step of its latest valid checkpoint, or None.

    It agrees with the run's own and with that of its latest checkpoint, and steps are left.
    """
    saved = read_config(run_dir)
    validate_same(config, f"the run in {run_dir}", dataclasses.asdict(saved))
    recorded = {name: getattr(saved, name) for name in _RECORDED if getattr(config, name) is None}
    config = dataclasses.replace(config, **recorded)
    done, _ = latest_valid_step(run_dir / "checkpoints")
    if done is None:
        return config, None
    checkpoint = run_dir / "checkpoints" / str(done)
    validate_same(config, f"the checkpoint {checkpoint}", verify_checkpoint(checkpoint).get("settings") or {})
    if done >= config.steps:
        raise ConfigError(f"the run in {run_dir} already has {done} steps: ask for more with --steps")
    return config, done


def validate_same(config: TrainConfig, source: str, saved: dict[str, Any]) -> None:
    """Raises: ConfigError if a field that decides what a run computes differs from the ``saved`` config."""
    ours, saved = {name: getattr(config, name) for name in _IMMUTABLE}, {**ADDED, **saved}
    if saved["init_from"] not in (None, *PRETRAINED):  # relative in runs of earlier revisions
        saved["init_from"] = str(Path(saved["init_from"]).absolute())  # as the config has it
    unsaid = [name for name in _RECORDED if None in (ours.get(name), saved.get(name))]
    moved = saved.get("data_digest") and "mnist" not in (config.dataset, saved.get("dataset"))
    if moved:  # by their digest they are the same images, or are refused when they are loaded
        unsaid.append("dataset")
    differing = [name for name in _IMMUTABLE if name not in unsaid and ours[name] != saved.get(name)]
    if differing:
        values = ", ".join(f"{name} {saved.get(name)}, not {getattr(config, name)}" for name in differing)
        raise ConfigError(f"{source} has {values}: omit that flag, or start a new run")


def create_state(config: TrainConfig) -> tuple[GANState, dict[str, jax.Array]]:
    """The run's first state, and its keys.

    ``run`` is for the steps; ``grid``, ``reals`` and ``fakes`` for grids of images; ``evaluation`` for its noise.
    """
    names = ("init", "run", "grid", "reals", "fakes", "evaluation")
    keys: dict[str, jax.Array] = dict(zip(names, split_key(seed_key(config.seed), len(names)), strict=True))
    # One program, and not a small one for each array of zeros.
    init = jax.jit(initializer(config), compiler_options=quick_options())
    return init(keys.pop("init")), keys


def initializer(config: TrainConfig) -> Callable[[jax.Array], GANState]:
    """The run's `init_state`, a function of a key."""
    chosen = preset(config.preset)
    classes = None if config.classes is None else len(config.classes)
    options = {"dropout_rate": chosen.dropout_rate, "dtype": jnp.dtype(config.dtype), "classes": classes}
    return functools.partial(
        init_state,
        preset=chosen,
        generator=Generator(config.image_shape(), **options),
        discriminator=Discriminator(**options),
        ema=config.ema,
        fakes=config.fakes,
        classes=classes,
    )


def model_summary(state: GANState) -> str:
    """Tables of both networks' layers: shapes and parameter counts."""
    tables = []
    for network, shape in ((state.generator, (state.latent_size,)), (state.discriminator, image_shape(state))):
        table = tabulate(network.module, jax.random.key(0), console_kwargs={"width": 120, "force_terminal": False})
        labels = {} if state.classes is None else {"labels": jnp.zeros(1, jnp.int32)}
        tables.append(table(jnp.zeros((1, *shape), jnp.float32), **labels))
    return "".join(tables)
