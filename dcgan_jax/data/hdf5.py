"""HDF5 and MATLAB files; those of MATLAB 7.3 are HDF5, and SciPy reads earlier ones."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.data.array_names import CLASS_KEYS, Choice, Spec, are_named, choose_arrays
from dcgan_jax.data.arrays import if_needed, load_chosen, to_dataset
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, NoSplitError, check_split, path_of, starts_with
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.data.folders import Classes, classes_of, listed_classes
from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.layouts import are_sets
from dcgan_jax.data.matlab_structs import fields_of, unpacked_size
from dcgan_jax.data.matlab_text import class_of_h5py, may_be_text, opaque_class, text_of_h5py, text_of_scipy
from dcgan_jax.data.members import some
from dcgan_jax.data.shards import split_of
from dcgan_jax.errors import first_line
from dcgan_jax.versions import require

_CELLS = "#refs#/"  # the group of the contents of MATLAB's cells
_LEAST_ARRAYS = 10  # in a file with an array for each image; fewer may be anything
_DIGITS = 10  # SVHN's label of the digit 0
_TYPES = {"double": "f8", "single": "f4", "logical": "?"} | {
    f"{u}int{8 * n}": f"{u or 'i'}{n}" for u in ("u", "") for n in (1, 2, 4, 8)
}


def is_hdf5(source: str | Path) -> bool:
    """Whether a source is the path of an HDF5 or MATLAB file."""
    path = path_of(source)
    if path is None or not path.is_file():
        return False
    return path.suffix.lower() in (".h5", ".hdf5", ".hdf", ".mat") or starts_with(path, b"\x89HDF", b"MATL")


def load_hdf5(source: str | Path, options: LoadOptions) -> Dataset:
    """The images of an HDF5 file, in any group, or of a MATLAB file, and their labels, as `choose_arrays` finds them.

    An HDF5 file may also have an array for each image, and a group for each class.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if h5py or SciPy is not installed, the file is damaged, or the images are not found or ambiguous.
    """
    path = Path(path_of(source) or source)
    try:
        with path.open("rb") as file:
            start = file.read(10)
        earlier = path.suffix.lower() == ".mat" and not start.startswith((b"MATLAB 7.3", b"\x89HDF"))
        return _of_scipy(path, options) if earlier else _of_h5py(path, options)
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # whatever the libraries raise for a damaged file
        raise DatasetError(f"cannot read {path} ({first_line(error)})") from error


def _of_h5py(path: Path, options: LoadOptions) -> Dataset:
    h5py = require("h5py", "hdf5", f"reading {path}", DatasetError)
    with h5py.File(path, "r") as file:
        arrays: dict[str, Any] = {}

        def visit(name: str, item: Any) -> None:
            # Data in other files is not read: the user has not named these.
            here = isinstance(item, h5py.Dataset) and item.external is None and not item.is_virtual
            if here and not name.startswith(_CELLS):
                arrays[name] = item

        file.visititems(visit)
        # MATLAB's arrays are column-major: HDF5 has their axes in reverse.
        turned = {name: bool(class_of_h5py(item)) for name, item in arrays.items()}
        specs = {
            name: Spec(item.shape[:: -1 if turned[name] else 1], _dtype(h5py, item))
            for name, item in arrays.items()
            if item.shape
        }
        maybe = [name for name in specs if may_be_text(name, class_of_h5py(arrays[name]), options.reading.labels)]
        for name in maybe:
            _check(path, name, specs[name])
        texts = {name: text for name in maybe if (text := text_of_h5py(arrays[name])) is not None}
        specs |= {name: Spec(text.shape, text.dtype) for name, text in texts.items()}

        def read(name: str) -> np.ndarray:
            if name in texts:
                return texts[name]
            _check(path, name, specs[name])
            item = arrays[name]
            if kind := opaque_class(item):
                raise DatasetError(
                    f"{name} in {path} is of MATLAB's class {kind}, which only MATLAB reads: save cellstr({name}) or "
                    f"double({name})"
                )
            array = item.asstr()[()].astype(str) if h5py.check_string_dtype(item.dtype) else item[()]
            return array.T if turned[name] else array

        if _has_array_for_each(specs, options):
            return _stack(path, specs, read, options, arrays)
        choice, names = choose_arrays(path, specs, options), {}
        if choice.labels is not None and choice.classes is None:
            names = _class_attribute(arrays[choice.labels])
            choice = choice._replace(classes=next(iter(names), None), unused=(*choice.unused, *names))
        matlab = any(turned.values())
        return _load(path, choice, specs, lambda name: names[name] if name in names else read(name), options, matlab)


def _class_attribute(labels: Any) -> dict[str, np.ndarray]:
    """The attribute with the names of the classes [K], of the labels, their group or the file; empty if there is none.

    Its key is what a note calls it.
    """
    for item in (labels, labels.parent, labels.file):
        for key in (*CLASS_KEYS, "labels"):
            names = np.atleast_1d(item.attrs.get(key, ()))
            if names.dtype.kind in "OSU" and names.ndim == 1 and all(isinstance(name, str | bytes) for name in names):
                texts = names if names.dtype.kind == "S" else names.astype(str)
                return {f"the attribute {key}": texts}
    return {}


def _has_array_for_each(specs: Mapping[str, Spec], options: LoadOptions) -> bool:
    """Whether arrays are one image each: many, all of one shape and dtype, and without usual names."""
    shapes = [spec.shape for spec in specs.values()]
    if len(shapes) < _LEAST_ARRAYS or len(set(specs.values())) > 1 or are_named(specs):
        return False
    images = len(shapes[0]) in (2, 3) and not are_sets(shapes, options.reading.layout)
    return images and options.reading.images is None and options.reading.labels is None


def _stack(
    path: Path,
    specs: Mapping[str, Spec],
    read: Callable[[str], np.ndarray],
    options: LoadOptions,
    items: Mapping[str, Any],
) -> Dataset:
    """The images of a file with an array for each, in natural order.

    Their classes are those of `_labels_beside`, or their groups if there are several with more than an image each.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if they do not fit into memory, or as `to_dataset`.
    """
    every = sorted(specs, key=_natural)
    names = _of_split(path, every, options.split)

    def stack(names: Sequence[str]) -> np.ndarray:
        shape, dtype = specs[names[0]]
        _check(path, f"the {len(names):,} images", Spec((len(names), *shape), dtype))
        images = np.empty((len(names), *shape), dtype)
        for row, name in zip(images, names, strict=True):
            row[...] = read(name)
        return images

    images, rest = stack(names), [name for name in every if name not in set(names)]
    others = if_needed(images, options, lambda: [stack(rest)] if rest else [])
    dataset = to_dataset(images, path, options.in_order("NHW") if images.ndim == 3 else options, others=others)
    labels, groups = _labels_beside(names, items), {name.rpartition("/")[0] for name in names}
    if labels is not None:
        classes = listed_classes(names, dict(zip(names, labels, strict=True)), "what is beside each image")
    else:
        classes = Classes() if len(groups) == len(names) else classes_of(names, ())
    notes = (f"each of {len(names):,} arrays taken as one image", *(_of_groups(note) for note in classes.notes))
    return dataset._replace(labels=classes.labels, classes=classes.names, notes=(*dataset.notes, *notes))


def _labels_beside(names: Sequence[str], items: Mapping[str, Any]) -> list[str] | None:
    """The label of each image as text: an attribute, or a number or text in its group; None if one has none."""

    def attribute(name: str, key: str) -> Any:
        return items[name].attrs.get(key)

    def scalar(name: str, key: str) -> Any:
        group, slash, _ = name.rpartition("/")
        item = items.get(f"{group}/{key}") if slash else None
        return item[()] if item is not None and item.shape == () else None

    for key in USUAL_LABELS:
        for get in (attribute, scalar):
            if get(names[0], key) is None:  # reading an attribute of each image takes a while
                continue
            labels = [get(name, key) for name in names]
            if all(isinstance(each, str | bytes | np.integer) for each in labels):
                return [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in labels]
    return None


def _of_groups(note: str) -> str:
    return note.replace("folder", "group", 1).replace("pictures", "images").replace("picture", "image")


def _of_split(path: Path, names: Sequence[str], split: str) -> list[str]:
    """The arrays in the groups of a split, if all are in groups of splits; else all. Raises: NoSplitError."""
    splits = [split_of(name.rpartition("/")[0]) for name in names]
    if None in splits:
        check_split(path, split)
        return list(names)
    if split not in splits:
        raise NoSplitError(f"{path} has no split {split}: it has {', '.join(sorted({str(each) for each in splits}))}")
    return [name for name, each in zip(names, splits, strict=True) if each == split]


def _natural(name: str) -> list[str | int]:
    """A sort key that puts ``image_2`` before ``image_10``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _dtype(h5py: Any, item: Any) -> np.dtype:
    """The dtype of an array; that of text if it is text, which h5py gives as objects or bytes."""
    return np.dtype(str) if h5py.check_string_dtype(item.dtype) else item.dtype


def _of_scipy(path: Path, options: LoadOptions) -> Dataset:
    scipy = require("scipy.io", "matlab", f"reading {path}", DatasetError)
    kinds = {name: (tuple(shape), kind) for name, shape, kind in scipy.whosmat(path, appendmat=False)}
    specs = {name: Spec(shape, np.dtype(_TYPES.get(kind, object))) for name, (shape, kind) in kinds.items()}
    structs = [name for name, (_, kind) in kinds.items() if kind == "struct"]
    fields: dict[str, np.ndarray] = {}
    if structs and not any(spec.images_axes() for spec in specs.values()):
        fields = _fields(path, scipy, structs)
        kinds = {name: each for name, each in kinds.items() if name not in structs}
        kinds |= {
            name: (array.shape, {"U": "char", "O": "cell"}.get(array.dtype.kind, "")) for name, array in fields.items()
        }
        specs = {name: each for name, each in specs.items() if name in kinds}
        specs |= {name: Spec(array.shape, array.dtype) for name, array in fields.items()}

    def load(name: str) -> np.ndarray:
        if name in fields:
            return fields[name]
        _check(path, name, specs[name])
        return scipy.loadmat(path, variable_names=[name], appendmat=False)[name]

    maybe = [name for name, (_, kind) in kinds.items() if may_be_text(name, kind, options.reading.labels)]
    texts = {name: text for name in maybe if (text := text_of_scipy(load(name))) is not None}
    specs |= {name: Spec(text.shape, text.dtype) for name, text in texts.items()}
    choice = choose_arrays(path, specs, options)
    return _load(path, choice, specs, lambda name: texts[name] if name in texts else load(name), options, True)


def _fields(path: Path, scipy: Any, structs: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays in the fields of structs. Raises: DatasetError if none may be images, or they exceed the memory."""
    check_bytes(unpacked_size(path), f"the structs of {path}", "save their images as uint8, in an array")
    values = scipy.loadmat(path, variable_names=list(structs), appendmat=False)
    fields = dict(pair for name in structs for pair in fields_of(values[name], name))
    if not any(Spec(array.shape, array.dtype).images_axes() for array in fields.values()):
        raise DatasetError(
            f"{path} holds structs, {some(structs)}, and no images in their fields: save the images as one array, "
            "[N, H, W, C]"
        )
    return fields


def _check(path: Path, name: str, spec: Spec) -> None:
    size = int(np.prod(spec.shape, dtype=object)) * spec.dtype.itemsize
    check_bytes(size, f"{name} in {path}", "save fewer images, or as uint8")


def _load(
    path: Path,
    choice: Choice,
    specs: Mapping[str, Spec],
    read: Callable[[str], np.ndarray],
    options: LoadOptions,
    matlab: bool,
) -> Dataset:
    """`load_chosen`, with SVHN's labels as digits. Raises: DatasetError as it, or if the images are no numbers."""
    if specs[choice.images].dtype == object:
        raise DatasetError(f"{choice.images} in {path} is no array of numbers: save the images as one, [N, H, W, C]")
    if choice.labels is None:
        return load_chosen(path, choice, read, options, matlab)
    labels = _column(read(choice.labels))
    digits = labels % _DIGITS if _is_svhn(choice.images, specs[choice.images], labels) else labels

    def of_columns(name: str) -> np.ndarray:
        if name == choice.labels:
            return digits
        return _column(read(name)) if name in choice.other_labels else read(name)

    dataset = load_chosen(path, choice, of_columns, options, matlab)
    note = () if digits is labels else ("the class 10 taken as the digit 0, as SVHN has it",)
    return dataset._replace(notes=(*dataset.notes, *note))


def _column(labels: np.ndarray) -> np.ndarray:
    """Labels with one in each row; MATLAB's vectors may be rows."""
    return labels.T if labels.ndim == 2 and labels.shape[0] == 1 else labels


def _is_svhn(name: str, spec: Spec, labels: np.ndarray) -> bool:
    """Whether images are those of SVHN, whose labels are 1 to 10, with 10 for the digit 0."""
    digits = np.issubdtype(labels.dtype, np.number) and labels.size and labels.min() >= 1 and labels.max() == _DIGITS
    return name == "X" and spec.shape[:3] == (32, 32, 3) and bool(digits)
