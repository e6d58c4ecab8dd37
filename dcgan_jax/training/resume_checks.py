"""Checks that a config, a recipe and a checkpoint belong to one run."""

import dataclasses
from typing import Any

from dcgan_jax.training.checkpoint import Verified
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.fields import NO_AUGMENTATION
from dcgan_jax.training.recipe import Recipe
from dcgan_jax.training.record import RunRecord

# Fields that determine the shapes of the networks' arrays: weights do not fit other values.
_SHAPING = {"image_size", "channels", "conditional", "latent_size", "width"}


def check_recipe(record: RunRecord, recipe: Recipe | None, source: str) -> None:
    """Raises: ConfigError if ``source``, a run, was built by a recipe and none is given, or the reverse."""
    if record.recipe and recipe is None:
        raise ConfigError(
            f"{source} was built by the recipe {record.recipe}: add `recipe=FILE.py` with the file that defines it (in "
            "Python, init=)"
        )
    if recipe and not record.recipe:
        raise ConfigError(f"{source} is of the tutorial's networks: leave `recipe` out (in Python, init=)")


def check_saved_config(config: TrainConfig, record: RunRecord, checkpoint: Verified) -> None:
    """Raises: ConfigError if a field that determines what a run computes differs from that of its checkpoint."""
    source = f"the checkpoint {checkpoint.path}"
    try:
        saved = TrainConfig.from_values(checkpoint.config), RunRecord.from_values(checkpoint.record)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    differing = _differing(config, record, *saved)
    if differing:  # not because of a flag, as these were compared with the run's config before
        raise ConfigError(f"{source} has {_values(differing)} as config.json says: write back there what it was")


def check_same(
    config: TrainConfig, record: RunRecord, source: str, saved_config: TrainConfig, saved_record: RunRecord
) -> None:
    """Raises: ConfigError if a field that determines what a run computes differs from that of ``source``, a run."""
    differing = _differing(config, record, saved_config, saved_record)
    if differing:
        raise ConfigError(f"{source} has {_values(differing)}: keep the run's, or {_new_run(set(differing))}")


def _new_run(differing: set[str]) -> str:
    """Advice on a new run with the differing values, and on what it can take over from the existing one."""
    if "init_from" in differing:
        return "start a new run: weights are taken over before the first step alone"
    if differing & _SHAPING:
        return "start a new run, from the beginning: the networks are of other shapes, and their weights do not fit"
    fit = " if the images are of one shape" if "dataset" in differing else ""
    return (
        f"start a new one with `init_from=RUN`, which takes over the weights of both networks{fit}, and begins anew "
        "with the step, the optimizers' states and the moving average"
    )


def _differing(
    config: TrainConfig, record: RunRecord, saved_config: TrainConfig, saved_record: RunRecord
) -> dict[str, tuple[Any, Any]]:
    """The differing fields among those that determine what a run computes, each with the saved and the given value."""
    ours, saved = _decisive(config, record), _decisive(saved_config, saved_record)
    if record.data_digest and "mnist" not in (config.dataset, saved_config.dataset):
        del ours["dataset"]  # the digest of the images is compared when they are loaded
    return {name: (saved[name], ours[name]) for name in ours if ours[name] != saved[name]}


def _values(differing: dict[str, tuple[Any, Any]]) -> str:
    words = {field.name: field.metadata["none"] for field in dataclasses.fields(TrainConfig)}

    def word(name: str, value: Any) -> Any:
        return (words[name] or "none") if value is None else value

    return ", ".join(
        f"`{name}` {word(name, saved)}, not {word(name, ours)}" for name, (saved, ours) in differing.items()
    )


def _decisive(config: TrainConfig, record: RunRecord) -> dict[str, Any]:
    """The values that determine what a run computes; the image size is the record's if the config has none."""
    values = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.metadata["fixed"]
    }
    height, width, channels = record.image_shape
    values["image_size"] = config.image_size or f"{height}x{width}"
    values["channels"] = config.channels or channels
    values["augment"] = config.augmentation() or NO_AUGMENTATION
    return {**values, "quick_compile": record.quick_compile}
