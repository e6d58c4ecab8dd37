"""Which of several arrays are the images and their labels: by name, or by shape if no name is a usual one."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dcgan_jax.data.common import DatasetError, LoadOptions, NoSplitError, Reading
from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.shards import split_of

# Highest priority first: this project's name, then Keras's, then those of programs that save generated images.
IMAGE_KEYS = {
    "train": ("images", "x_train", "train_images", "samples", "x", "arr_0"),
    "test": ("test_images", "x_test"),
}
LABEL_KEYS = {"train": ("labels", "y_train", "train_labels", "y"), "test": ("test_labels", "y_test")}
_CLASSES = ("classes", "class_names", "label_names")  # arrays of the names of classes 0, 1, ..., as text
_SILENT = ("arr_0", "x")  # generic names, beside which the labels may have any name
_LEAST_ROW = 16  # least number of rows, and of pixels in a row, of images in 2 axes


class Spec(NamedTuple):
    """The shape and the dtype of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def images_axes(self) -> int:
        """The number of axes, 4, 3 or 2, if the array may hold images by shape and dtype; else 0."""
        numbers = self.dtype.kind in "biuf"
        if numbers and len(self.shape) in (3, 4) and sorted(self.shape)[-2] >= 4:
            return len(self.shape)
        return 2 if numbers and len(self.shape) == 2 and min(self.shape) >= _LEAST_ROW else 0


class Choice(NamedTuple):
    """The names of the arrays to read.

    Attributes:
      images: the array of images.
      others: the images of the other split, from which the value range is inferred too.
      labels: the array of labels, or None.
      unused: all other arrays.
      classes: the one of ``unused`` that may hold the names of the classes, or None.
    """

    images: str
    others: tuple[str, ...]
    labels: str | None
    unused: tuple[str, ...]
    classes: str | None = None

    def notes(self) -> tuple[str, ...]:
        """A note that lists the unused arrays, if there are any."""
        labels_are = f"labels are named {' or '.join(LABEL_KEYS['train'])}, or chosen with `labels=NAME`"
        return (f"arrays that are not used: {', '.join(self.unused)} ({labels_are})",) if self.unused else ()


def choose_arrays(path: Path, specs: Mapping[str, Spec], options: LoadOptions) -> Choice:
    """Choose the arrays of a file that hold the images and the labels of a split.

    A name with slashes is that of an array in a group. An array belongs to the split that its name, or its group's,
    contains. Without usual names, the images are the only array of four axes, or else of three, or of rows of pixels.
    The labels are then the vector of their length with a name in `USUAL_LABELS`, or else the only one.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a name that is given is not that of an array, or several arrays may be the images.
    """
    reading, names = options.reading, tuple(specs)
    check_names(path, reading, names)
    if reading.images:
        if options.split != "train":
            raise NoSplitError(f"{path} has no split {options.split}: {reading.images} is all for training")
        found = {"train": [reading.images], "test": []}
    else:
        found = {split: _usual(names, IMAGE_KEYS, split) for split in IMAGE_KEYS}
        if not found["train"] and len(names) == 1:
            found["train"] = list(names)
        if not any(specs[name].images_axes() for name in found["train"]):
            by_shape = {split: _by_shape(specs, split) for split in IMAGE_KEYS}
            found = by_shape if by_shape["train"] else found
    wanted = found[options.split]
    if len(wanted) != 1:
        kind = NoSplitError if options.split != "train" and not wanted else DatasetError
        choose = f", or choose one with `images={wanted[0]}`" if wanted else ""
        raise kind(
            f"{path} holds the arrays {', '.join(names) or 'none'}: name the images "
            f"{' or '.join(IMAGE_KEYS[options.split])}{choose}"
        )
    others = tuple(each[0] for split, each in found.items() if split != options.split and len(each) == 1)
    labels = _choose_labels(specs, wanted[0], options) if options.labels else None
    known = {wanted[0], *others, labels}
    keys = {key for each in (IMAGE_KEYS, LABEL_KEYS) for some in each.values() for key in some}
    unused = tuple(name for name in names if name not in known and _last(name) not in keys)
    named = (name for name in unused if _last(name) in _CLASSES and specs[name].dtype.kind == "U")
    classes = next((name for name in named if len(specs[name].shape) == 1), None)
    return Choice(wanted[0], others, labels, unused, classes)


def check_names(path: Path, reading: Reading, names: Sequence[str]) -> None:
    """Raises: DatasetError if ``reading.images`` or ``reading.labels`` is given and not one of ``names``."""
    for flag, name in (("images", reading.images), ("labels", reading.labels)):
        if name is not None and name not in names:
            there = ", ".join(names) or "nothing"
            raise DatasetError(f"{path} holds nothing named {name} for `{flag}`: it has {there}")


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _usual(names: Iterable[str], keys: Mapping[str, Sequence[str]], split: str) -> list[str]:
    """The arrays with the first usual name that occurs in a split; several if it occurs in several groups."""
    names = list(names)
    for key in (*keys[split], *(keys["train"] if split == "test" else ())):
        said = (None, split) if key in keys[split] else (split,)
        if found := [name for name in names if _last(name) == key and split_of(name) in said]:
            return found
    return []


def _by_shape(specs: Mapping[str, Spec], split: str) -> list[str]:
    """The arrays of a split that may be images by shape, those with the most axes."""
    some = {name: spec for name, spec in specs.items() if (split_of(name) or "train") == split}
    most = max((spec.images_axes() for spec in some.values()), default=0)
    return [name for name, spec in some.items() if most and spec.images_axes() == most]


def _choose_labels(specs: Mapping[str, Spec], images: str, options: LoadOptions) -> str | None:
    """The labels of the images: by name, in their group first; by shape if the images' name is generic or not usual."""
    if options.reading.labels:
        return options.reading.labels
    group = images.rpartition("/")[0]
    for within in ([name for name in specs if name.rpartition("/")[0] == group], list(specs)):
        if found := _usual(within, LABEL_KEYS, options.split):
            return found[0]
    if _last(images) in (key for key in IMAGE_KEYS[options.split] if key not in _SILENT):
        return None
    shape = specs[images].shape
    lengths = {shape[0]} if len(shape) == 4 and shape[-1] in (1, 3, 4) else {shape[0], shape[-1]}
    said = (None, options.split) if options.split == "train" else (options.split,)
    vectors = [
        name
        for name, spec in specs.items()
        if name != images and split_of(name) in said and _is_vector(spec) and max(spec.shape) in lengths
    ]
    usual = [name for name in vectors if _last(name).lower() in USUAL_LABELS]
    return usual[0] if usual else vectors[0] if len(vectors) == 1 else None


def _is_vector(spec: Spec) -> bool:
    shape = spec.shape
    return spec.dtype.kind in "biufSU" and (len(shape) == 1 or (len(shape) == 2 and 1 in shape)) and max(shape) > 1
