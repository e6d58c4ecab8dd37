"""The config of a training run: one frozen dataclass, its help texts, and its JSON."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from dcgan_jax.data import DatasetError, absolute_source, describe_sources, parse_size
from dcgan_jax.errors import UserError
from dcgan_jax.models import DTYPES
from dcgan_jax.paths import PathError, local_path
from dcgan_jax.presets import PRESETS
from dcgan_jax.pretrained import PRETRAINED
from dcgan_jax.state import FAKES

# What `--log` takes beside TensorBoard, which has a flag of its own: it only writes files.
LOGS = ("none", "wandb", "trackio")

# Fields that runs of earlier revisions lack, and what those runs did.
ADDED = {
    "stop_at_fid": None,
    "classifier": None,
    "image_size": None,
    "channels": None,
    "mirror": False,
    "init_from": None,
    "conditional": False,
    "classes": None,
    "data_digest": None,
    "tensorboard": False,
    "log": "none",
    "log_id": None,
    "quick_compile": False,
}
_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string", tuple: "a list of strings"}


class ConfigError(UserError):
    """A field of the config, or a flag, cannot be used."""


def _expanded(path: str, flag: str) -> str:
    """The path as it was given, but for a ``~``."""
    try:
        expanded = str(local_path(path, flag))
    except PathError as error:
        raise ConfigError(str(error)) from error
    return expanded if path.startswith("~") else path


def _field(
    default: Any,
    help: str,
    choices: tuple[str, ...] = (),
    kind: type = str,
    none: str | None = None,
    below: float = math.inf,
    flag: bool = True,
) -> Any:
    """A field with its flag's help; if it may be None, ``kind`` is its type, and ``none`` the flag's word for None.

    Without such a word, a run that resumes can change the field, and not unset it.

    A number that is not an integer must be above 0 and ``below`` a bound. Without a ``flag`` it is for the run alone.
    """
    kind = kind if default is None else type(default)
    metadata = {"help": help, "choices": choices, "kind": kind, "none": none, "below": below, "flag": flag}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The config of a run. The defaults are the tutorial's.

    Raises:
      ConfigError: if a value is of the wrong type or out of range.
    """

    steps: int = _field(10_000, "training steps in total")
    batch_size: int = _field(256, "real images per step, and as many fakes")
    seed: int = _field(0, "seed of the parameters, the noise, the dropout and the batches")
    dataset: str = _field(
        "mnist",
        f"data set: {describe_sources()}; mnist is built in, fashion_mnist and kmnist are downloaded once",
    )
    image_size: str | None = _field(
        None, "size of the images, N or HxW (default: what the data has, at most 64, in multiples of 4)"
    )
    channels: int | None = _field(
        None, "1 for grey images, 3 for colours (default: what the data has)", kind=int, none="data"
    )
    mirror: bool = _field(False, "mirror each real image at random: for pictures whose left and right mean nothing")
    data_dir: str | None = _field(None, "directory of downloaded data sets (default: ~/tensorflow_datasets)")
    workdir: str | None = _field(None, "run directory (default: the next number under runs/)")
    preset: str = _field("tutorial", "how to train: as one source of the tutorial has it, or as recommended", PRESETS)
    init_from: str | None = _field(
        None, "weights to start from: a run directory, a safetensors or Keras file, or mnist, which is pretrained"
    )
    dtype: str = _field(
        "float32", "dtype the networks compute in; parameters, statistics and losses stay float32", DTYPES
    )
    ema: float | None = _field(
        None,
        "decay of a moving average of the generator, such as 0.999, used for samples (default: the preset's)",
        kind=float,
        none="preset",
        below=1,
    )
    fakes: str = _field("inference", "mode of the generator for the fakes of the discriminator's update", FAKES)
    sample_every: int = _field(
        500, "steps between samples of the same 16 noise vectors; before that, at the powers of two"
    )
    log_every: int = _field(10, "steps between rows of metrics")
    checkpoint_every: int = _field(500, "steps between checkpoints")
    keep_checkpoints: int = _field(3, "number of the newest checkpoints that are kept")
    eval_every: int | None = _field(
        None,
        "steps between evaluations, each with a checkpoint; the best one is kept (default: none)",
        kind=int,
        none="none",
    )
    eval_samples: int = _field(10_000, "images per evaluation, or as many as there are real ones to compare with")
    classifier: str | None = _field(
        None, "file of train-classifier, for a FID in evaluations on other data than mnist (default: none)", none="none"
    )
    stop_at_fid: float | None = _field(
        None,
        "stop when an evaluation has at most this FID; needs --eval-every (default: none)",
        kind=float,
        none="none",
    )
    devices: int | None = _field(None, "devices that share each batch (default: all)", kind=int, none="all")
    stop_on_collapse: bool = _field(False, "stop when the run has collapsed")
    steps_per_call: int | None = _field(
        None, "steps per call to the devices (default: 1 on a CPU, 25 elsewhere)", kind=int, none="none"
    )
    tensorboard: bool = _field(False, "write event files for TensorBoard too")
    log: str = _field("none", "log to Weights & Biases or to Trackio too", LOGS)
    conditional: bool = _field(False, "draw images by class: the data set's classes, or the folders of the pictures")
    classes: tuple[str, ...] | None = _field(None, "names of the classes, which a run records", kind=tuple, flag=False)
    data_digest: str | None = _field(None, "SHA-256 of the images, which a run records", flag=False)
    log_id: str | None = _field(None, "the run's identifier for --log, which a run records", flag=False)
    quick_compile: bool | None = _field(
        None,
        "compile steps on a CPU in half the time and to other roundings, which a run records",
        kind=bool,
        flag=False,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, flag = getattr(self, field.name), "--" + field.name.replace("_", "-")
            kind = field.metadata["kind"]
            if kind is tuple and isinstance(value, list):  # JSON's
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            if kind is tuple and value is not None and not (value and all(type(each) is str for each in value)):
                raise ConfigError(f"{flag} must be a list of names, got {value!r}")
            if kind is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, field.name, value)
            optional = field.default is None
            if not (type(value) is kind or (optional and value is None)):
                raise ConfigError(f"{flag} must be {_KINDS[kind]}, got {value!r}")
            low = 0 if field.name == "seed" else 1
            if type(value) is int and not low <= value < 2**31:
                raise ConfigError(f"{flag} must be between {low} and {2**31 - 1}, got {value}")
            below = field.metadata["below"]
            if isinstance(value, float) and not 0 < value < below:
                bound = "" if below == math.inf else f" and below {below}"
                raise ConfigError(f"{flag} must be a number above 0{bound}, got {value}")
            choices = field.metadata["choices"]
            if choices and value not in choices:
                raise ConfigError(f"{flag} must be one of {', '.join(choices)}, got {value!r}")
            if kind is str and value == "":
                raise ConfigError(f"{flag} must not be empty: leave it out for the default")
            if isinstance(value, str) and not value.isprintable():
                raise ConfigError(f"{flag} must be printable text, got {value!r}")
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"--channels must be 1 or 3, got {self.channels}")
        try:
            object.__setattr__(self, "dataset", absolute_source(self.dataset))
        except DatasetError as error:
            raise ConfigError(f"--dataset: {error}") from error
        if self.image_size is not None:
            try:
                height, width = parse_size(self.image_size)
            except ValueError as error:
                raise ConfigError(f"--image-size {error}") from error
            object.__setattr__(self, "image_size", f"{height}x{width}")
        for name in ("workdir", "init_from", "data_dir", "classifier"):
            value = getattr(self, name)
            if value is not None:
                path = _expanded(value, "--" + name.replace("_", "-"))
                # A resumed run reads them again, from any directory.
                if name in ("data_dir", "classifier") or (name == "init_from" and value not in PRETRAINED):
                    path = str(Path(path).absolute())
                object.__setattr__(self, name, path)

    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the run's images; MNIST's where nothing is said."""
        return (*parse_size(self.image_size or "28"), self.channels or 1)

    def to_json(self) -> str:
        """The config as an indented JSON object."""
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
            raise ConfigError(f"the config is not JSON ({error})") from error
        names = {field.name for field in dataclasses.fields(cls)}
        given = {**ADDED, **values} if isinstance(values, dict) else {}
        if set(given) != names:
            raise ConfigError(
                f"the config does not have the expected fields "
                f"(missing: {sorted(names - set(given))}, unknown: {sorted(set(given) - names)})"
            )
        return cls(**given)
