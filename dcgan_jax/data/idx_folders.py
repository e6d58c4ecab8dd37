"""Folders and archives of idx files."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dcgan_jax.data.array_names import check_names
from dcgan_jax.data.arrays import to_dataset
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, NoSplitError
from dcgan_jax.data.idx import label_names, read_idx
from dcgan_jax.data.labels import labelled
from dcgan_jax.data.members import File, printable, reason
from dcgan_jax.data.shards import split_of

_IDX_IMAGES = re.compile(r"idx[34]")


def has_idx(files: Sequence[File]) -> bool:
    """Whether there is an idx file of images among the files."""
    return any(_is_idx(file) for file in files)


def load_idx(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    """The images of the idx file of a split, gzipped or not, with the labels of the file of the corresponding name.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if several files may hold the images, or one is damaged.
    """
    by_name = {file.name: file for file in files}
    found = _choose_idx(path, by_name, options)
    possible = filter(None, (options.reading.labels, *label_names(found))) if options.labels else ()
    labels = next((name for name in possible if name in by_name), None)
    array = _read(path, by_name[found])
    numbers = _read(path, by_name[labels]) if labels else None
    name = path / printable(found)
    dataset = to_dataset(array, name, options.in_order("NHW") if array.ndim == 3 else options, numbers)
    return dataset if numbers is None else labelled(dataset, numbers, f"{path / printable(str(labels))}")


def _choose_idx(path: Path, files: Mapping[str, File], options: LoadOptions) -> str:
    """The name of the file with the images of a split. Raises: as `load_idx`."""
    names = [name for name, file in files.items() if _is_idx(file)]
    names = [name for name in names if not (name.endswith(".gz") and name.removesuffix(".gz") in names)]
    check_names(path, options.reading._replace(labels=None), names)
    check_names(path, options.reading._replace(images=None), [name for name in files if name not in names])
    splits = {name: "test" if "t10k" in name else split_of(name) or "train" for name in names}
    if options.reading.images:
        splits = {options.reading.images: "train"}
    chosen = [name for name, split in splits.items() if split == options.split]
    if not chosen:
        raise NoSplitError(f"{path} has no split {options.split}: it has {', '.join(map(printable, names))}")
    if len(chosen) > 1:
        first, *others = map(printable, chosen)
        raise DatasetError(
            f"{path} holds {len(chosen)} idx files of images, {', '.join([first, *others])}: choose one with "
            f"`images={first}`"
        )
    return chosen[0]


def _is_idx(file: File) -> bool:
    name = PurePosixPath(file.name).name
    return bool(_IDX_IMAGES.search(name)) and file.suffix in ("", ".gz", ".idx3-ubyte", ".idx4-ubyte")


def _read(path: Path, file: File) -> np.ndarray:
    name = path / printable(file.name)
    try:
        return read_idx(io.BytesIO(file.read()), name)
    except DatasetError:
        raise
    except Exception as error:  # whatever gzip, or the archive, raises
        raise DatasetError(f"{name} is no idx file of bytes, or is damaged ({reason(error)})") from error
