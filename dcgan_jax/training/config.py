"""The config of a training run: one frozen dataclass, whose fields say everything about themselves."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcgan_jax.augment import AUGMENTATIONS, named_augmentation
from dcgan_jax.data import DatasetError, absolute_source, parse_size
from dcgan_jax.errors import UserError
from dcgan_jax.losses import LOSSES
from dcgan_jax.models import DTYPES
from dcgan_jax.paths import PathError, local_path
from dcgan_jax.presets import PRESETS
from dcgan_jax.pretrained import PRETRAINED
from dcgan_jax.state import FAKES

# What `--log` takes beside TensorBoard, which has a flag of its own: it only writes files.
LOGS = ("none", "wandb", "trackio")

_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


class ConfigError(UserError):
    """A field of the config cannot be used; the message names it in backticks, as `batch_size`."""


def _path(value: str, name: str) -> str:
    """The path as it was given, but for a ``~``."""
    try:
        expanded = str(local_path(value, name))
    except PathError as error:
        raise ConfigError(str(error)) from error
    return expanded if value.startswith("~") else value


def _absolute_path(value: str, name: str) -> str:
    """The absolute path: a resumed run reads it again, from any directory."""
    return str(Path(_path(value, name)).absolute())


def _weights(value: str, name: str) -> str:
    """The name of pretrained weights, or an absolute path."""
    return value if value in PRETRAINED else _absolute_path(value, name)


def _source(value: str, name: str) -> str:
    """The name of a data set, or an absolute path."""
    try:
        return absolute_source(value)
    except DatasetError as error:
        raise ConfigError(f"{name}: {error}") from error


def _size(value: str, name: str) -> str:
    """The size of images as HxW."""
    try:
        height, width = parse_size(value)
    except ValueError as error:
        raise ConfigError(f"{name} {error}") from error
    return f"{height}x{width}"


def _augmentations(value: str, name: str) -> str:
    """The names of augmentations, with commas between them."""
    try:
        named_augmentation(value)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    return ",".join(each.strip() for each in value.split(","))


def _field(
    default: Any,
    help: str,
    *,
    kind: type = str,
    none: str | None = None,
    choices: tuple[Any, ...] = (),
    low: int = 1,
    high: int = 2**31 - 1,
    multiple: int = 1,
    above: float | None = 0,
    below: float = math.inf,
    convert: Callable[[str, str], str] | None = None,
    fixed: bool = False,
    network: bool = False,
) -> Any:
    """A field that says everything about itself.

    Args:
      default: its value where none is given. If it is None, the field may be None.
      help: what it is, as ``--help`` says it, with what None means.
      kind: the type of its values, if the default is None.
      none: the command line's word for None. Without it, a run that resumes can change the field, and not unset it.
      choices: the values it can have.
      low: the least value of an integer.
      high: the greatest.
      multiple: what an integer must be a multiple of.
      above: the bound of a number that is not an integer; if it is None, 0 is the least value.
      below: the other bound.
      convert: a function of a string and of the field's name in backticks: the string in the form that is kept.
      fixed: whether it decides what a run computes: a run cannot resume with another value.
      network: whether it describes the tutorial's networks, and not those of a recipe.
    """
    metadata = {
        "help": help,
        "kind": kind if default is None else type(default),
        "none": none,
        "choices": choices,
        "low": low,
        "high": high,
        "multiple": multiple,
        "above": above,
        "below": below,
        "convert": convert,
        "fixed": fixed,
        "network": network,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The config of a run. The defaults are the tutorial's.

    Raises:
      ConfigError: if a value is of the wrong type or out of range.
    """

    steps: int = _field(10_000, "training steps in total")
    batch_size: int = _field(256, "real images per step, and as many fakes", fixed=True)
    seed: int = _field(0, "seed of the parameters, the noise, the dropout and the batches", low=0, fixed=True)
    dataset: str = _field(
        "mnist",
        "data set: mnist is built in, fashion_mnist and kmnist are downloaded once; or a folder or zip of pictures, an "
        ".npy, an .npz, an idx file, or the name of another data set of TensorFlow Datasets",
        convert=_source,
        fixed=True,
    )
    image_size: str | None = _field(
        None,
        "size of the images, N or HxW (default: what the data has, at most 64, in multiples of 4)",
        convert=_size,
        fixed=True,
    )
    channels: int | None = _field(
        None,
        "1 for grey images, 3 for colours (default: what the data has)",
        kind=int,
        none="data",
        choices=(1, 3),
        fixed=True,
    )
    mirror: bool = _field(
        False, "mirror each real image at random: for pictures whose left and right mean nothing", fixed=True
    )
    data_dir: str | None = _field(
        None, "directory of downloaded data sets (default: ~/tensorflow_datasets)", convert=_absolute_path
    )
    workdir: str | None = _field(None, "run directory (default: the next number under runs/)", convert=_path)
    preset: str = _field(
        "tutorial",
        "how to train: as one source of the tutorial has it, or as recommended",
        choices=PRESETS,
        fixed=True,
        network=True,
    )
    init_from: str | None = _field(
        None,
        "weights to start from: a run directory, a safetensors or Keras file, or mnist, which is pretrained",
        convert=_weights,
        fixed=True,
    )
    dtype: str = _field(
        "float32",
        "dtype the networks compute in; parameters, statistics and losses stay float32",
        choices=DTYPES,
        fixed=True,
        network=True,
    )
    ema: float | None = _field(
        None,
        "decay of a moving average of the generator, such as 0.999, used for samples (default: the preset's)",
        kind=float,
        none="preset",
        below=1,
        fixed=True,
        network=True,
    )
    generator_learning_rate: float | None = _field(
        None,
        "learning rate of the generator's optimizer, at its start where it falls (default: the preset's: 0.0001, of "
        "article 0.0004, of recommended 0.02)",
        kind=float,
        none="preset",
        fixed=True,
        network=True,
    )
    discriminator_learning_rate: float | None = _field(
        None,
        "likewise of the discriminator's (default: the preset's: 0.0001, of article 0.0008, of upstream 0.0002, of "
        "recommended 0.04)",
        kind=float,
        none="preset",
        fixed=True,
        network=True,
    )
    loss: str | None = _field(
        None,
        "what the networks minimise (default: the preset's: cross-entropy); wasserstein brings the penalty of WGAN-GP",
        none="preset",
        choices=LOSSES,
        fixed=True,
        network=True,
    )
    r1: float | None = _field(
        None,
        "gamma of the R1 penalty in place of any other, 0 for no penalty (default: the preset's: of recommended 0.3 in "
        "each fourth step, else none)",
        kind=float,
        none="preset",
        above=None,
        fixed=True,
        network=True,
    )
    dropout: float | None = _field(
        None,
        "share of units that dropout sets to 0 (default: the preset's: 0.4, of recommended 0)",
        kind=float,
        none="preset",
        above=None,
        below=1,
        fixed=True,
        network=True,
    )
    latent_size: int | None = _field(
        None,
        "dimensions of the noise (default: the tutorial's 100)",
        kind=int,
        none="preset",
        high=65536,
        fixed=True,
        network=True,
    )
    width: int | None = _field(
        None,
        "channels of the discriminator's first layer, even; all layers are in proportion (default: the tutorial's 64)",
        kind=int,
        none="preset",
        low=2,
        high=1024,
        multiple=2,
        fixed=True,
        network=True,
    )
    augment: str | None = _field(
        None,
        f"what the discriminator sees of images, for few pictures: some of {', '.join(AUGMENTATIONS)}, with commas "
        "(default: the images as they are)",
        none="none",
        convert=_augmentations,
        fixed=True,
        network=True,
    )
    d_steps: int = _field(1, "updates of the discriminator in a step", high=100, fixed=True, network=True)
    fakes: str = _field(
        "inference",
        "mode of the generator for the fakes of the discriminator's update",
        choices=FAKES,
        fixed=True,
        network=True,
    )
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
        None,
        "file of train-classifier, for a FID in evaluations on other data than mnist (default: none)",
        none="none",
        convert=_absolute_path,
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
    log: str = _field("none", "log to Weights & Biases or to Trackio too", choices=LOGS)
    conditional: bool = _field(
        False, "draw images by class: the data set's classes, or the folders of the pictures", fixed=True
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                object.__setattr__(self, field.name, _checked(field, value))

    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that are asked for; MNIST's where nothing is said."""
        return (*parse_size(self.image_size or "28"), self.channels or 1)

    def check_recipe(self, recipe: str) -> None:
        """Raises: ConfigError if a field that describes the tutorial's networks is given together with a recipe."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["network"] and value != field.default:
                raise ConfigError(
                    f"`{field.name}={value}` is for the tutorial's networks, and {recipe} builds others: leave one of "
                    "them out"
                )

    @classmethod
    def from_values(cls, values: object) -> "TrainConfig":
        """The config of a dictionary, as `dataclasses.asdict` makes one.

        Raises:
          ConfigError: if it is none, or has missing, unknown or unusable fields.
        """
        return from_values(cls, values, "config")


def from_values(cls: type[Any], values: object, what: str) -> Any:
    """An instance of a dataclass from a dictionary that has exactly its fields.

    Raises:
      ConfigError: if a field is missing, unknown or unusable; ``what`` is said of them.
    """
    names = {field.name for field in dataclasses.fields(cls)}
    given = values if isinstance(values, dict) else {}
    if set(given) != names:
        raise ConfigError(
            f"the {what} does not have the expected fields "
            f"(missing: {sorted(names - set(given))}, unknown: {sorted(set(given) - names)})"
        )
    return cls(**given)


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    """The value of a field in the form that is kept. Raises: ConfigError if it is none of the field's."""
    name, about = f"`{field.name}`", field.metadata
    kind = about["kind"]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{name} must be {_KINDS[kind]}, got {value!r}")
    if kind is int and about["choices"] and value not in about["choices"]:
        raise ConfigError(f"{name} must be {' or '.join(map(str, about['choices']))}, got {value}")
    if kind is int and not about["low"] <= value <= about["high"]:
        raise ConfigError(f"{name} must be between {about['low']} and {about['high']}, got {value}")
    if kind is int and value % about["multiple"]:
        raise ConfigError(f"{name} must be a multiple of {about['multiple']}, got {value}")
    if kind is float:
        _check_range(name, value, about["above"], about["below"])
    if kind is not str:
        return value
    if about["choices"] and value not in about["choices"]:
        raise ConfigError(f"{name} must be one of {', '.join(about['choices'])}, got {value!r}")
    if value == "":
        raise ConfigError(f"{name} must not be empty: leave it out for the default")
    if not value.isprintable():
        raise ConfigError(f"{name} must be printable text, got {value!r}")
    return about["convert"](value, name) if about["convert"] else value


def _check_range(name: str, value: float, above: float | None, below: float) -> None:
    """Raises: ConfigError unless the value is a number above one bound, or at least 0, and below the other."""
    if (value >= 0 if above is None else value > above) and value < below:
        return
    least = "of at least 0" if above is None else f"above {above}"
    most = "" if below == math.inf else f" and below {below}"
    raise ConfigError(f"{name} must be a number {least}{most}, got {value}")
