"""Folders and archives of arrays: one ``.npy`` for each image, or named as in an ``.npz``, or idx files."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dcgan_jax.data.array_names import IMAGE_KEYS, Spec, check_names, choose_arrays
from dcgan_jax.data.arrays import load_chosen, to_dataset
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, NoSplitError, check_no_names, check_split
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.data.folders import check_folders, classes_of
from dcgan_jax.data.idx import read_idx
from dcgan_jax.data.label_lists import is_list
from dcgan_jax.data.labels import labelled
from dcgan_jax.data.members import File, printable, reason
from dcgan_jax.data.shards import split_of

_IDX_IMAGES = re.compile(r"idx[34]")


def has_arrays(files: Sequence[File]) -> bool:
    """Whether there is an ``.npy`` among the files."""
    return any(file.suffix == ".npy" for file in files)


def load_arrays(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    """The images of ``.npy`` files: arrays with usual names, as in an ``.npz``, or else one image in each file.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a file is damaged, or the images differ in shape or dtype.
    """
    arrays = {PurePosixPath(file.name).stem: file for file in files if file.suffix == ".npy"}
    if options.reading.images or any(key in arrays for keys in IMAGE_KEYS.values() for key in keys):
        loaded = {name: _load(path, file) for name, file in arrays.items()}
        specs = {name: Spec(array.shape, array.dtype) for name, array in loaded.items()}
        return load_chosen(path, choose_arrays(path, specs, options), loaded.__getitem__, options)
    check_split(path, options.split)
    check_no_names(path, options)
    names = [file.name for file in files if file.suffix == ".npy"]
    check_folders(path, names)
    images = _stack(path, [file for file in files if file.suffix == ".npy"])
    dataset = to_dataset(images, path, options.in_order("NHW") if images.ndim == 3 else options)
    classes = classes_of(names, [file for file in files if is_list(file)])
    notes = (*dataset.notes, *classes.notes)
    return dataset._replace(labels=classes.labels, classes=classes.names, notes=notes)


def _stack(path: Path, files: Sequence[File]) -> np.ndarray:
    """Stack the arrays of files along a new first axis. Raises: DatasetError if they differ in shape or dtype."""
    first = _load(path, files[0])
    if first.ndim not in (1, 2, 3):
        raise DatasetError(f"{path / printable(files[0].name)} has the shape {list(first.shape)}: no single image")
    check_bytes(len(files) * first.nbytes, f"the {len(files):,} arrays in {path}", "give fewer, or smaller ones")
    images = np.empty((len(files), *first.shape), first.dtype)
    for row, file in zip(images, files, strict=True):
        array = _load(path, file)
        if (array.shape, array.dtype) != (first.shape, first.dtype):
            raise DatasetError(
                f"{path / printable(file.name)} is {array.dtype} {list(array.shape)}, and {printable(files[0].name)} "
                f"{first.dtype} {list(first.shape)}: they must be of one shape and type"
            )
        row[...] = array
    return images


def _load(path: Path, file: File) -> np.ndarray:
    try:
        return np.lib.format.read_array(io.BytesIO(file.read()), allow_pickle=False)
    except Exception as error:  # whatever NumPy's parser, or the archive, raises
        raise DatasetError(f"cannot read {path / printable(file.name)} ({reason(error)})") from error


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
    labels = _labels_of(found, by_name, options.reading.labels) if options.labels else None
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


def _labels_of(images: str, files: Mapping[str, File], given: str | None) -> str | None:
    """The name of the labels' file: ``given``, or that of the images with ``labels`` and ``idx1``, gzipped or not."""
    name = images.removesuffix(".gz")
    for a, b in (("images", "labels"), ("idx3", "idx1"), ("idx4", "idx1")):
        name = name.replace(a, b)
    return next((each for each in (given, name, f"{name}.gz") if each in files), None)


def _read(path: Path, file: File) -> np.ndarray:
    name = path / printable(file.name)
    try:
        return read_idx(io.BytesIO(file.read()), name)
    except DatasetError:
        raise
    except Exception as error:  # whatever gzip, or the archive, raises
        raise DatasetError(f"{name} is no idx file of bytes, or is damaged ({reason(error)})") from error
