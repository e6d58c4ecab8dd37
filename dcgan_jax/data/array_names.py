"""Which of several arrays are the images and their labels: by name, or by shape if no name is a usual one."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dcgan_jax.data.common import DatasetError, LoadOptions, NoSplitError, Reading
from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.members import some
from dcgan_jax.data.shards import split_of, without_split

# Highest priority first: this project's name, then Keras's, then those of programs that save generated images. Names of
# the same words are the same: X_train, trainX and train-x.
IMAGE_KEYS = {
    "train": ("images", "x_train", "train_images", "samples", "x", "arr_0"),
    "test": ("test_images", "x_test"),
}
LABEL_KEYS = {"train": ("labels", "y_train", "train_labels", "y"), "test": ("test_labels", "y_test")}
CLASS_KEYS = (
    "classes",
    "class_names",
    "classnames",
    "label_names",
    "target_names",
)  # arrays of the names of classes 0, 1, ..., as text
_SILENT = ("arr_0", "x")  # generic names, beside which the labels may have any name
_NAMED = 10  # arrays listed in a note
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
      other_labels: the labels of the other split, from which it is inferred whether they count from 0 or 1.
    """

    images: str
    others: tuple[str, ...]
    labels: str | None
    unused: tuple[str, ...]
    classes: str | None = None
    other_labels: tuple[str, ...] = ()

    def notes(self) -> tuple[str, ...]:
        """A note that lists the unused arrays, if there are any."""
        labels_are = f"labels are named {' or '.join(LABEL_KEYS['train'])}, or chosen with `labels=NAME`"
        return (f"arrays that are not used: {some(self.unused, _NAMED)} ({labels_are})",) if self.unused else ()


def choose_arrays(path: Path, specs: Mapping[str, Spec], options: LoadOptions) -> Choice:
    """Choose the arrays of a file that hold the images and the labels of a split.

    A name with slashes is that of an array in a group. An array belongs to the split that its name, or its group's,
    contains. Without usual names, the images are the only array of four axes, or else of three, or of rows of pixels.
    The labels are the array with a usual name, or the vector of their length with a name in `USUAL_LABELS`, or else,
    if the images have no usual name, the only one. An array ``y`` of another length, such as coordinates, is none.

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
        choose = f", or choose one with `images={some(wanted[:1])}`" if wanted else ""
        arrays = f"{len(names):,} arrays," if len(names) > 3 else "the arrays"
        raise kind(
            f"{path} holds {arrays} {some(names) or 'none'}: name the images "
            f"{' or '.join(IMAGE_KEYS[options.split])}{choose}"
        )
    images = {split: each[0] for split, each in found.items() if len(each) == 1}
    labels = {split: _choose_labels(specs, name, split, reading) for split, name in images.items()}
    others = tuple(name for split, name in images.items() if split != options.split)
    unused = tuple(name for name in names if name not in (*images.values(), *labels.values()))
    named = (name for name in unused if is_one_of(name, CLASS_KEYS) and specs[name].dtype.kind in "SU")
    classes = next((name for name in named if len(specs[name].shape) == 1), None)
    chosen = labels[options.split] if options.labels else None
    of_others = tuple(name for split, name in labels.items() if split != options.split and name not in (None, chosen))
    return Choice(wanted[0], others, chosen, unused, classes, of_others)


def are_named(specs: Mapping[str, Spec]) -> bool:
    """Whether arrays in files of their own are one data set: by usual names, by those of the two splits, or by shape.

    By shape they are if a single one may be images of 3 or 4 axes, and the others have a number or a row for each.
    Files may also have the names of letters: ``x`` and ``y`` are usual names only if no third array is like ``x``.
    """
    if sorted(split_of(name) or "" for name in specs) == ["test", "train"]:
        return True
    others = [spec for spec in specs.values() if spec.images_axes() < 3]
    first = next((spec.shape[:1] for spec in specs.values() if spec.images_axes() > 2), ())
    if len(others) == len(specs) - 1 > 0 and all(len(each.shape) < 3 and each.shape[:1] == first for each in others):
        return True
    images, labels = ([_usual(specs, keys, split) for split in keys] for keys in (IMAGE_KEYS, LABEL_KEYS))
    if any(len(each) > 1 for each in images):
        return any(labels)
    chosen = [name for each in (*images, *labels) for name in each]
    if not all(is_one_of(name, (*_SILENT, "y")) for name in chosen):
        return True
    pixels = [name for name in chosen if not is_one_of(name, ["y"]) or specs[name].images_axes()]
    kinds = {(specs[name].shape[1:], specs[name].dtype) for name in pixels}
    others = [spec for name, spec in specs.items() if name not in chosen]
    return bool(chosen) and not any((spec.shape[1:], spec.dtype) in kinds for spec in others)


def check_names(path: Path, reading: Reading, names: Sequence[str]) -> None:
    """Raises: DatasetError if ``reading.images`` or ``reading.labels`` is given and not one of ``names``."""
    for flag, name in (("images", reading.images), ("labels", reading.labels)):
        if name is not None and name not in names:
            there = some(names) or "nothing"
            raise DatasetError(f"{path} holds nothing named {name} for `{flag}`: it has {there}")


def _words(name: str) -> list[str]:
    """The words of an array's name without its group, in alphabetical order: of ``trainX``, train and x."""
    return sorted(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name.rsplit("/", 1)[-1]))


def is_one_of(name: str, keys: Iterable[str]) -> bool:
    """Whether an array's name, without its group, has the same words as one of ``keys``, in any case and order."""
    return _words(name) in map(_words, keys)


def _usual(names: Iterable[str], keys: Mapping[str, Sequence[str]], split: str) -> list[str]:
    """The arrays with the first usual name that occurs in a split; several if it occurs in several groups."""
    names = list(names)
    for key in (*keys[split], *(keys["train"] if split == "test" else ())):
        said = (None, split) if key in keys[split] else (split,)
        if found := [name for name in names if is_one_of(name, [key]) and split_of(name) in said]:
            return found
    return []


def _by_shape(specs: Mapping[str, Spec], split: str) -> list[str]:
    """The arrays of a split that may be images by shape, those with the most axes."""
    within = {name: spec for name, spec in specs.items() if (split_of(name) or "train") == split}
    most = max((spec.images_axes() for spec in within.values()), default=0)
    return [name for name, spec in within.items() if most and spec.images_axes() == most]


def _choose_labels(specs: Mapping[str, Spec], images: str, split: str, reading: Reading) -> str | None:
    """The labels of the images: by name, in their group first; by shape alone if the images have no usual name."""
    if reading.labels:
        return _in_split(specs, reading.labels, split)
    group = images.rpartition("/")[0]
    counts = _counts(specs, images, reading.layout)
    for within in ([name for name in specs if name.rpartition("/")[0] == group], list(specs)):
        usual = [name for name in _usual(within, LABEL_KEYS, split) if name != images]
        if found := [name for name in usual if not is_one_of(name, ["y"]) or _fits(specs[name], counts)]:
            return found[0]
    said = (None, split) if split == "train" else (split,)
    vectors = [
        name
        for name, spec in specs.items()
        if name != images and split_of(name) in said and _is_vector(spec) and _fits(spec, counts)
    ]
    usual = [name for name in vectors if name.rsplit("/", 1)[-1].lower() in USUAL_LABELS]
    named = is_one_of(images, (key for key in IMAGE_KEYS[split] if key not in _SILENT))
    only = len(vectors) == 1 and not named and not _has_coordinates(specs)
    return usual[0] if usual else vectors[0] if only else None


def _in_split(names: Iterable[str], name: str, split: str) -> str | None:
    """The array of a split that is named like this one, whose name or group may say ``train``; None if there is none.

    An array whose name says no split is that of the training images.
    """
    if split == "train" or split_of(name) == split:
        return name
    alike = (each for each in names if split_of(each) == split and without_split(each) == without_split(name))
    return next(alike, None)


def _counts(specs: Mapping[str, Spec], images: str, layout: str | None) -> set[int]:
    """The numbers of images that an array may hold: the length of its first axis, and of others that may count them."""
    shape = specs[images].shape or (0,)
    if layout and len(layout) == len(shape):
        return {shape[layout.index("N")]}
    if _has_coordinates(specs) or len(shape) == 4 and shape[3] in (1, 3, 4):
        return {shape[0]}
    return {shape[0], shape[-1]} | ({shape[1]} if len(shape) == 4 and shape[0] in (1, 3) else set())


def _has_coordinates(specs: Mapping[str, Spec]) -> bool:
    """Whether there is a vector ``x``, so that other vectors are coordinates too, as in netCDF."""
    return any(is_one_of(name, ["x"]) and _is_vector(spec) for name, spec in specs.items())


def _fits(spec: Spec, counts: set[int]) -> bool:
    """Whether there is one label for each image, in a column, a row or rows."""
    return bool(spec.shape) and (spec.shape[0] in counts or (_is_vector(spec) and max(spec.shape) in counts))


def _is_vector(spec: Spec) -> bool:
    shape = spec.shape
    return spec.dtype.kind in "biufSU" and (len(shape) == 1 or (len(shape) == 2 and 1 in shape)) and max(shape) > 1
