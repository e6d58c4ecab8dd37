"""CIFAR batches, binary and pickled, those of downsampled ImageNet, and other pickles of arrays."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dcgan_jax.data.array_names import Spec, choose_arrays
from dcgan_jax.data.arrays import load_chosen, to_dataset
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, NoSplitError, path_of, starts_with
from dcgan_jax.data.labels import labelled
from dcgan_jax.data.members import File, printable, read_file, reason, unpacked
from dcgan_jax.data.safe_pickle import load_pickle

_BATCH = re.compile(r"(data_batch_\d+|test_batch)(\.bin)?|(train|test)\.bin|train_data_batch_\d+|val_data")
_TEST = ("test", "val")  # starts of file names
_PICKLED = {"train", "test", "meta"}  # file names of CIFAR-100
_MOST_SPLITS = 3
_SUFFIXES = (".pkl", ".pickle", ".pkl.gz", ".pickle.gz")
_PIXELS = 3 * 32 * 32  # of CIFAR
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
    """The images and classes of a split of CIFAR-10, CIFAR-100 or downsampled ImageNet, from all its batches.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if there are batches of several sets, one is damaged, its pickle refers to anything but numbers,
        text and arrays, or it has no labels of the name that is given.
    """
    _check_one_set(path, files)
    by_name = {PurePosixPath(file.name).name: file for file in files}
    names = [name for name in by_name if _is_batch(name)]
    chosen = sorted(name for name in names if name.startswith(_TEST) == (options.split == "test"))
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


def _is_batch(name: str) -> bool:
    return bool(_BATCH.fullmatch(name)) or name in ("train", "test")


def _check_one_set(path: Path, files: Sequence[File]) -> None:
    """Raises: DatasetError if there are batches of several sets, of several forms of one, or several of one name."""
    found: dict[tuple[str, bool], list[str]] = {}
    for file in files:
        if _is_batch(name := PurePosixPath(file.name).name):
            known = name.removesuffix(".bin")
            of = "100" if known in _PICKLED else "ImageNet" if known.startswith(("train_", "val_")) else "10"
            found.setdefault((of, file.suffix == ".bin"), []).append(file.name)
    firsts = [names[0] for names in found.values()]
    every = [name for names in found.values() for name in names]
    copies = [[each for each in every if PurePosixPath(each).name == PurePosixPath(name).name] for name in every]
    two = firsts if len(firsts) > 1 else next((each for each in copies if len(each) > 1), [])
    if two:
        raise DatasetError(
            f"{path} holds the batches of several data sets, such as {printable(two[0])} and {printable(two[1])}: give "
            "the folder or the archive of one of them"
        )


def _read_batch(path: Path, file: File) -> dict[str, Any]:
    """A batch as a dictionary of ``data`` [N, M] and labels by name. Raises: DatasetError if it is damaged."""
    what = path / printable(file.name)
    try:
        content = file.read()
        batch = _records(content) if file.suffix == ".bin" else load_pickle(content)
        if not _are_rows(batch["data"]):
            raise ValueError("data is no array of rows of the pixels of square images in colours")
    except Exception as error:  # whatever a damaged pickle makes Python raise
        raise DatasetError(f"cannot read {what} ({reason(error)})") from error
    return batch


def _are_rows(data: Any) -> bool:
    """Whether ``data`` is an array of rows of the pixels of square images in colours."""
    pixels = data.shape[1] if isinstance(data, np.ndarray) and data.ndim == 2 else 0
    return pixels > 0 and 3 * math.isqrt(pixels // 3) ** 2 == pixels


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
    return path.name.lower().endswith(_SUFFIXES) or starts_with(path, *(bytes([128, i]) for i in range(2, 6)))


def load_batch(source: str | Path, options: LoadOptions) -> Dataset:
    """The images of a single CIFAR batch, or of a pickle of arrays: a dictionary, or a sequence of images and labels.

    Raises: as `load_batches` and `choose_arrays`.
    """
    path = Path(path_of(source) or source)
    file = File(path.name, lambda: _unpacked(path))
    if path.suffix.lower() == ".bin":
        return _of_one(path, file, options)
    try:
        tree = load_pickle(file.read())
    except DatasetError:
        raise
    except Exception as error:  # as in _read_batch
        raise DatasetError(f"cannot read {path} ({reason(error)})") from error
    if isinstance(tree, dict) and _are_rows(tree.get("data")) and tree["data"].shape[1] == _PIXELS:
        return _of_one(path, file, options)
    arrays = _arrays(tree)
    specs = {name: Spec(array.shape, array.dtype) for name, array in arrays.items()}
    axes = {len(spec.shape) for spec in specs.values()}
    if max(axes, default=0) < 2 or (isinstance(tree, list) and len(tree) > _MOST_SPLITS and axes in ({2}, {3})):
        raise DatasetError(f"{path} holds {_describe(tree)}, and no images: save them as an array [N, H, W, C]")
    return load_chosen(path, choose_arrays(path, specs, options), arrays.__getitem__, options)


def _unpacked(path: Path) -> bytes:
    """The content of a file, decompressed. Raises: as `read_file`, or as `unpacked`."""
    return unpacked(io.BytesIO(read_file(path)), f"the arrays of {path}", 2, "save them as uint8 in an .npy")


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
    """The arrays of a dictionary by key, of a list by index, or of a list of pairs by split, as ``train/0``.

    Those of an image each are stacked: a list of more than three, or the first ones of pairs of an image and its label.
    Rows by class, such as the ``class_dict`` of mini-ImageNet, become labels.
    """
    if isinstance(tree, np.ndarray):
        return {"images": tree}
    if not isinstance(tree, list | dict):
        return {}
    if isinstance(tree, list) and (samples := _of_samples(tree)):
        return samples
    of_lists = isinstance(tree, list) and all(isinstance(each, list) and _as_array(each) is None for each in tree)
    if of_lists and len(tree) in (2, _MOST_SPLITS):
        splits = ("train", "test") if len(tree) == 2 else ("train", "validation", "test")
        tree = {f"{split}/{i}": each for split, pair in zip(splits, tree, strict=True) for i, each in enumerate(pair)}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    items = [(str(key), _labels_of(value) if isinstance(value, dict) else _as_array(value)) for key, value in items]
    return {key: array for key, array in items if array is not None}


def _labels_of(rows: Mapping[Any, Any]) -> np.ndarray | None:
    """The class of each row, text [N], from the numbers of the rows of each class; None if they are anything else."""
    lists = {str(name): _as_array(numbers) for name, numbers in rows.items()}
    if not lists or any(each is None or each.ndim != 1 or each.dtype.kind not in "iu" for each in lists.values()):
        return None
    numbers = np.concatenate([each for each in lists.values() if each is not None])
    names = np.repeat(list(lists), [0 if each is None else len(each) for each in lists.values()])
    order = np.argsort(numbers)
    return names[order] if np.array_equal(numbers[order], np.arange(len(numbers))) else None


def _of_samples(tree: list[Any]) -> dict[str, np.ndarray]:
    """The images, and the labels if there are any, of a list of images or of pairs; empty if it is none."""
    if all(isinstance(each, list) and len(each) == 2 and isinstance(each[0], np.ndarray) for each in tree):
        images, labels = (_as_array([each[i] for each in tree]) for i in range(2))
        if images is None or labels is None or labels.ndim != 1:
            return {}
        return {"images": images, "labels": labels}
    images = _as_array(tree) if len(tree) > _MOST_SPLITS and isinstance(tree[0], np.ndarray) else None
    return {} if images is None else {"images": images}


def _as_array(value: Any) -> np.ndarray | None:
    """An array, or a list of numbers, of texts or of equal arrays as one; None if it is anything else."""
    if not isinstance(value, list):
        return value if isinstance(value, np.ndarray) else None
    kinds = {(each.shape, each.dtype) if isinstance(each, np.ndarray) else type(each) for each in value}
    if len(kinds) != 1 or not isinstance(value[0], int | float | str | bytes | list | np.ndarray):
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):  # lists of several lengths
        return None
    return array if array.dtype.kind in "biufSU" else None


def _describe(tree: Any) -> str:
    """What the content of a pickle is, for a message, with at most three names."""
    if isinstance(tree, dict):
        parts = [f"{printable(str(key))[:40]}, {_describe(value)}" for key, value in list(tree.items())[:3]]
        return f"a dictionary of {'; '.join(parts)}{'; ...' if len(tree) > len(parts) else ''}"
    if isinstance(tree, list):
        shapes = list(dict.fromkeys(str(list(each.shape)) for each in tree if isinstance(each, np.ndarray)))
        kind = f"{type(tree[0]).__name__}s" if tree else "items"
        return f"a list of {len(tree):,} {f'arrays of {len(shapes)} shapes' if len(shapes) > 1 else kind}"
    return f"an array {list(tree.shape)}" if isinstance(tree, np.ndarray) else f"a value of type {type(tree).__name__}"
