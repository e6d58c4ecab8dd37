"""Data sets by name or path, as NumPy arrays."""

from pathlib import Path
from typing import Literal

import numpy as np

from dcgan_jax.console import print_line
from dcgan_jax.data.arrays import read_array_file
from dcgan_jax.data.cache import load_cached, save_cached
from dcgan_jax.data.common import IMAGES, LABELS, SPLITS, Dataset, DatasetError, NoSplitError, with_labels
from dcgan_jax.data.fitting import Size, check_memory, choose_size, fit_array
from dcgan_jax.data.idx import parse_idx
from dcgan_jax.data.mnist import read_archive
from dcgan_jax.data.pictures import list_pictures, read_pictures, with_notes
from dcgan_jax.data.tfds import fetch_archive, read_prepared
from dcgan_jax.errors import first_line
from dcgan_jax.paths import PathError, local_path

DATASETS = ("mnist", "fashion_mnist", "kmnist")  # whose archives are read without TFDS's own readers
_CLASSES = {
    "mnist": tuple(map(str, range(10))),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}
_CACHE_FORMAT = 2  # changes whenever the same pictures give other arrays


def load_data(
    source: str | Path = "mnist",
    split: str = "train",
    *,
    labels: bool = True,
    data_dir: str | Path | None = None,
    image_size: Size | Literal["own"] | None = None,
    channels: int | None = None,
) -> Dataset:
    """Images from whatever a person has, with their classes where there are any.

    Args:
      source: ``mnist`` (embedded in the package, no network); ``fashion_mnist`` or ``kmnist`` (downloaded once, without
        TensorFlow; archives placed by hand in ``<data_dir>/downloads/manual`` are read from there); another image data
        set of TFDS that is prepared in ``data_dir``, such as ``cifar10`` or ``emnist/letters``; or a path: a folder or
        a zip of pictures, whose sub-folders are classes, an ``.npy``, an ``.npz`` or an idx file. A name is taken for
        a path if it is not one of the first three and there is such a file; a `pathlib.Path` always is one.
      split: ``train`` or ``test``. Of pictures and single arrays there is ``train`` alone.
      labels: whether to read classes; those of ``fashion_mnist`` and ``kmnist`` are a download of their own.
      data_dir: the TFDS directory, ``~/tensorflow_datasets`` if None.
      image_size: height and width; if None those that the images have, at most 64 and in multiples of 4; ``own`` for
        those that they have, if all have the same. Each image is cropped around its centre to this shape, and resized
        with antialiasing.
      channels: 1 or 3; as many as the images have if None.

    Raises:
      NoSplitError: if it has no such split.
      DatasetError: if that is not there, is damaged, holds no images, or does not fit into memory.
    """
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r} of {source}: choose from {', '.join(SPLITS)}")
    if channels not in (None, 1, 3):
        raise DatasetError(f"channels must be 1 or 3, got {channels}")
    name = str(source)
    if name in DATASETS and not isinstance(source, Path):
        dataset = _load_archives(name, split, data_dir, labels)
    elif isinstance(source, Path) or _path(name).exists() or _is_path(name):
        path = _path(name)
        if not path.exists():
            raise DatasetError(f"there is no file or folder {path}")
        if path.is_dir() or _is_zip(path):
            _check_split(path, split)
            dataset = _load_pictures(path, image_size, channels)
        else:
            if path.suffix != ".npz":
                _check_split(path, split)
            dataset = read_array_file(path, split, labels)
    else:
        dataset = read_prepared(name, split, data_dir, DATASETS)
    dataset = _fitted(dataset, name, image_size, channels)
    return dataset if labels else dataset._replace(labels=None, classes=())


def absolute_source(source: str) -> str:
    """A data set's name as it is, and the path of one as an absolute path.

    Raises:
      DatasetError: if it is a URL, or a home directory that is not known.
    """
    if source in DATASETS:
        return source
    path = _path(source)
    return str(path.absolute()) if path.exists() or _is_path(source) else source


def load_dataset(name: str | Path = "mnist", split: str = "train", data_dir: str | Path | None = None) -> np.ndarray:
    """The images of one split of a data set: uint8 [N, H, W, C], 0 black to 255 white.

    MNIST and its kind are [60000, 28, 28, 1], in the archive's order, and have a test split of 10,000. Args, raises: as
    `load_data`.
    """
    return load_data(name, split, labels=False, data_dir=data_dir).images


def load_labels(name: str | Path = "mnist", split: str = "train", data_dir: str | Path | None = None) -> np.ndarray:
    """The classes of `load_dataset`'s images by number, in the same order: uint8 [N].

    Raises:
      DatasetError: as `load_data`, or if the images have no classes, or more than 256.
    """
    if name in DATASETS and split in SPLITS:
        return _archive(str(name), LABELS[split], data_dir, 1)
    labels, classes = load_data(name, split, data_dir=data_dir)[1:3]
    if labels is None:
        raise DatasetError(f"the images of {name} have no classes")
    if len(classes) > 256:
        raise DatasetError(f"{name} has {len(classes)} classes, and a byte counts 256: use load_data")
    return labels.astype(np.uint8)


def _load_archives(name: str, split: str, data_dir: str | Path | None, labels: bool) -> Dataset:
    images = _archive(name, IMAGES[split], data_dir, 3)[..., None]  # [N, 28, 28, 1]
    return (
        with_labels(images, _archive(name, LABELS[split], data_dir, 1), _CLASSES[name]) if labels else Dataset(images)
    )


def _archive(name: str, filename: str, data_dir: str | Path | None, dimensions: int) -> np.ndarray:
    path, archive = read_archive(filename) if name == "mnist" else fetch_archive(name, filename, data_dir)
    return parse_idx(archive, path, dimensions)


def _path(name: str) -> Path:
    try:
        return local_path(name, "the data set")
    except PathError as error:
        raise DatasetError(str(error)) from error


def _is_path(name: str) -> bool:
    """Whether a name that does not exist looks like a path: TFDS has no such names."""
    return name.startswith((".", "~", "/")) or "\\" in name or Path(name).suffix != "" or name.count("/") > 1


def _is_zip(path: Path) -> bool:
    if path.suffix == ".npz":  # a zip of arrays
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError as error:
        raise DatasetError(f"cannot read {path} ({error.strerror})") from error


def _check_split(path: Path, split: str) -> None:
    if split != "train":
        raise NoSplitError(f"{path} has no split {split}: it is all for training")


def _load_pictures(path: Path, image_size: Size | Literal["own"] | None, channels: int | None) -> Dataset:
    """`read_pictures`, or the user's cache of the same pictures, with notes of the files of now."""
    with list_pictures(path) as listing:
        size = _size(image_size, [header.size for header in listing.headers.values()])
        check_memory(len(listing.pictures), size, channels or 3, path)
        key = f"{listing.digest()[:32]}-{size}-{channels}-{_CACHE_FORMAT}".replace(" ", "")
        cached = load_cached(key)
        dataset, broken = cached or read_pictures(path, listing, size, channels)
    noted = with_notes(path, listing, dataset, broken)
    if cached is None:
        try:
            save_cached(key, dataset, broken)
        except (OSError, RuntimeError, KeyError) as error:  # the latter two: the user has no home directory
            reason = first_line(error)
            print_line(f"warning: the pictures cannot be cached ({reason}): they will be read again", error=True)
    return noted


def _size(image_size: Size | Literal["own"] | None, sizes: list[Size]) -> Size:
    if image_size == "own":
        return sizes[0] if len(set(sizes)) == 1 else choose_size(sizes)
    return image_size or choose_size(sizes)


def _fitted(dataset: Dataset, name: str, image_size: Size | Literal["own"] | None, channels: int | None) -> Dataset:
    """A data set with this size and these channels, and a note of what was done."""
    n, height, width, before = dataset.images.shape
    size, after = _size(image_size, [(height, width)]), channels or before
    if (height, width, before) == (*size, after):
        return dataset
    check_memory(n, size, after, name)
    notes = list(dataset.notes)
    if (height, width) != size:
        to = f"{size[0]}x{size[1]}"
        notes.append(f"{n:,} images of {height}x{width} cropped around their centre and resized to {to}")
    if before != after:
        notes.append(f"{n:,} images in colours made grey" if after == 1 else f"{n:,} grey images given equal colours")
    return dataset._replace(images=fit_array(dataset.images, size, after), notes=tuple(notes))
