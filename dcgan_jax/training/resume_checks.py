"""Whether a config, a recipe and a checkpoint are of one run."""

import dataclasses
from typing import Any

from dcgan_jax.training.checkpoint import Verified
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.recipe import Recipe
from dcgan_jax.training.record import RunRecord


def check_recipe(record: RunRecord, recipe: Recipe | None, source: str) -> None:
    """Raises: ConfigError if ``source``, a run, was built by a recipe and there is none now, or the other way round."""
    if record.recipe and recipe is None:
        raise ConfigError(
            f"{source} was built by the recipe {record.recipe}: add `recipe=FILE.py` with the file that defines it (in "
            "Python, init=)"
        )
    if recipe and not record.recipe:
        raise ConfigError(f"{source} is of the tutorial's networks: leave `recipe` out (in Python, init=)")


def check_saved_config(config: TrainConfig, record: RunRecord, checkpoint: Verified) -> None:
    """Raises: ConfigError if a field that decides what a run computes differs from that in one of its checkpoints."""
    source = f"the checkpoint {checkpoint.path}"
    try:
        saved = TrainConfig.from_values(checkpoint.config), RunRecord.from_values(checkpoint.record)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    check_same(config, record, source, *saved)


def check_same(
    config: TrainConfig, record: RunRecord, source: str, saved_config: TrainConfig, saved_record: RunRecord
) -> None:
    """Raises: ConfigError if a field that decides what a run computes is not as ``source`` has saved it."""
    ours, saved = _decisive(config, record), _decisive(saved_config, saved_record)
    if record.data_digest and "mnist" not in (config.dataset, saved_config.dataset):
        del ours["dataset"]  # by their digest they are the same images, or are refused when they are loaded
    differing = [name for name in ours if ours[name] != saved[name]]
    if differing:
        values = ", ".join(f"{name} {saved[name]}, not {ours[name]}" for name in differing)
        raise ConfigError(f"{source} has {values}: omit that flag, or start a new run")


def _decisive(config: TrainConfig, record: RunRecord) -> dict[str, Any]:
    """What decides what a run computes; the size of its images is the record's where the config does not say it."""
    values = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.metadata["fixed"]
    }
    height, width, channels = record.image_shape
    values["image_size"] = config.image_size or f"{height}x{width}"
    values["channels"] = config.channels or channels
    return {**values, "quick_compile": record.quick_compile}
