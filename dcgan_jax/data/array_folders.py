"""Folders and archives of ``.npy`` files: one for each image or set of images, or arrays as in an ``.npz``."""

import functools
import itertools
import math
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from dcgan_jax.data.array_names import IMAGE_KEYS, LABEL_KEYS, Spec, are_named, check_names, choose_arrays, is_one_of
from dcgan_jax.data.arrays import if_needed, load_chosen, to_dataset
from dcgan_jax.data.common import SPLITS, Dataset, DatasetError, LoadOptions, NoSplitError, check_no_names, check_split
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.data.folders import Classes, check_folders, classes_of, find_lists
from dcgan_jax.data.layouts import are_sets, may_be_rows
from dcgan_jax.data.mapped import copy_images
from dcgan_jax.data.members import File, FindFiles, no_files, printable, reason, some
from dcgan_jax.data.npy import not_an_array, open_npy, read_spec
from dcgan_jax.data.shards import split_of

# Usual names, but for those that may be anything's.
_USUAL = {key for keys in (IMAGE_KEYS, LABEL_KEYS) for each in keys.values() for key in each} - {"x", "y", "arr_0"}


def has_arrays(files: Sequence[File]) -> bool:
    """Whether there is an ``.npy`` among the files."""
    return any(file.suffix == ".npy" for file in files)


def load_arrays(path: Path, files: Sequence[File], options: LoadOptions, beside: FindFiles = no_files) -> Dataset:
    """The images of ``.npy`` files: arrays with usual names, as in an ``.npz``, or else sets of images, or images.

    A single file is read as it would be alone.

    Args:
      path: the folder or the archive, for messages.
      files: its files.
      options: how to read them.
      beside: finds the files of another split, from which the value range is inferred too.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a file is damaged, or the images differ in shape or dtype.
    """
    arrays = _by_name([file for file in files if file.suffix == ".npy"])
    if len(arrays) == 1:
        check_split(path, options.split)
        check_names(path, options.reading, list(arrays))
        (file,) = arrays.values()
        array = _load(path, file)
        others = if_needed(array, options, lambda: _beside(path, beside(), options))
        return to_dataset(array, path / printable(file.name), options, others=others)
    specs = {name: _spec(path, file) for name, file in arrays.items()}
    if options.reading.images or are_named(specs):
        return _load_named(path, arrays, specs, options, beside)
    check_no_names(path, options)
    shapes = [spec.shape for spec in specs.values()]
    lists = find_lists(list(arrays), files)
    if are_sets(shapes, options.reading.layout):
        return _load_sets(path, arrays, specs, lists, options, beside)
    if any(len(spec.shape) < 2 for spec in specs.values()) and len(set(specs.values())) > 1:
        choose_arrays(path, specs, options)  # raises, and names what may be images
    check_split(path, options.split)
    check_folders(path, [file.name for file in arrays.values()])
    dataset = load_single_arrays(path, list(arrays.values()), options, lambda names: classes_of(names, lists), beside)
    return dataset._replace(notes=(*dataset.notes, *_doubt(shapes[0], options.reading.layout)))


def load_single_arrays(
    path: Path,
    files: Sequence[File],
    options: LoadOptions,
    find_classes: Callable[[list[str]], Classes],
    beside: FindFiles = no_files,
) -> Dataset:
    """The images of ``.npy`` files with one image each. Args: as `load_arrays`.

    ``find_classes`` takes the names of the files.

    Raises:
      DatasetError: if a file is damaged, or the images differ in shape or dtype.
    """
    arrays = {file.name: file for file in files}
    specs = {name: _spec(path, file) for name, file in arrays.items()}
    images = _stack(path, arrays, specs)
    others = if_needed(images, options, lambda: _beside(path, beside(), options))
    dataset = to_dataset(images, path, options.in_order("NHW") if images.ndim == 3 else options, others=others)
    classes = find_classes(list(arrays))
    return dataset._replace(labels=classes.labels, classes=classes.names, notes=(*dataset.notes, *classes.notes))


def _load_named(
    path: Path, arrays: Mapping[str, File], specs: Mapping[str, Spec], options: LoadOptions, beside: FindFiles
) -> Dataset:
    """The images of `choose_arrays`, with the value range of another split's too. Raises: as `load_arrays`."""
    choice = choose_arrays(path, specs, options)
    if choice.others:
        return load_chosen(path, choice, lambda name: _load(path, arrays[name]), options)
    others = if_needed(_load(path, arrays[choice.images]), options, lambda: _beside(path, beside(), options))
    read = {f"another split/{i}": (lambda each=each: each) for i, each in enumerate(others)}
    choice = choice._replace(others=tuple(read))
    read |= {name: functools.partial(_load, path, file) for name, file in arrays.items()}
    return load_chosen(path, choice, lambda name: read[name](), options)


def _beside(path: Path, files: Sequence[File], options: LoadOptions) -> list[np.ndarray]:
    """The images of another split's files, as `load_arrays` takes them; none if it has none. Raises: as it."""
    arrays = _by_name([file for file in files if file.suffix == ".npy"])
    specs = {name: _spec(path, file) for name, file in arrays.items()}
    if len(arrays) < 2:
        return [_load(path, file) for file in arrays.values()]
    if options.reading.images or are_named(specs):
        return [_load(path, arrays[choose_arrays(path, specs, options._replace(split="train")).images])]
    sets = are_sets([spec.shape for spec in specs.values()], options.reading.layout)
    return [(_join if sets else _stack)(path, arrays, specs)]


def as_arrays(files: Sequence[File]) -> Sequence[File]:
    """The files, with each ``.npz`` as the ``.npy`` in it, if there are several, and each holds a single array."""
    archives = [file for file in files if file.suffix == ".npz"]
    if len(archives) < 2 or not all(len(_members_of(file)) == 1 for file in archives):
        return files
    return [_array_in(file) if file.suffix == ".npz" else file for file in files]


def _members_of(file: File) -> list[str]:
    """The names of the arrays in an ``.npz``; none if it cannot be read."""
    try:
        with file.open() as opened, zipfile.ZipFile(opened) as archive:
            return archive.namelist()
    except Exception:  # whatever zipfile, or the archive, raises: that it is damaged is said when it is read
        return []


def _array_in(file: File) -> File:
    """The only array of an ``.npz``, under its name."""

    def read() -> bytes:
        with file.open() as opened, zipfile.ZipFile(opened) as archive:
            (info,) = archive.infolist()
            check_bytes(info.file_size, f"the array in {file.name}", "give fewer, or smaller ones")
            return archive.read(info)

    return File(f"{file.name.removesuffix('.npz')}.npy", read)


def _by_name(files: Sequence[File]) -> dict[str, File]:
    """Files by their paths below the folders that all share, without suffixes.

    Without the first words that all share, too, if that gives usual names: ``k49-train-labels`` is ``train-labels``.
    """
    named = _by_path(files)
    if len(named) < 2 or any(is_one_of(name, (*_USUAL, "x", "y")) or "/" in name for name in named):
        return named
    words = [re.split(r"(?<=[-_. ])", name)[:-1] for name in named]
    shared = itertools.takewhile(lambda word: split_of(word) is None, os.path.commonprefix(words))
    length = len("".join(shared))
    short = {name[length:]: file for name, file in named.items()}
    return short if any(is_one_of(name, _USUAL) for name in short) else named


def _by_path(files: Sequence[File]) -> dict[str, File]:
    """Files by their paths below the folders that all share, without suffixes."""
    parents = [PurePosixPath(file.name).parent.parts for file in files]
    shared = len(os.path.commonprefix(parents))
    paths = [PurePosixPath(*PurePosixPath(file.name).parts[shared:]) for file in files]
    return {path.with_suffix("").as_posix(): file for path, file in zip(paths, files, strict=True)}


def _load_sets(
    path: Path,
    arrays: Mapping[str, File],
    specs: Mapping[str, Spec],
    lists: Sequence[File],
    options: LoadOptions,
    beside: FindFiles,
) -> Dataset:
    """The images of files that hold a set each, one after the other; the class is the file, or its folder.

    Raises: as `load_arrays`.
    """
    splits = {name: split_of(name) or "" for name in arrays}
    by_split = "" not in splits.values() and len(set(splits.values())) > 1
    others: Mapping[str, File] = {}
    if by_split:
        others = {name: file for name, file in arrays.items() if splits[name] in {*SPLITS} - {options.split}}
        arrays = {name: file for name, file in arrays.items() if splits[name] == options.split}
        if not arrays:
            raise NoSplitError(f"{path} has no split {options.split}: it has {', '.join(sorted(set(splits.values())))}")
    else:
        check_split(path, options.split)
    names = [file.name for file in arrays.values()]
    check_folders(path, names)
    counts = [specs[name].shape[0] for name in arrays]
    images = _join(path, arrays, specs)
    of_others = if_needed(
        images, options, lambda: [_join(path, others, specs)] if others else _beside(path, beside(), options)
    )
    few = images.ndim == 3 and len(images) in (3, 4)  # as the channels of one image
    dataset = to_dataset(images, path, options.in_order("NHW") if few else options, others=of_others)
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


def _join(path: Path, arrays: Mapping[str, File], specs: Mapping[str, Spec]) -> np.ndarray:
    """The sets of images of files, one after the other. Raises: DatasetError if they are not alike."""
    _check_alike(path, arrays, specs, 1)
    counts = [specs[name].shape[0] for name in arrays]
    first = specs[next(iter(arrays))]
    shape = (sum(counts), *first.shape[1:])
    _check_size(path, len(arrays), math.prod(shape) * first.dtype.itemsize)
    images = np.empty(shape, first.dtype)
    for file, end, count in zip(arrays.values(), np.cumsum(counts), counts, strict=True):
        copy_images(_load(path, file), images[end - count : end])
    return images


def _stack(path: Path, arrays: Mapping[str, File], specs: Mapping[str, Spec]) -> np.ndarray:
    """Stack the arrays of files along a new first axis. Raises: DatasetError if they are not alike, or no images."""
    _check_alike(path, arrays, specs, 0)
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
        return file.open()
    except Exception as error:  # whatever the archive raises
        raise DatasetError(f"cannot read {path / printable(file.name)} ({reason(error)})") from error
