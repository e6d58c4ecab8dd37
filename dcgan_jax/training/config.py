"""The settings of a training run: one frozen dataclass, its help text, and its JSON."""

import dataclasses
import json
from typing import Any

from dcgan_jax.data import DATASETS
from dcgan_jax.models import DTYPES
from dcgan_jax.optimizers import PRESETS
from dcgan_jax.state import FAKES

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


class ConfigError(ValueError):
    """A setting cannot be used; the message is one line that says which, its value and what to do."""


def _field(default: Any, help: str, choices: tuple[str, ...] = (), kind: type = str, none: str = "none") -> Any:
    """``kind`` is for fields that may be None; others are of their default's type. ``none`` is its name as a flag."""
    kind = kind if default is None else type(default)
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "kind": kind, "none": none})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What a run is made of. The defaults are the tutorial's.

    Raises:
      ConfigError: if a value is of the wrong type or out of range.
    """

    steps: int = _field(10_000, "training steps in all")
    batch_size: int = _field(256, "real images in a step; as many fakes join them")
    seed: int = _field(0, "of the parameters, the noise, the dropout and the batches")
    dataset: str = _field("mnist", "what to learn; mnist is built in, the others are downloaded once", DATASETS)
    data_dir: str | None = _field(None, "where downloaded data sets are kept (default: ~/tensorflow_datasets)")
    workdir: str | None = _field(None, "the run folder (default: the next number under runs/)")
    preset: str = _field("tutorial", "optimizer settings, as one source of the tutorial has them", PRESETS)
    dtype: str = _field(
        "float32", "what the networks compute in; parameters, statistics and losses stay float32", DTYPES
    )
    ema: float | None = _field(
        None, "decay of a moving average of the generator, such as 0.999, that pictures are drawn with", kind=float
    )
    fakes: str = _field("inference", "mode in which the generator draws for the discriminator's update", FAKES)
    sample_every: int = _field(500, "steps between pictures of the same 16 noise vectors")
    log_every: int = _field(10, "steps between lines of metrics")
    checkpoint_every: int = _field(500, "steps between checkpoints")
    keep_checkpoints: int = _field(3, "how many of the newest checkpoints are kept")
    eval_every: int | None = _field(
        None, "steps between evaluations, each with a checkpoint; the best one's is kept (default: none)", kind=int
    )
    eval_samples: int = _field(10_000, "images that an evaluation draws")
    devices: int | None = _field(None, "devices that share each batch (default: all)", kind=int, none="all")
    stop_on_collapse: bool = _field(False, "stop when the watchdog sees the run collapse")
    steps_per_call: int | None = _field(
        None, "steps that the devices do in one go (default: 1 on a CPU, 25 elsewhere)", kind=int
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, flag = getattr(self, field.name), "--" + field.name.replace("_", "-")
            kind = field.metadata["kind"]
            optional = field.default is None
            if not (type(value) is kind or (optional and value is None)):
                raise ConfigError(f"{flag} must be {_KINDS[kind]}, got {value!r}")
            low = 0 if field.name == "seed" else 1
            if type(value) is int and not low <= value < 2**31:
                raise ConfigError(f"{flag} must be between {low} and {2**31 - 1}, got {value}")
            if isinstance(value, float) and not 0 < value < 1:
                raise ConfigError(f"{flag} must be above 0 and below 1, got {value}")
            choices = field.metadata["choices"]
            if choices and value not in choices:
                raise ConfigError(f"{flag} must be one of {', '.join(choices)}, got {value!r}")
            if kind is str and value == "":
                raise ConfigError(f"{flag} must not be empty: leave it out for the default")
            if isinstance(value, str) and not value.isprintable():
                raise ConfigError(f"{flag} must be printable text, got {value!r}")

    def to_json(self) -> str:
        """The settings as a JSON object, indented."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        """Read what `to_json` wrote.

        Raises:
          ConfigError: if it is not JSON, or has missing, unknown or unusable fields.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the settings are not JSON ({error})") from error
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            given = set(values) if isinstance(values, dict) else set()
            raise ConfigError(
                f"the settings do not have the expected fields "
                f"(missing: {sorted(names - given)}, unknown: {sorted(given - names)})"
            )
        return cls(**values)
