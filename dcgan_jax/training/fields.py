"""What a field of a config says about itself: its help, its range, its form, and whether it can change on resume."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcgan_jax.augment import AUGMENTATIONS, named_augmentation
from dcgan_jax.data import DatasetError, absolute_source, parse_layout, parse_range, parse_size
from dcgan_jax.errors import UserError
from dcgan_jax.paths import PathError, local_path
from dcgan_jax.pretrained import PRETRAINED

# The word for no augmentation, also in place of the preset's.
NO_AUGMENTATION = "none"

_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


class ConfigError(UserError):
    """A field of the config cannot be used; the message names it in backticks, as `batch_size`."""


def field(
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


def from_values(cls: type[Any], values: object, what: str) -> Any:
    """An instance of a dataclass from a dictionary of its fields.

    A field that is not there has its default, which is what runs did before there was such a field.

    Raises:
      ConfigError: if there is none of them, or one is unknown or unusable; ``what`` is said of them.
    """
    names = {field.name for field in dataclasses.fields(cls)}
    given = values if isinstance(values, dict) else {}
    if not given or not set(given) <= names:
        raise ConfigError(
            f"the {what} does not have the expected fields "
            f"(missing: {sorted(names - set(given))}, unknown: {sorted(set(given) - names)})"
        )
    return cls(**given)


def checked(field: dataclasses.Field[Any], value: Any) -> Any:
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


def path(value: str, name: str) -> str:
    """The path as it was given, but for a ``~``."""
    try:
        expanded = str(local_path(value, name))
    except PathError as error:
        raise ConfigError(str(error)) from error
    return expanded if value.startswith("~") else value


def absolute_path(value: str, name: str) -> str:
    """The absolute path: a resumed run reads it again, from any directory."""
    return str(Path(path(value, name)).absolute())


def weights(value: str, name: str) -> str:
    """The name of pretrained weights, or an absolute path."""
    return value if value in PRETRAINED else absolute_path(value, name)


def source(value: str, name: str) -> str:
    """The name of a data set, or an absolute path."""
    try:
        return absolute_source(value)
    except DatasetError as error:
        raise ConfigError(f"{name}: {error}") from error


def value_range(value: str, name: str) -> str:
    """A range of values as LOW,HIGH, the shortest way to write its numbers."""
    try:
        low, high = parse_range(value)
    except ValueError as error:
        raise ConfigError(f"{name} {error}") from error
    return f"{low!r},{high!r}".replace(".0,", ",").removesuffix(".0")


def layout(value: str, name: str) -> str:
    """The order of an array's axes in capitals."""
    try:
        return parse_layout(value)
    except ValueError as error:
        raise ConfigError(f"{name} {error}") from error


def size(value: str, name: str) -> str:
    """The size of images as HxW."""
    try:
        height, width = parse_size(value)
    except ValueError as error:
        raise ConfigError(f"{name} {error}") from error
    return f"{height}x{width}"


def augmentations(value: str, name: str) -> str:
    """The names of augmentations, with commas between them, in the order in which they are applied; or ``none``."""
    if value == NO_AUGMENTATION:
        return value
    try:
        named_augmentation(value)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    given = {each.strip() for each in value.split(",")}
    return ",".join(each for each in AUGMENTATIONS if each in given)
