"""Text in MATLAB's files: arrays of characters, and cell arrays of strings, as SciPy and h5py give them."""

from typing import Any

import numpy as np

from dcgan_jax.data.array_names import CLASS_KEYS, LABEL_KEYS, is_one_of
from dcgan_jax.data.labels import USUAL_LABELS

_LONGEST = 10_000  # characters of a text in a cell; longer ones are no labels
_KEYS = {key for each in LABEL_KEYS.values() for key in each} | {*USUAL_LABELS, *CLASS_KEYS}


def may_be_text(name: str, kind: str, chosen: str | None) -> bool:
    """Whether a variable of MATLAB's class ``kind`` is to be read as text: characters, and cells that may be labels.

    Cells may be large, and whether they are text is only known when they are read: those of other names are not, but
    for the one that is ``chosen``.
    """
    return kind == "char" or (kind == "cell" and (name == chosen or is_one_of(name, _KEYS)))


def text_of_scipy(array: np.ndarray) -> np.ndarray | None:
    """The text [N] of an array of characters, or of a cell array of strings; None of cells that are not text."""
    cells = array.reshape(-1)
    if array.dtype.kind != "U":
        if not all(isinstance(cell, np.ndarray) and cell.dtype.kind == "U" and cell.size < 2 for cell in cells):
            return None
        cells = np.array(["".join(cell.reshape(-1)) for cell in cells], str)
    return np.char.rstrip(cells)  # MATLAB fills rows of characters with spaces


def class_of_h5py(item: Any) -> str:
    """MATLAB's class of an array in a file of version 7.3, such as ``char``; empty if it is not MATLAB's."""
    name = item.attrs.get("MATLAB_class", b"")
    return name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)


def opaque_class(item: Any) -> str:
    """MATLAB's class of an array whose values are elsewhere in the file, such as ``categorical``; else empty."""
    return class_of_h5py(item) if "MATLAB_object_decode" in item.attrs else ""


def text_of_h5py(item: Any) -> np.ndarray | None:
    """`text_of_scipy` for an array of a file of version 7.3: UTF-16 numbers, or references to arrays of them."""
    if class_of_h5py(item) == "char":
        return _characters(item)
    texts = [_characters(item.file[each]) if each else None for each in item[()].reshape(-1)]
    found = [str(text[0]) for text in texts if text is not None and len(text) == 1]
    return np.array(found, str) if len(found) == len(texts) else None


def _characters(item: Any) -> np.ndarray | None:
    """The rows of an array of characters as text [N]; None if it is none, or its rows are too long for labels."""
    if class_of_h5py(item) != "char" or item.external is not None or item.is_virtual:
        return None
    if item.attrs.get("MATLAB_empty", 0):  # the array holds its shape instead
        return np.array([""])
    if item.dtype != np.uint16 or item.ndim != 2 or item.shape[0] > _LONGEST:
        return None
    rows = np.ascontiguousarray(item[()].T).astype("<u2")
    return np.char.rstrip(np.array([row.tobytes().decode("utf-16-le", "replace") for row in rows], str))
