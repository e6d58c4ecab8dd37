"""Which columns of a Parquet file hold the images and the labels, by name and type."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.data.arrow_columns import read_labels
from dcgan_jax.data.common import DatasetError, LoadOptions
from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.members import some

IMAGES = ("image", "img", "images", "picture", "photo", "pixels", "pixel_values", "png", "jpg", "jpeg", "webp")
_LEAST_PIXELS = 16  # columns of numbers that are pixels
_NAMED = 10  # columns listed in a message
_FINE, _COARSE = "fine_label", "coarse_label"  # CIFAR-100's


class Columns(NamedTuple):
    """The names of the columns to read, the names of the classes, and notes on the choice."""

    images: str
    labels: str | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def choose_columns(path: Path, schema: Any, options: LoadOptions) -> Columns:
    """Choose the columns of images and labels. Raises: DatasetError if the images are not found or ambiguous."""
    names, reading = schema.names, options.reading
    for flag, name in (("images", reading.images), ("labels", reading.labels)):
        if name is not None and name not in names:
            raise DatasetError(f"{path} has no column {name} for `{flag}`: it has {some(names, _NAMED)}")
    possible = [name for name in names if _holds_images(schema.field(name).type)]
    usual = [name for name in IMAGES if name in names]
    likely = [name for name in possible if name not in USUAL_LABELS] or possible  # classes may be bytes too
    found = [reading.images] if reading.images else usual or likely
    if not found:
        kinds = some((f"{field.name} ({field.type})" for field in schema), _NAMED)
        raise DatasetError(f"{path} has no column of pictures or lists of pixels: its columns are {kinds}")
    if len(found) > 1:
        choices = ", ".join(found)
        raise DatasetError(
            f"{path} has {len(found)} columns that may be the images, {choices}: choose one with `images={found[0]}`"
        )
    if found[0] not in possible:
        raise DatasetError(
            f"{found[0]} in {path} holds {schema.field(found[0]).type}, neither pictures nor lists of pixels"
        )
    labels, notes = _choose_labels(schema, options, found[0])
    classes = _class_names(schema, labels) if labels else ()
    unused = [name for name in names if name not in (found[0], labels, _FINE, _COARSE)]
    if unused and options.labels and labels is None:
        notes += (f"columns that are not used: {some(unused, _NAMED)} (`labels=NAME` takes one for the classes)",)
    return Columns(found[0], labels, classes, notes)


def has_pixels(schema: Any) -> bool:
    """Whether there are columns of pixels, 16 or more of numbers, and none of pictures or lists."""
    import pyarrow.types as types

    numbers = [field for field in schema if types.is_integer(field.type) or types.is_floating(field.type)]
    images = any(field.name in IMAGES or _holds_images(field.type) for field in schema)
    return len(numbers) >= _LEAST_PIXELS and not images


def _choose_labels(schema: Any, options: LoadOptions, images: str) -> tuple[str | None, tuple[str, ...]]:
    if not options.labels:
        return None, ()
    if options.reading.labels:
        return options.reading.labels, ()
    found = [name for name in (*USUAL_LABELS, _FINE, _COARSE) if name in schema.names and name != images]
    found = [name for name in found if _is_label(schema.field(name).type)]
    if len(found) < 2:
        return (found[0] if found else None), ()
    return found[0], (f"classes are those of {found[0]}; `labels={found[1]}` takes {' or '.join(found[1:])}",)


def _is_label(kind: Any) -> bool:
    import pyarrow.types as types

    tests = (types.is_integer, types.is_floating, types.is_string, types.is_large_string, types.is_string_view)
    return any(test(_values_of(kind)) for test in (*tests, types.is_boolean, _holds_bytes))


def _values_of(kind: Any) -> Any:
    """The type of a column's values, which a dictionary may hold."""
    import pyarrow.types as types

    return kind.value_type if types.is_dictionary(kind) else kind


def _holds_images(kind: Any) -> bool:
    """Whether a type is that of encoded pictures or of nested lists of numbers."""
    return holds_pictures(kind) or is_list(kind)


def holds_pictures(kind: Any) -> bool:
    """Whether a type is that of encoded pictures: bytes, or structs with ``bytes``."""
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return _holds_bytes(kind)


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(test(_values_of(kind)) for test in tests)


def is_list(kind: Any) -> bool:
    """Whether a type is a list of numbers, at any depth of nesting."""
    import pyarrow.types as types

    kind, depth = getattr(kind, "storage_type", kind), 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth > 0 and (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _class_names(schema: Any, column: str) -> tuple[str, ...]:
    """The names of a column's classes in Hugging Face's metadata; () if there are none."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        return tuple(names) if all(isinstance(name, str) for name in names) else ()
    except (KeyError, TypeError, ValueError):
        return ()


def read_classes(column: Any, given: bool) -> tuple[np.ndarray | None, str]:
    """The labels of a column, or None and the reason why none is used.

    Args:
      column: integers or text, which may be stored as whole floats or as bytes.
      given: whether the column was chosen by name, so that fractions are not merely no classes.
    """
    import pyarrow as pa

    if _holds_bytes(column.type):
        try:
            column = column.cast(_values_of(column.type)).cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            return None, "its bytes are no text"
    labels = read_labels(column)
    if labels is None:
        return None, "some labels are missing"
    if labels.dtype.kind == "f" and not given and not (labels == np.rint(labels)).all():
        return None, "not all labels are whole numbers"
    return labels, ""
