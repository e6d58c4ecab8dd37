"""CIFAR batches, binary and pickled, and other pickles of arrays."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dcgan_jax.data.array_names import Spec, choose_arrays
from dcgan_jax.data.arrays import load_chosen, to_dataset
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, NoSplitError, path_of, starts_with
from dcgan_jax.data.labels import labelled
from dcgan_jax.data.members import File, printable, read_file, reason
from dcgan_jax.data.safe_pickle import load_pickle

_BATCH = re.compile(r"(data_batch_\d+|test_batch)(\.bin)?|(train|test)\.bin")
_PICKLED = {"train", "test", "meta"}  # file names of CIFAR-100
_PIXELS = 3 * 32 * 32
_LABELS = {1: ("labels",), 2: ("coarse_labels", "fine_labels")}  # of a binary record, by its bytes before the pixels
_NAMES = {  # of classes, by label name: the pickle and the key that hold them
    "labels": ("batches.meta", "label_names"),
    "fine_labels": ("meta", "fine_label_names"),
    "coarse_labels": ("meta", "coarse_label_names"),
}
_TEXTS = {name: f"{key}.txt" for name, (_, key) in _NAMES.items()} | {"labels": "batches.meta.txt"}


def has_batches(files: Sequence[File]) -> bool:
    """Whether CIFAR batches are among the files."""
    names = {PurePosixPath(file.name).name for file in files}
    return any(_BATCH.fullmatch(name) for name in names) or names >= _PICKLED


def load_batches(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    """The images and classes of a split of CIFAR-10 or CIFAR-100, from all its batches.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a batch is damaged, its pickle refers to anything but numbers, text and arrays, or it has no
        labels of the name that is given.
    """
    by_name = {PurePosixPath(file.name).name: file for file in files}
    names = [name for name in by_name if _BATCH.fullmatch(name) or name in ("train", "test")]
    chosen = sorted(name for name in names if name.startswith("test") == (options.split == "test"))
    if not chosen:
        raise NoSplitError(f"{path} has no split {options.split}: it holds {', '.join(sorted(names))}")
    batches = [_read_batch(path, by_name[name]) for name in chosen]
    images = np.concatenate([batch["data"] for batch in batches]) if len(batches) > 1 else batches[0]["data"]
    dataset = to_dataset(images, path, options.in_order("NCHW"))
    usual = [name for name in ("labels", "fine_labels", "coarse_labels") if all(name in batch for batch in batches)]
    given = options.reading.labels
    if given and given not in usual:
        raise DatasetError(f"{path} holds nothing named {given} for `labels`: it has {', '.join(usual) or 'nothing'}")
    if not usual or not options.labels:
        return dataset
    name = given or usual[0]
    if not given and len(usual) > 1:
        note = f"classes are those of {usual[0]}; `labels={usual[1]}` takes {usual[1]}"
        dataset = dataset._replace(notes=(*dataset.notes, note))
    labels = np.concatenate([np.asarray(batch[name]) for batch in batches])
    return labelled(dataset, labels, f"{name} in {path}", _class_names(path, by_name, name))


def _read_batch(path: Path, file: File) -> dict[str, Any]:
    """A batch as a dictionary of ``data`` [N, 3072] and labels by name. Raises: DatasetError if it is damaged."""
    what = path / printable(file.name)
    try:
        content = file.read()
        batch = _records(content) if file.suffix == ".bin" else load_pickle(content)
        data = batch["data"]
        if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS:
            raise ValueError(f"data is no array of rows of {_PIXELS:,} bytes")
    except Exception as error:  # whatever a damaged pickle makes Python raise
        raise DatasetError(f"cannot read {what} ({reason(error)})") from error
    return batch


def _records(content: bytes) -> dict[str, np.ndarray]:
    """Parse records of one or two label bytes and 3,072 pixel bytes. Raises: ValueError if the content does not fit."""
    for count, names in _LABELS.items():
        if content and len(content) % (count + _PIXELS) == 0:
            rows = np.frombuffer(content, np.uint8).reshape(-1, count + _PIXELS)
            if rows[:, :count].max() < 100:
                return {"data": rows[:, count:], **dict(zip(names, rows[:, :count].T, strict=True))}
    raise ValueError(f"its {len(content):,} bytes are no records of {1 + _PIXELS:,} or {2 + _PIXELS:,} bytes")


def _class_names(path: Path, files: Mapping[str, File], labels: str) -> tuple[str, ...]:
    """The names of the classes from the file beside the batches; () if there is none."""
    pickled, key = _NAMES[labels]
    try:
        if _TEXTS[labels] in files:
            return tuple(filter(None, map(printable, files[_TEXTS[labels]].read().decode().split("\n"))))
        if pickled in files:
            names = load_pickle(files[pickled].read())[key]
            return tuple(printable(each.decode() if isinstance(each, bytes) else each) for each in names)
    except Exception as error:  # as in _read_batch
        raise DatasetError(f"cannot read the names of classes in {path} ({reason(error)})") from error
    return ()


def is_batch(source: str | Path) -> bool:
    """Whether a source is the path of a pickle, or of binary records of CIFAR's size."""
    path = path_of(source)
    if path is None or not path.is_file():
        return False
    if path.suffix.lower() == ".bin":
        return any(path.stat().st_size % (count + _PIXELS) == 0 for count in _LABELS) and path.stat().st_size > 0
    return path.suffix.lower() in (".pkl", ".pickle") or starts_with(path, *(bytes([128, i]) for i in range(2, 6)))


def load_batch(source: str | Path, options: LoadOptions) -> Dataset:
    """The images of a single CIFAR batch, or of a pickle of arrays: a dictionary, or a sequence of images and labels.

    Raises: as `load_batches` and `choose_arrays`.
    """
    path = Path(path_of(source) or source)
    file = File(path.name, lambda: read_file(path))
    if path.suffix.lower() == ".bin":
        return _of_one(path, file, options)
    try:
        tree = load_pickle(file.read())
    except Exception as error:  # as in _read_batch
        raise DatasetError(f"cannot read {path} ({reason(error)})") from error
    if isinstance(tree, dict) and isinstance(tree.get("data"), np.ndarray) and tree["data"].shape[1:] == (_PIXELS,):
        return _of_one(path, file, options)
    arrays = _arrays(tree)
    specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
    return load_chosen(path, choose_arrays(path, specs, options), arrays.__getitem__, options)


def _of_one(path: Path, file: File, options: LoadOptions) -> Dataset:
    if options.split != "train":
        raise NoSplitError(f"{path} has no split {options.split}: it is all for training")
    beside = [
        File(each.name, lambda each=each: read_file(each))
        for each in (path.with_name(name) for name in (*_TEXTS.values(), *(name for name, _ in _NAMES.values())))
        if each.is_file()
    ]
    return load_batches(path.parent, [File(f"data_batch_1{path.suffix.lower()}", file.read), *beside], options)


def _arrays(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a dictionary by key, of a list by index, or of a list of pairs by split, as ``train/0``."""
    if isinstance(tree, np.ndarray):
        return {"images": tree}
    if isinstance(tree, list) and len(tree) in (2, 3) and all(isinstance(each, list) for each in tree):
        splits = ("train", "test") if len(tree) == 2 else ("train", "validation", "test")
        pairs = {f"{split}/{i}": each for split, pair in zip(splits, tree, strict=True) for i, each in enumerate(pair)}
        return _arrays(pairs)
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return {str(key): array for key, value in items if (array := _as_array(value)) is not None}


def _as_array(value: Any) -> np.ndarray | None:
    if isinstance(value, list) and value and all(type(each) is type(value[0]) for each in value):
        value = np.asarray(value) if isinstance(value[0], int | float | str | bytes) else value
    return value if isinstance(value, np.ndarray) else None
