"""Data sets by name, as NumPy arrays."""

from pathlib import Path

import numpy as np

from dcgan_jax.data.common import IMAGES, LABELS, SPLITS, DatasetError
from dcgan_jax.data.idx import parse_idx
from dcgan_jax.data.mnist import read_archive
from dcgan_jax.data.tfds import fetch_archive

DATASETS = ("mnist", "fashion_mnist", "kmnist")


def load_dataset(name: str = "mnist", split: str = "train", data_dir: str | Path | None = None) -> np.ndarray:
    """Load the images of one split of a data set.

    Args:
      name: ``mnist`` (embedded in the package, no network), ``fashion_mnist`` or ``kmnist`` (downloaded
        once by TFDS, without TensorFlow; archives placed by hand in ``<data_dir>/downloads/manual`` are
        read from there).
      split: ``train`` (60,000 images) or ``test`` (10,000).
      data_dir: the TFDS directory, ``~/tensorflow_datasets`` if None. ``mnist`` does not use it.

    Returns:
      uint8 [N, 28, 28, 1], 0 black to 255 white, in the archive's order.

    Raises:
      DatasetError: for an unknown name or split, a damaged archive, or (within seconds) no network.
    """
    return _load(name, split, data_dir, IMAGES, 3)[..., None]


def load_labels(name: str = "mnist", split: str = "train", data_dir: str | Path | None = None) -> np.ndarray:
    """The classes of `load_dataset`'s images, in the same order: uint8 [N], 0 to 9. Args, raises: as there."""
    return _load(name, split, data_dir, LABELS, 1)


def _load(name: str, split: str, data_dir: str | Path | None, archives: dict[str, str], dimensions: int) -> np.ndarray:
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}: choose from {', '.join(DATASETS)}")
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r} of {name}: choose from {', '.join(SPLITS)}")
    if name == "mnist":
        path, archive = read_archive(archives[split])
    else:
        path, archive = fetch_archive(name, archives[split], data_dir)
    return parse_idx(archive, path, dimensions)
