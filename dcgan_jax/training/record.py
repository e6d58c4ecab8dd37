"""A run's record of facts determined at its start, and ``config.json``, which holds it and the config."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.fields import ConfigError, from_values

FORMAT = 2  # of config.json and of checkpoints; incremented when those of the last version can no longer be read
EARLIER = "revision b594a72 of dcgan-jax resumes runs of earlier formats"


def _entry(default: Any, valid: Callable[[Any], bool], expected: str) -> Any:
    """A field of the record: its default, the check of its values, and what they must be, for messages."""
    return dataclasses.field(default=default, metadata={"valid": valid, "expected": expected})


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value != ""


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, tuple) and value != () and all(type(each) is str for each in value))


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(type(n) is int and 0 < n < 2**31 for n in value)


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """Facts about a run's images, device and recipe, recorded at its start. The defaults are MNIST's.

    Attributes:
      image_shape: height, width and channels of its images.
      classes: the names of their classes, if the run is conditional.
      data_digest: SHA-256 of its images.
      quick_compile: whether its steps are compiled with the options of `compile_options`, which change rounding.
      log_id: its identifier in a tracker.
      recipe: the name of the recipe that built its initial state, or None for the tutorial's networks.
      recipe_digest: SHA-256 of the recipe's source.

    Raises:
      ConfigError: if a value is invalid.
    """

    image_shape: tuple[int, int, int] = _entry((28, 28, 1), _is_shape, "three positive integers")
    classes: tuple[str, ...] | None = _entry(None, _are_names, "a list of names")
    data_digest: str | None = _entry(None, _is_text_or_none, "a text")
    quick_compile: bool = _entry(False, lambda value: isinstance(value, bool), "true or false")
    log_id: str | None = _entry(None, _is_text_or_none, "a text")
    recipe: str | None = _entry(None, _is_text_or_none, "a text")
    recipe_digest: str | None = _entry(None, _is_text_or_none, "a text")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # JSON's
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            if not field.metadata["valid"](value):
                raise ConfigError(f"`{field.name}` must be {field.metadata['expected']}, got {value!r}")

    @classmethod
    def from_values(cls, values: object) -> "RunRecord":
        """The record from a dictionary like that of `dataclasses.asdict`.

        Raises:
          ConfigError: if it is not one, or has unknown or invalid fields.
        """
        return from_values(cls, values, "record")


def to_json(config: TrainConfig, record: RunRecord) -> str:
    """The content of ``config.json``: an indented JSON object."""
    values = {"format": FORMAT, "config": dataclasses.asdict(config), "record": dataclasses.asdict(record)}
    return json.dumps(values, indent=2) + "\n"


def from_json(text: str) -> tuple[TrainConfig, RunRecord]:
    """Read what `to_json` wrote.

    Raises:
      ConfigError: if it is not JSON, has another format, or has unknown or invalid fields.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the config is not JSON ({error})") from error
    values = values if isinstance(values, dict) else {}
    if values.get("model_type") == "dcgan-jax":
        raise ConfigError("this is a folder for the Hub, which holds weights and no run: they are in model.safetensors")
    if "format" not in values and "batch_size" in values:
        raise ConfigError(f"the config has no format, and this version reads format {FORMAT}: {EARLIER}")
    if values.get("format", FORMAT) != FORMAT:
        raise ConfigError(f"the config has format {values['format']!r}, and this version reads format {FORMAT}")
    return TrainConfig.from_values(values.get("config")), RunRecord.from_values(values.get("record"))
