"""Labels as stored in files, and their conversion to class numbers and names."""

from collections.abc import Sequence

import numpy as np

from dcgan_jax.data.common import Dataset, DatasetError
from dcgan_jax.data.layouts import is_one_hot

# Usual names of arrays, columns and members, likeliest first.
USUAL_LABELS = ("label", "labels", "cls", "class", "y", "target", "targets", "category")


def labelled(dataset: Dataset, labels: np.ndarray, what: str, names: Sequence[str] = ()) -> Dataset:
    """The data set with these labels: integers or text, [N] or [N, 1], or one-hot [N, K].

    Args:
      dataset: the images.
      labels: the labels of all images.
      what: the source of the labels, for messages.
      names: the names of the classes 0, 1, ..., if known; if a label is then negative (unknown), none is used.

    Raises:
      DatasetError: if the labels have another form or number.
    """
    if dropped := drop_unknown(labels, names, what):
        return dataset._replace(notes=(*dataset.notes, dropped))
    numbers, classes = number_labels(labels, len(dataset.images), what, names)
    return dataset._replace(labels=numbers, classes=classes)


def drop_unknown(labels: np.ndarray, names: Sequence[str], what: str) -> str:
    """Why labels of named classes are not used, if one is negative, which marks it as unknown; else empty."""
    if not names or not np.issubdtype(labels.dtype, np.signedinteger) or not (labels < 0).any():
        return ""
    return f"{what}: {int((labels < 0).sum()):,} of {len(labels):,} labels are unknown (-1): none is used"


def number_labels(
    labels: np.ndarray, n: int, what: str, names: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as class numbers int32 [N], and the names of the classes. Args, raises: as `labelled`."""
    shape = list(labels.shape)
    if labels.ndim not in (1, 2) or shape[0] != n:
        raise DatasetError(f"{what} has labels of shape {shape} for {n:,} images: one each is needed")
    if labels.ndim == 2 and shape[1] != 1:
        if not is_one_hot(labels):
            raise DatasetError(
                f"{what} has labels of shape {shape} that are not one-hot, a single 1 and zeros in each row: save the "
                f"number of each image's class, of shape [{n}]"
            )
        labels = np.asarray(labels.argmax(-1))
    if labels.dtype.kind in "bf" and bool((labels == np.rint(labels)).all()):
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if not np.issubdtype(labels.dtype, np.integer) and not np.issubdtype(labels.dtype, np.str_):
        raise DatasetError(f"{what}: labels must be integers or text, got {labels.dtype}")
    values, numbers = np.unique(labels.reshape(-1), return_inverse=True)
    if not names:
        return numbers.astype(np.int32), tuple(str(value) for value in values)
    if not np.issubdtype(values.dtype, np.integer) or values[-1] >= len(names):
        raise DatasetError(f"{what}: the label {values[-1]} is none of its {len(names):,} named classes")
    return numbers.astype(np.int32), tuple(names[int(value)] for value in values)
