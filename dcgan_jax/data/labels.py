"""Labels as stored in files, and their conversion to class numbers and names."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from dcgan_jax.data.common import Dataset, DatasetError
from dcgan_jax.data.layouts import is_one_hot

# Usual names of arrays, columns and members, likeliest first.
USUAL_LABELS = ("label", "labels", "cls", "class", "y", "target", "targets", "category")


def labelled(
    dataset: Dataset, labels: np.ndarray, what: str, names: Sequence[str] = (), wanted: bool = True
) -> Dataset:
    """The data set with these labels: integers or text, [N] or [N, 1], or one-hot [N, K].

    Args:
      dataset: the images.
      labels: the labels of all images.
      what: the source of the labels, for messages.
      names: the names of the classes 0, 1, ..., if known; if a label is then negative (unknown), none is used.
      wanted: whether labels in another form are refused; if not, none is used, with a note.

    Raises:
      DatasetError: if the labels have another form, or there is not one for each image.
    """
    _check_count(labels, len(dataset.images), what)
    if dropped := drop_unknown(labels, names, what):
        return dataset._replace(notes=(*dataset.notes, dropped))
    if not wanted:
        try:
            labels = class_values(labels)
        except ValueError as error:
            return dataset._replace(notes=(*dataset.notes, f"{what}: {error}: none is used"))
    numbers, classes = number_labels(labels, len(dataset.images), what, names)
    return dataset._replace(labels=numbers, classes=classes)


def are_whole(texts: Iterable[str]) -> bool:
    """Whether labels as text are all whole numbers; with leading zeros they are text, as 007 is not 7."""
    return all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts)


def number_texts(texts: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as text [N] as class numbers int32 [N], and the names of the classes, in the order of numbers or text."""
    whole = are_whole(texts)
    distinct, numbers = np.unique([int(text) if whole else text for text in texts], return_inverse=True)
    return numbers.astype(np.int32), tuple(str(value) for value in distinct)


def drop_unknown(labels: np.ndarray, names: Sequence[str], what: str) -> str:
    """Why labels of named classes are not used, if one is negative, which marks it as unknown; else empty."""
    if not names or not np.issubdtype(labels.dtype, np.signedinteger) or not (labels < 0).any():
        return ""
    return f"{what}: {int((labels < 0).sum()):,} of {len(labels):,} labels are unknown (-1): none is used"


def number_labels(
    labels: np.ndarray, n: int, what: str, names: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as class numbers int32 [N], and the names of the classes. Args, raises: as `labelled`."""
    _check_count(labels, n, what)
    try:
        values, numbers = np.unique(class_values(labels), return_inverse=True)
    except ValueError as error:
        raise DatasetError(f"{what}: {error}: save the number of each image's class, of shape [{n}]") from error
    if not names:
        return numbers.astype(np.int32), tuple(str(value) for value in values)
    if not np.issubdtype(values.dtype, np.integer) or values[-1] >= len(names):
        raise DatasetError(f"{what}: the label {values[-1]} is none of its {len(names):,} named classes")
    return numbers.astype(np.int32), tuple(names[int(value)] for value in values)


def _check_count(labels: np.ndarray, n: int, what: str) -> None:
    """Raises: DatasetError if there is not one label, or row of labels, for each of ``n`` images."""
    if labels.shape[:1] != (n,):
        raise DatasetError(f"{what} has labels of shape {list(labels.shape)} for {n:,} images: one each is needed")


def class_values(labels: np.ndarray) -> np.ndarray:
    """The class of each image as an integer or text [N], from labels [N] or [N, 1], or one-hot [N, K].

    Raises:
      ValueError: if the labels are no classes.
    """
    if labels.ndim == 2 and labels.shape[1] != 1:
        if not is_one_hot(labels):
            raise ValueError(f"labels of shape {list(labels.shape)} are not one-hot, a single 1 and zeros in each row")
        labels = np.asarray(labels.argmax(-1))
    if labels.ndim > 2:
        raise ValueError(f"labels of shape {list(labels.shape)} are not one number each")
    if labels.dtype.kind in "bf" and bool((labels == np.rint(labels)).all()):
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind not in "iuU":
        raise ValueError(f"labels must be integers or text, got {labels.dtype}")
    return labels.reshape(-1)
