"""Images in NumPy's files and in idx files."""

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dcgan_jax.data.common import (
    Dataset,
    DatasetError,
    LoadOptions,
    NoSplitError,
    check_split,
    path_of,
    starts_with,
    with_labels,
)
from dcgan_jax.data.fitting import check_bytes, check_memory, from_16_bits, in_pieces
from dcgan_jax.data.idx import read_idx
from dcgan_jax.errors import first_line

# The first is this project's; after Keras's names come those of programs that draw images.
_IMAGE_KEYS = {
    "train": ("images", "x_train", "train_images", "samples", "x", "arr_0"),
    "test": ("test_images", "x_test"),
}
_LABEL_KEYS = {"train": ("labels", "y_train", "train_labels"), "test": ("test_labels", "y_test")}
_LEAST_OF_SIGNED = -0.5  # pixels of [-1, 1] go below it; those of [0, 1] that were resized only just below 0


def is_array_file(source: str | Path) -> bool:
    """Whether it is the path of an ``.npy`` or an ``.npz``, or of a file that starts as an idx file does or a gzip."""
    path = path_of(source)
    if path is None or not path.is_file():
        return False
    return path.suffix in (".npy", ".npz") or starts_with(path, b"\x00\x00", b"\x1f\x8b")


def load_array_file(source: str | Path, options: LoadOptions) -> Dataset:
    """Images from an ``.npy``, an ``.npz`` or an idx file, and labels where they are beside them.

    Args:
      source: an ``.npz`` has the images as ``images``, ``x_train``, ``train_images``, ``samples``, ``x`` or ``arr_0``,
        or as its only array, and the labels as ``labels``, ``y_train`` or ``train_labels``. An idx file has its labels
        in the file of the same name with ``labels`` and ``idx1``; either may be gzipped.
      options: the split ``test`` takes ``x_test`` and ``y_test`` of an ``.npz``.

    Raises:
      NoSplitError: if it has no such split.
      DatasetError: if they are not images, or cannot be told to be, or the labels are not one for each.
    """
    path = Path(path_of(source) or source)
    if path.suffix != ".npz":
        check_split(path, options.split)
    try:
        if path.suffix == ".npy":
            return _to_dataset(_load_npy(path), path)
        if path.suffix == ".npz":
            return _read_npz(path, options.split, options.labels)
        return _read_idx(path, options.labels)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from error


def _load_npy(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # the header's parser raises whatever Python's tokenizer does
        raise DatasetError(_not_an_array(path, error)) from error


def _of_objects(error: Exception) -> bool:
    return any(text in str(error) for text in ("Object arrays", "Python objects"))


def _not_an_array(path: Path, error: Exception) -> str:
    if _of_objects(error):
        return f"{path} holds Python objects, perhaps images of several shapes: save one array of numbers [N, H, W, C]"
    return f"{path} is no file of NumPy's, or is damaged ({first_line(error)})"


def _read_npz(path: Path, split: str, with_labels: bool) -> Dataset:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = arrays.files
            found = [name for name in _IMAGE_KEYS[split] if name in names]
            if not found and split == "train" and len(names) == 1:
                found = names
            if not found:
                kind = DatasetError if split == "train" else NoSplitError
                raise kind(
                    f"{path} holds the arrays {', '.join(names) or 'none'}: name the images "
                    f"{' or '.join(_IMAGE_KEYS[split])}"
                )
            labels = [name for name in _LABEL_KEYS[split] if name in names and with_labels]
            # Before NumPy allocates what a small file may expand to.
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in arrays.zip.infolist()}
            expanded = sum(sizes[name] for name in [*found[:1], *labels[:1]])
            check_bytes(expanded, f"the arrays of {path}", "save fewer, or as uint8 in an .npy")
            dataset = _to_dataset(arrays[found[0]], path)
            if not labels:
                return dataset
            return _labelled(dataset, _read_labels(arrays, labels[0], path), f"{labels[0]} in {path}")
    except (DatasetError, OSError, zipfile.BadZipFile):
        raise
    except Exception as error:  # as above
        raise DatasetError(_not_an_array(path, error)) from error


def _read_labels(arrays: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    try:
        return arrays[name]
    except ValueError as error:
        if _of_objects(error):
            raise DatasetError(f"{name} in {path} holds Python objects: save labels as integers or text") from error
        raise


def _read_idx(path: Path, with_labels: bool) -> Dataset:
    images = _open_idx(path)
    dataset = _to_dataset(images[..., None] if images.ndim == 3 else images, path)  # idx files have no other order
    name = path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    if name == path.name or not with_labels:
        return dataset
    other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
    for beside in (path.with_name(name), path.with_name(other)):
        if beside.exists():
            return _labelled(dataset, _open_idx(beside), str(beside))
    return dataset


def _open_idx(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return read_idx(file, path)
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{path} is no idx file of bytes, or is damaged ({error})") from error


def _labelled(dataset: Dataset, labels: np.ndarray, what: str) -> Dataset:
    """The images with these labels: integers or text, [N] or [N, 1], or one-hot [N, K]."""
    n, shape = len(dataset.images), list(labels.shape)
    if labels.ndim not in (1, 2) or shape[0] != n:
        raise DatasetError(f"{what} has labels of shape {shape} for {n:,} images: one each is needed")
    if labels.ndim == 2 and shape[1] != 1:
        if not _is_one_hot(labels):
            raise DatasetError(
                f"{what} has labels of shape {shape} that are not one-hot, a single 1 and zeros in each row: save the "
                f"number of each image's class, of shape [{n}]"
            )
        labels = np.asarray(labels.argmax(-1))
    if not np.issubdtype(labels.dtype, np.integer) and not np.issubdtype(labels.dtype, np.str_):
        raise DatasetError(f"{what}: labels must be integers or text, got {labels.dtype}")
    return with_labels(dataset.images, labels.reshape(-1), notes=dataset.notes)


def _is_one_hot(rows: np.ndarray) -> bool:
    return bool(((rows == 1).sum(-1) == 1).all() and ((rows == 0).sum(-1) == rows.shape[1] - 1).all())


def _to_dataset(array: np.ndarray, path: Path) -> Dataset:
    images, notes = _to_images(array, path)
    return Dataset(images, notes=notes)


def _to_images(array: np.ndarray, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """uint8 [N, H, W, 1 or 3], and what was done."""
    notes = []
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise DatasetError(f"{path}: images must be numbers, got {array.dtype}")
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] < 16):
        raise DatasetError(
            f"{path} holds an array of shape {list(array.shape)}: labels, perhaps, and no images [N, H, W, C]"
        )
    if array.ndim == 2 and _is_one_hot(array[:1000]):  # no images have a single white pixel each
        raise DatasetError(f"{path} holds rows of zeros and a single 1: one-hot labels, perhaps, and no images")
    if _may_be_one_image(array.shape):
        raise DatasetError(
            f"{path} holds an array of shape {list(array.shape)}, which may be one image: save it as [N, H, W, C], one "
            "image as [1, H, W, C], and grey ones as [N, H, W, 1]"
        )
    if array.ndim == 2:
        side = math.isqrt(array.shape[1])
        colours = math.isqrt(array.shape[1] // 3)
        if side * side == array.shape[1]:
            array = array.reshape(-1, side, side)
        elif 3 * colours * colours == array.shape[1]:
            array = array.reshape(-1, 3, colours, colours)
        else:
            raise DatasetError(
                f"{path}: rows of {array.shape[1]:,} numbers are no square images: save them as [N, H, W, C]"
            )
        notes.append(f"rows of numbers taken as images of shape {list(array.shape[1:])}")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        raise DatasetError(f"{path}: images must be [N, H, W, C] or [N, H, W], got {list(array.shape)}")
    if array.shape[-1] not in (1, 3) and array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
        notes.append("channels moved from the second axis to the last")
    n, height, width, channels = array.shape
    if channels not in (1, 3):
        raise DatasetError(
            f"{path}: images must have 1 or 3 channels, got {channels}: leave out the transparency, perhaps"
        )
    if not n or min(height, width) < 4:
        raise DatasetError(f"{path} holds {n:,} images of {height}x{width}: at least one of at least 4x4 is needed")
    check_memory(n, (height, width), channels, path)
    return in_pieces(_conversion(array, path, notes), array, array.shape[1:]), tuple(notes)


def _may_be_one_image(shape: tuple[int, ...]) -> bool:
    """Whether an array's shape, [N, H W] or [N, H, W] elsewhere, may as well be [H, W], [H, W, C] or [C, H, W]."""
    if len(shape) != 3:
        return len(shape) == 2 and shape[0] == shape[1]
    channels_last = shape[-1] in (1, 3, 4) and min(shape[:-1]) > shape[-1]
    channels_first = shape[0] in (3, 4) and min(shape[1:]) > shape[0]  # [1, H, W] is the same image either way
    return channels_last or channels_first


def _conversion(array: np.ndarray, path: Path, notes: list[str]) -> Callable[[np.ndarray], np.ndarray]:
    """How values become those of bytes, by the range that they have in ``array``."""
    if array.dtype == np.bool_:
        notes.append("true and false taken as white and black")
        return lambda some: some * np.uint8(255)
    low, high = float(array.min()), float(array.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise DatasetError(f"{path} has numbers that are NaN or infinite")
    if low == high:
        raise DatasetError(f"{path}: all pixels are {low:g}: there is nothing to learn")
    if np.issubdtype(array.dtype, np.integer):
        if low >= 0 and 1 < high <= 255:
            return lambda some: some
        if low >= 0 and array.dtype == np.uint16:
            notes.append("16 bits a pixel rounded to 8")
            return from_16_bits
        remedy = "multiply by 255" if (low, high) == (0, 1) else "scale them so"
        raise DatasetError(f"{path}: integer pixels must be from 0 to 255, got {low:g} to {high:g}: {remedy}")
    if low >= 0 and high <= 1:
        scale, offset = 255.0, 0.0
    elif -1 <= low < _LEAST_OF_SIGNED and high <= 1:
        scale, offset = 127.5, 1.0
        notes.append("[-1, 1] taken as black to white")
    elif low >= 0 and 1.5 < high <= 255:
        scale, offset = 1.0, 0.0
        notes.append("[0, 255] taken as black to white")
    else:
        remedy = "clip them to [0, 1]" if low >= _LEAST_OF_SIGNED and high <= 1.5 else "scale them so"
        raise DatasetError(
            f"{path}: pixels must be in [0, 1], [-1, 1] or [0, 255], got {low:.6g} to {high:.6g}: {remedy}"
        )
    return lambda some: np.rint((some.astype(np.float64) + offset) * scale)
