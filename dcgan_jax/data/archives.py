"""MNIST and the data sets of the same form, four archives each, read without TensorFlow Datasets."""

from pathlib import Path

import numpy as np

from dcgan_jax.data.arrays import to_dataset
from dcgan_jax.data.common import IMAGES, LABELS, Dataset, LoadOptions, with_labels
from dcgan_jax.data.idx import parse_idx
from dcgan_jax.data.mnist import read_archive
from dcgan_jax.data.tfds import fetch_archive

_CLASSES = {
    "mnist": tuple(map(str, range(10))),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}
DATASETS = tuple(_CLASSES)


def has_archives(source: str | Path) -> bool:
    """Whether a source is the name of one of `DATASETS`; a `pathlib.Path` never is."""
    return isinstance(source, str) and source in DATASETS


def load_archives(source: str | Path, options: LoadOptions) -> Dataset:
    """Images [N, 28, 28, 1] of one of `DATASETS`, and their classes.

    MNIST is embedded in the package. The others are downloaded once, labels separately; archives placed by hand in
    ``<data_dir>/downloads/manual`` are read from there.

    Raises:
      DatasetError: if an archive cannot be downloaded or is damaged.
    """
    name = str(source)
    images = _archive(name, IMAGES[options.split], options.reading.data_dir, 3)
    dataset = to_dataset(images[..., None], name, options.in_order("NHWC"))
    if not options.labels:
        return dataset
    labels = archive_labels(name, options.split, options.reading.data_dir)
    return with_labels(dataset.images, labels, _CLASSES[name], dataset.notes)._replace(found=dataset.found)


def archive_labels(name: str, split: str, data_dir: str | Path | None) -> np.ndarray:
    """The class numbers, uint8 [N], without reading the images. Raises: as `load_archives`."""
    return _archive(name, LABELS[split], data_dir, 1)


def _archive(name: str, filename: str, data_dir: str | Path | None, dimensions: int) -> np.ndarray:
    path, archive = read_archive(filename) if name == "mnist" else fetch_archive(name, filename, data_dir)
    return parse_idx(archive, path, dimensions)
