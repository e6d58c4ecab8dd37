"""Folders and archives of arrays: an ``.npy`` for each image or set of images, or as in an ``.npz``, or idx files."""

import io
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from dcgan_jax.data.array_names import Spec, are_named, check_names, choose_arrays, some
from dcgan_jax.data.arrays import load_chosen, not_an_array, open_npy, read_spec, to_dataset
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, NoSplitError, check_no_names, check_split
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.data.folders import Classes, check_folders, classes_of
from dcgan_jax.data.idx import label_names, read_idx
from dcgan_jax.data.label_lists import is_list
from dcgan_jax.data.labels import labelled
from dcgan_jax.data.layouts import are_sets, may_be_rows
from dcgan_jax.data.mapped import copy_images
from dcgan_jax.data.members import File, printable, reason
from dcgan_jax.data.shards import split_of

_IDX_IMAGES = re.compile(r"idx[34]")


def has_arrays(files: Sequence[File]) -> bool:
    """Whether there is an ``.npy`` among the files."""
    return any(file.suffix == ".npy" for file in files)


def load_arrays(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    """The images of ``.npy`` files: arrays with usual names, as in an ``.npz``, or else sets of images, or images.

    A single file is read as it would be alone.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a file is damaged, or the images differ in shape or dtype.
    """
    arrays = _by_name([file for file in files if file.suffix == ".npy"])
    if len(arrays) == 1:
        check_split(path, options.split)
        check_names(path, options.reading, list(arrays))
        (file,) = arrays.values()
        return to_dataset(_load(path, file), path / printable(file.name), options)
    specs = {name: _spec(path, file) for name, file in arrays.items()}
    if options.reading.images or are_named(specs):
        return load_chosen(path, choose_arrays(path, specs, options), lambda name: _load(path, arrays[name]), options)
    check_no_names(path, options)
    shapes = [spec.shape for spec in specs.values()]
    lists = [file for file in files if is_list(file)]
    if are_sets(shapes, options.reading.layout):
        return _load_sets(path, arrays, specs, lists, options)
    check_split(path, options.split)
    check_folders(path, [file.name for file in arrays.values()])
    dataset = load_single_arrays(path, list(arrays.values()), options, lambda names: classes_of(names, lists))
    return dataset._replace(notes=(*dataset.notes, *_doubt(shapes[0], options.reading.layout)))


def load_single_arrays(
    path: Path, files: Sequence[File], options: LoadOptions, find_classes: Callable[[list[str]], Classes]
) -> Dataset:
    """The images of ``.npy`` files with one image each; ``find_classes`` takes the names of the files.

    Raises:
      DatasetError: if a file is damaged, or the images differ in shape or dtype.
    """
    arrays = {file.name: file for file in files}
    specs = {name: _spec(path, file) for name, file in arrays.items()}
    _check_alike(path, arrays, specs, 0)
    images = _stack(path, arrays, specs)
    dataset = to_dataset(images, path, options.in_order("NHW") if images.ndim == 3 else options)
    classes = find_classes(list(arrays))
    return dataset._replace(labels=classes.labels, classes=classes.names, notes=(*dataset.notes, *classes.notes))


def _by_name(files: Sequence[File]) -> dict[str, File]:
    """Files by their paths below the folders that all share, without suffixes."""
    parents = [PurePosixPath(file.name).parent.parts for file in files]
    shared = len(os.path.commonprefix(parents))
    paths = [PurePosixPath(*PurePosixPath(file.name).parts[shared:]) for file in files]
    return {path.with_suffix("").as_posix(): file for path, file in zip(paths, files, strict=True)}


def _load_sets(
    path: Path, arrays: Mapping[str, File], specs: Mapping[str, Spec], lists: Sequence[File], options: LoadOptions
) -> Dataset:
    """The images of files that hold a set each, one after the other; the class is the file, or its folder.

    Raises: as `load_arrays`.
    """
    splits = {name: split_of(name) or "" for name in arrays}
    by_split = "" not in splits.values() and len(set(splits.values())) > 1
    if by_split:
        arrays = {name: file for name, file in arrays.items() if splits[name] == options.split}
        if not arrays:
            raise NoSplitError(f"{path} has no split {options.split}: it has {', '.join(sorted(set(splits.values())))}")
    else:
        check_split(path, options.split)
    names = [file.name for file in arrays.values()]
    check_folders(path, names)
    _check_alike(path, arrays, specs, 1)
    counts = [specs[name].shape[0] for name in arrays]
    first = specs[next(iter(arrays))]
    shape = (sum(counts), *first.shape[1:])
    _check_size(path, len(arrays), math.prod(shape) * first.dtype.itemsize)
    images = np.empty(shape, first.dtype)
    for file, end, count in zip(arrays.values(), np.cumsum(counts), counts, strict=True):
        copy_images(_load(path, file), images[end - count : end])
    few = images.ndim == 3 and len(images) in (3, 4)  # as the channels of one image
    dataset = to_dataset(images, path, options.in_order("NHW") if few else options)
    taken = f"each of {len(arrays):,} files taken as a set of images"
    if len(names) == 1:
        classes = Classes()
    elif len({name.rpartition("/")[0] for name in names}) == 1 and not lists:
        stems = [PurePosixPath(name).stem for name in names]
        stems = tuple(printable(_without_split(stem) if by_split else stem) for stem in stems)
        classes = Classes(np.arange(len(names), dtype=np.int32), stems)
        taken += f", and its name as their class: {some(stems)}"
    else:
        classes = classes_of(names, lists)
    labels = None if classes.labels is None else np.repeat(classes.labels, counts)
    return dataset._replace(labels=labels, classes=classes.names, notes=(*dataset.notes, taken, *classes.notes))


def _without_split(stem: str) -> str:
    """A name without the words that give its split, so that a class has one name in all splits."""
    words = [word for word in stem.split("_") if split_of(word) is None]
    return "_".join(words) or stem


def _doubt(shape: tuple[int, ...], layout: str | None) -> tuple[str, ...]:
    """A note if files of this shape, each taken as one image, may each hold a set; else ()."""
    if len(shape) == 3 and shape[0] in (3, 4) and shape[2] > 4 and layout is None:
        return (f"each file, of shape {list(shape)}, taken as one image; `layout=NHW` says otherwise",)
    if len(shape) == 2 and shape[0] != shape[1] and may_be_rows(shape):
        return (f"each file, of shape {list(shape)}, taken as one image, and not as rows of pixels",)
    return ()


def _check_alike(path: Path, arrays: Mapping[str, File], specs: Mapping[str, Spec], axis: int) -> None:
    """Raises: DatasetError if arrays differ in dtype, or in shape from an axis on, or hold Python objects."""
    (first, of), *_ = all_of = [(file, specs[name]) for name, file in arrays.items()]
    for file, spec in all_of:
        if spec.dtype.hasobject:
            _load(path, file)  # raises
        if (spec.shape[axis:], spec.dtype) != (of.shape[axis:], of.dtype):
            raise DatasetError(
                f"{path / printable(file.name)} is {spec.dtype} {list(spec.shape)}, and {printable(first.name)} "
                f"{of.dtype} {list(of.shape)}: they must be of one shape and type"
            )


def _stack(path: Path, arrays: Mapping[str, File], specs: Mapping[str, Spec]) -> np.ndarray:
    """Stack the arrays of files, all alike, along a new first axis. Raises: DatasetError if they are no images."""
    name, first = next(iter(specs.items()))
    if len(first.shape) not in (1, 2, 3):
        file = path / printable(arrays[name].name)
        raise DatasetError(
            f"{file} has the shape {list(first.shape)}: no single image, nor a set of images [N, H, W, C]"
        )
    shape = (len(arrays), *first.shape)
    _check_size(path, len(arrays), math.prod(shape) * first.dtype.itemsize)
    images = np.empty(shape, first.dtype)
    for row, file in zip(images, arrays.values(), strict=True):
        row[...] = _load(path, file)
    return images


def _check_size(path: Path, count: int, size: int) -> None:
    check_bytes(size, f"the {count:,} arrays in {path}", "give fewer, or smaller ones")


def _spec(path: Path, file: File) -> Spec:
    """The shape and the dtype of an array; of a file in a folder, only the header is read."""
    with _open(path, file) as opened:
        try:
            return read_spec(opened)
        except Exception as error:  # whatever NumPy's parser raises
            raise DatasetError(not_an_array(path / printable(file.name), error)) from error


def _load(path: Path, file: File) -> np.ndarray:
    """An array; that of a file in a folder is memory-mapped, as it may be large."""
    with _open(path, file) as opened:
        if file.path is not None:
            return open_npy(file.path)
        try:
            return np.lib.format.read_array(opened, allow_pickle=False)
        except Exception as error:  # as in _spec
            raise DatasetError(not_an_array(path / printable(file.name), error)) from error


def _open(path: Path, file: File) -> IO[bytes]:
    try:
        if file.path is None:
            return io.BytesIO(file.read())
        if not file.path.is_file():  # a broken link, or a pipe, which may block
            raise OSError("no file")
        return file.path.open("rb")
    except Exception as error:  # whatever the archive raises
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
