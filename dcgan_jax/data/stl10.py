"""STL-10's binary files: 96x96 pixels in colour."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dcgan_jax.data.arrays import to_dataset
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, NoSplitError, check_no_names
from dcgan_jax.data.labels import labelled
from dcgan_jax.data.members import File, printable, reason

_IMAGES = {"train": "train_X.bin", "test": "test_X.bin"}
_LABELS = {"train": "train_y.bin", "test": "test_y.bin"}  # from 1
_NAMES, _UNLABELLED = "class_names.txt", "unlabeled_X.bin"
_SHAPE = 3, 96, 96  # channels, columns, rows: as in MATLAB, columns are stored one after another


def has_stl10(files: Sequence[File]) -> bool:
    """Whether STL-10's images are among the files."""
    return any(PurePosixPath(file.name).name in _IMAGES.values() for file in files)


def load_stl10(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    """The labelled images of a split.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a file is damaged.
    """
    check_no_names(path, options)
    by_name = {PurePosixPath(file.name).name: file for file in files}
    if _IMAGES[options.split] not in by_name:
        raise NoSplitError(f"{path} has no split {options.split}: {_IMAGES[options.split]} is missing")
    pixels = _read(path, by_name[_IMAGES[options.split]])
    if not len(pixels) or len(pixels) % np.prod(_SHAPE):
        name = path / _IMAGES[options.split]
        raise DatasetError(f"{name} has {len(pixels):,} bytes, which are no images of 96x96x3: it may be cut off")
    images = pixels.reshape(-1, *_SHAPE).transpose(0, 3, 2, 1)  # [N, 96, 96, 3]
    dataset = to_dataset(images, path, options.in_order("NHWC"))
    if _UNLABELLED in by_name:
        dataset = dataset._replace(notes=(*dataset.notes, f"not used: {_UNLABELLED}, which has no classes"))
    if not options.labels or (name := _LABELS[options.split]) not in by_name:
        return dataset
    numbers = _read(path, by_name[name]).astype(np.int64) - 1
    texts = _read(path, by_name[_NAMES]).tobytes().decode("utf-8", "replace") if _NAMES in by_name else ""
    return labelled(dataset, numbers, f"{path / name}", tuple(map(printable, texts.split())))


def _read(path: Path, file: File) -> np.ndarray:
    """The bytes of a file, uint8 [N]. Raises: DatasetError if it cannot be read."""
    try:
        return np.frombuffer(file.read(), np.uint8)
    except Exception as error:  # whatever the file system or the archive raises
        raise DatasetError(f"cannot read {path / printable(file.name)} ({reason(error)})") from error
