"""HDF5 and MATLAB files; those of MATLAB 7.3 are HDF5, and SciPy reads earlier ones."""

from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.data.array_names import Spec, choose_arrays
from dcgan_jax.data.arrays import load_chosen
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, path_of, starts_with
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.errors import first_line
from dcgan_jax.versions import require

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
            if isinstance(item, h5py.Dataset) and item.external is None and not item.is_virtual:
                arrays[name] = item

        file.visititems(visit)
        # MATLAB's arrays are column-major: HDF5 has their axes in reverse.
        turned = {name: "MATLAB_class" in item.attrs for name, item in arrays.items()}
        specs = {
            name: Spec(item.shape[:: -1 if turned[name] else 1], _dtype(h5py, item))
            for name, item in arrays.items()
            if item.shape
        }

        def read(name: str) -> np.ndarray:
            _check(path, name, specs[name])
            item = arrays[name]
            array = item.asstr()[()].astype(str) if h5py.check_string_dtype(item.dtype) else item[()]
            return array.T if turned[name] else array

        return _load(path, specs, read, options)


def _dtype(h5py: Any, item: Any) -> np.dtype:
    """The dtype of an array; that of text if it is text, which h5py gives as objects or bytes."""
    return np.dtype(str) if h5py.check_string_dtype(item.dtype) else item.dtype


def _of_scipy(path: Path, options: LoadOptions) -> Dataset:
    scipy = require("scipy.io", "matlab", f"reading {path}", DatasetError)
    kinds = {
        name: (shape, _TYPES[kind]) for name, shape, kind in scipy.whosmat(path, appendmat=False) if kind in _TYPES
    }
    specs = {name: Spec(tuple(shape), np.dtype(kind)) for name, (shape, kind) in kinds.items()}

    def read(name: str) -> np.ndarray:
        _check(path, name, specs[name])
        return scipy.loadmat(path, variable_names=[name], appendmat=False)[name]

    return _load(path, specs, read, options)


def _check(path: Path, name: str, spec: Spec) -> None:
    size = int(np.prod(spec.shape, dtype=object)) * spec.dtype.itemsize
    check_bytes(size, f"{name} in {path}", "save fewer images, or as uint8")


def _load(path: Path, specs: dict[str, Spec], read: Any, options: LoadOptions) -> Dataset:
    choice = choose_arrays(path, specs, options)
    if choice.labels is None:
        return load_chosen(path, choice, read, options)
    labels = read(choice.labels)
    labels = labels.T if labels.ndim == 2 and labels.shape[0] == 1 else labels  # MATLAB's vectors are rows
    digits = labels % _DIGITS if _is_svhn(choice.images, specs[choice.images], labels) else labels
    dataset = load_chosen(path, choice, lambda name: digits if name == choice.labels else read(name), options)
    note = () if digits is labels else ("the class 10 taken as the digit 0, as SVHN has it",)
    return dataset._replace(notes=(*dataset.notes, *note))


def _is_svhn(name: str, spec: Spec, labels: np.ndarray) -> bool:
    """Whether images are those of SVHN, whose labels are 1 to 10, with 10 for the digit 0."""
    digits = np.issubdtype(labels.dtype, np.number) and labels.size and labels.min() >= 1 and labels.max() == _DIGITS
    return name == "X" and spec.shape[:3] == (32, 32, 3) and bool(digits)
