"""Images in ``.npy``, ``.npz`` and idx files."""

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from dcgan_jax.data.array_names import Choice, Spec, choose_arrays
from dcgan_jax.data.common import (
    Dataset,
    DatasetError,
    Found,
    LoadOptions,
    check_no_names,
    check_split,
    path_of,
    starts_with,
)
from dcgan_jax.data.fitting import check_bytes, check_memory, in_pieces
from dcgan_jax.data.idx import label_names, read_idx
from dcgan_jax.data.labels import class_values, labelled
from dcgan_jax.data.layouts import to_nhwc
from dcgan_jax.data.mapped import pieces
from dcgan_jax.data.npy import not_an_array, of_objects, open_npy, read_spec, unpack_npy
from dcgan_jax.data.transparency import on_white, opacity_range, transparent_images, with_alpha
from dcgan_jax.data.value_range import DARK, ValueRange, given_range, known_range
from dcgan_jax.errors import first_line

_INT8 = np.iinfo(np.int8)


def is_array_file(source: str | Path) -> bool:
    """Whether a source is the path of an ``.npy`` or ``.npz`` file, or of one that starts like an idx or gzip file."""
    path = path_of(source)
    if path is None or not path.is_file():
        return False
    if path.name.lower().endswith((".tgz", ".tar.gz")):
        return False
    return path.suffix.lower() in (".npy", ".npz") or starts_with(path, b"\x00\x00", b"\x1f\x8b")


def load_array_file(source: str | Path, options: LoadOptions) -> Dataset:
    """Images from an ``.npy``, ``.npz`` or idx file, and their labels if it has any.

    Args:
      source: an ``.npz`` has the images as ``images``, ``x_train``, ``train_images``, ``samples``, ``x`` or ``arr_0``,
        or as the only array that may be, and the labels as ``labels``, ``y_train``, ``train_labels`` or ``y``, in
        small letters or capitals. An idx file has its labels in the file of the same name with ``labels`` and
        ``idx1``; either may be gzipped.
      options: the split ``test`` is ``x_test`` and ``y_test``, or ``test_images`` and ``test_labels``, of an ``.npz``.
        The value range is inferred from both splits.

    Raises:
      NoSplitError: if it has no such split.
      DatasetError: if the file is damaged, the images are not found or ambiguous, or there is not one label for each.
    """
    path = Path(path_of(source) or source)
    suffix = path.suffix.lower()
    if suffix != ".npz":
        check_split(path, options.split)
        check_no_names(path, options)
    try:
        if path.name.lower().endswith((".npy", ".npy.gz")):
            return to_dataset(open_npy(path) if suffix == ".npy" else unpack_npy(path), path, options)
        if suffix == ".npz":
            return _read_npz(path, options)
        return _read_idx(path, options)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"cannot read {path} ({getattr(error, 'strerror', None) or first_line(error)})") from error


def _read_npz(path: Path, options: LoadOptions) -> Dataset:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            specs = {name: _spec(arrays, name) for name in arrays.files}
            choice = choose_arrays(path, specs, options)
            # Checked before NumPy allocates: a small file may expand to far more.
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in arrays.zip.infolist()}
            check_bytes(
                sum(sizes[name] for name in (choice.images, *choice.others, *filter(None, [choice.labels]))),
                f"the arrays of {path}",
                "save fewer, or as uint8 in an .npy",
            )
            return load_chosen(path, choice, lambda name: _read_array(arrays, name, path, choice), options)
    except (DatasetError, OSError, zipfile.BadZipFile):
        raise
    except Exception as error:  # as in open_npy
        raise DatasetError(not_an_array(path, error)) from error


def _spec(arrays: Any, name: str) -> Spec:
    """The shape and the dtype of an array from its header; shape () if that cannot be read."""
    try:
        with arrays.zip.open(f"{name}.npy") as file:
            return read_spec(file)
    except Exception:  # as in open_npy; reading the array reports the error
        return Spec((), np.dtype(object))


def _read_array(arrays: Mapping[str, np.ndarray], name: str, path: Path, choice: Choice) -> np.ndarray:
    try:
        return arrays[name]
    except ValueError as error:
        if name == choice.labels and of_objects(error):
            raise DatasetError(f"{name} in {path} holds Python objects: save labels as integers or text") from error
        raise


def load_chosen(
    path: Path, choice: Choice, read: Callable[[str], np.ndarray], options: LoadOptions, from_one: bool = False
) -> Dataset:
    """Load a data set from the chosen arrays.

    Labels that are no classes are refused if they were chosen by name, and are not used if not.

    Args:
      path: the file, for messages.
      choice: the names of the arrays.
      read: reads the array of a name.
      options: as for `to_dataset`; ``reading.labels`` is the name that was given.
      from_one: whether the program that wrote the file counts from 1, as MATLAB does.

    Raises:
      DatasetError: as `to_dataset` and `labelled`.
    """
    given = None if choice.labels is None else np.asarray(read(choice.labels))
    names = _class_names(given, choice, read, from_one)
    others = [read(name) for name in choice.others]
    dataset = to_dataset(read(choice.images), path, options, given, others)
    choice = choice._replace(unused=tuple(name for name in choice.unused if not names or name != choice.classes))
    dataset = dataset._replace(notes=(*dataset.notes, *choice.notes()))
    if given is None:
        return dataset
    return labelled(dataset, given, f"{choice.labels} in {path}", names, options.reading.labels is not None)


def _class_names(
    labels: np.ndarray | None, choice: Choice, read: Callable[[str], np.ndarray], from_one: bool
) -> tuple[str, ...]:
    """The names of the classes by label, or () if the file has none or they do not fit the labels.

    Where the labels count from 1, which those of both splits tell, the first name is that of no label, and empty.
    """
    if labels is None or choice.classes is None:
        return ()
    try:
        numbers = np.concatenate([class_values(each) for each in (labels, *map(read, choice.other_labels))])
    except ValueError:
        return ()
    names = read(choice.classes)
    names = np.char.decode(names, "utf-8", "replace") if names.dtype.kind == "S" else names
    if numbers.dtype.kind not in "iu" or not len(numbers) or numbers.min() < 0 or numbers.max() > len(names):
        return ()
    exceed, one_hot = numbers.max() == len(names), labels.ndim == 2 and labels.shape[1] != 1
    counts_from_one = numbers.min() > 0 and not one_hot and (from_one or exceed)
    if exceed and not counts_from_one:
        return ()
    return ("",) * bool(counts_from_one) + tuple(map(str, names))


def _read_idx(path: Path, options: LoadOptions) -> Dataset:
    images = _open_idx(path)
    if images.ndim == 3:  # idx files of three axes are always [N, H, W]
        options = options.in_order("NHW")
    beside = [path.with_name(each) for each in label_names(path.name) if options.labels]
    beside = [each for each in beside if each.exists()]
    labels = _open_idx(beside[0]) if beside else None
    dataset = to_dataset(images, path, options, labels)
    return dataset if labels is None else labelled(dataset, labels, str(beside[0]))


def _open_idx(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return read_idx(file, path)
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{path} is no idx file of bytes, or is damaged ({error})") from error


def to_dataset(
    array: np.ndarray,
    path: object,
    options: LoadOptions,
    labels: np.ndarray | None = None,
    others: Sequence[np.ndarray] = (),
) -> Dataset:
    """Convert an array to uint8 images [N, H, W, C], with notes on the conversion.

    Args:
      array: numbers, in an axis order that `to_nhwc` and a value range that `known_range` infers.
      path: the source, for messages.
      options: its ``reading`` gives the axis order and the value range if they are not inferred.
      labels: labels of the images, whose number helps to infer the axis order.
      others: further arrays, from which the value range is inferred too.

    Raises:
      DatasetError: if the array holds no images, is ambiguous, or does not fit into memory, or ``frames`` is given.
    """
    if options.reading.frames != "first":
        raise DatasetError(f"`frames` is for pictures: {path} holds arrays")
    for each in (array, *others):
        if not (np.issubdtype(each.dtype, np.number) or each.dtype == np.bool_) or np.iscomplexobj(each):
            raise DatasetError(f"{path}: images must be numbers, got {each.dtype}")
    if (four := with_alpha(array, options.reading.layout)) is not None:
        return _on_white(four, path, options, others)
    images, notes = to_nhwc(array, path, options.reading.layout, None if labels is None else len(labels))
    notes += _note_on_emnist(path, options.reading.layout or ("NHW" if array.ndim == 2 else None))
    if not isinstance(array, np.memmap):  # a memmap is not in memory yet
        check_memory(len(images), images.shape[1:3], images.shape[3], path)
    value_range, values = _value_range((array, *others), path, options)
    notes += (value_range.note,) if value_range.note else ()
    found = _found(array, images, values)
    if images.dtype == np.uint8 and value_range[:2] == (0, 255):
        if images.flags.c_contiguous:
            return Dataset(images, notes=notes, found=found)
        return Dataset(in_pieces(np.ascontiguousarray, images, images.shape[1:]), notes=notes, found=found)
    return Dataset(in_pieces(value_range.to_bytes, images, images.shape[1:]), notes=notes, found=found)


def if_needed(
    array: np.ndarray, options: LoadOptions, others: Callable[[], Sequence[np.ndarray]]
) -> Sequence[np.ndarray]:
    """The arrays of another split, if the value range of ``array`` may depend on them; else none, without reading them.

    It does not if it is given, nor if the values are bytes and not all of them are dark.
    """
    bright = array.dtype == np.uint8 and any(some.size and some.max() >= DARK for some in pieces(array))
    return () if bright or options.reading.range is not None else others()


def _found(array: np.ndarray, images: np.ndarray, values: tuple[float, float]) -> Found:
    kind = f"{array.dtype} {list(array.shape)}"
    return Found({(images.shape[1], images.shape[2]): len(images)}, {kind: len(images)}, values)


def _on_white(images: np.ndarray, path: object, options: LoadOptions, others: Sequence[np.ndarray]) -> Dataset:
    """`to_dataset` for [N, H, W, 4], whose last channel is alpha: composited on white."""
    if not isinstance(images, np.memmap):
        check_memory(len(images), images.shape[1:3], 3, path)
    four = [with_alpha(each, options.reading.layout) for each in others]
    colours = [images[..., :3], *(each for each in four if each is not None)]
    value_range, values = _value_range([each[..., :3] for each in colours], path, options)
    opacity = opacity_range(images[..., 3], value_range, path)
    pixels = in_pieces(lambda some: on_white(some, value_range, opacity), images, (*images.shape[1:3], 3))
    count = transparent_images(images, opacity)
    altered = (f"transparent pixels made white in {count:,} of {len(images):,} images",) if count else ()
    notes = (*altered, *filter(None, [value_range.note]))
    return Dataset(pixels, notes=notes, altered=altered, found=_found(images, images, values))


def _note_on_emnist(path: object, layout: str | None) -> tuple[str, ...]:
    """A note for EMNIST, whose images are stored with rows and columns exchanged; else ().

    TFDS does not transpose them. By its descriptions, no other of its data sets is stored so.
    """
    usual = {"NHW": "NWH", "NHWC": "NWHC"}.get(layout or "")
    if usual is None or not PurePath(str(path)).name.startswith("emnist") and not str(path).startswith("emnist/"):
        return ()
    stored = "EMNIST stores its images with rows and columns exchanged, and samples look so too"
    return (f"{stored}: `layout={usual}` turns them",)


def _value_range(
    arrays: Sequence[np.ndarray], path: object, options: LoadOptions
) -> tuple[ValueRange, tuple[float, float]]:
    """The value range of these arrays, inferred or as given, and the lowest and the highest value."""
    sizeable = [each for each in arrays if each.size]
    extremes = [(float(some.min()), float(some.max())) for each in sizeable for some in pieces(each)]
    low, high = float(np.min(extremes)), float(np.max(extremes))  # NaN if any value is
    if options.reading.range is not None:
        return given_range(options.reading.range, low, high, path), (low, high)
    if all(each.dtype == np.bool_ for each in arrays):
        return ValueRange(0, 1, "true and false taken as white and black"), (low, high)
    if all(each.dtype == np.int8 for each in arrays) and low < _INT8.min / 2 and high > _INT8.max / 2:
        raise DatasetError(
            f"{path}: pixels are from {low:g} to {high:g}, as int8: add `range={_INT8.min},{_INT8.max}` to make the "
            "lowest number of that type black and the highest white"
        )
    integers = all(np.issubdtype(each.dtype, np.integer) for each in arrays)
    return known_range(low, high, integers=integers, what=path, dark=options.drawn), (low, high)
