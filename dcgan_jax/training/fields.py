"""Metadata of config fields: help, range, normal form, and whether a field can change on resume."""

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

# The value for no augmentation, also in place of the preset's.
NO_AUGMENTATION = "none"

_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


class ConfigError(UserError):
    """A field of the config is invalid; the message names it in backticks, as `batch_size`."""


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
    """A dataclass field with the metadata of a config field.

    Args:
      default: its default. If it is None, the field may be None.
      help: its text in ``--help``, including the meaning of None.
      kind: the type of its values, if the default is None.
      none: the command line's word for None. Without it, a resumed run can change the field, but not unset it.
      choices: the allowed values.
      low: the minimum of an integer.
      high: the maximum of an integer.
      multiple: what an integer must be a multiple of.
      above: the exclusive lower bound of a float; if None, the minimum is 0.
      below: the exclusive upper bound of a float.
      convert: a function of a string and of the field's name in backticks that returns the string in normal form.
      fixed: whether it determines what a run computes, so that a run cannot resume with another value.
      network: whether it describes the tutorial's networks, so that a recipe excludes it.
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

    A missing field has its default, which is how runs behaved before the field existed.

    Raises:
      ConfigError: if there are no fields, or one is unknown or invalid; ``what`` is the dictionary's name in messages.
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
    """The value of a field in normal form. Raises: ConfigError if it is invalid."""
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
    """Raises: ConfigError unless the value is above ``above``, or at least 0 if that is None, and below ``below``."""
    if (value >= 0 if above is None else value > above) and value < below:
        return
    least = "of at least 0" if above is None else f"above {above}"
    most = "" if below == math.inf else f" and below {below}"
    raise ConfigError(f"{name} must be a number {least}{most}, got {value}")


def path(value: str, name: str) -> str:
    """The path as given, with ``~`` expanded."""
    try:
        expanded = str(local_path(value, name))
    except PathError as error:
        raise ConfigError(str(error)) from error
    return expanded if value.startswith("~") else value


def absolute_path(value: str, name: str) -> str:
    """The absolute path, because a run may resume from another directory."""
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
    """A range of values as LOW,HIGH, with its numbers in their shortest form."""
    try:
        low, high = parse_range(value)
    except ValueError as error:
        raise ConfigError(f"{name} {error}") from error
    return f"{low!r},{high!r}".replace(".0,", ",").removesuffix(".0")


def layout(value: str, name: str) -> str:
    """The order of an array's axes, in capitals."""
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
    """Comma-separated names of augmentations in the order in which they are applied; or ``none``."""
    if value == NO_AUGMENTATION:
        return value
    try:
        named_augmentation(value)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    given = {each.strip() for each in value.split(",")}
    return ",".join(each for each in AUGMENTATIONS if each in given)
