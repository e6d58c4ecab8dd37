"""What the sources of data sets share."""

import hashlib
from typing import NamedTuple

import numpy as np

from dcgan_jax.errors import UserError

SPLITS = ("train", "test")
# The names of the archives, which Fashion-MNIST and KMNIST have taken over from MNIST.
IMAGES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
LABELS = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}


class DatasetError(UserError):
    """A data set cannot be loaded."""


class NoSplitError(DatasetError):
    """A data set is there, and has no such split."""


class Dataset(NamedTuple):
    """Images, and their classes where there are any.

    Attributes:
      images: uint8 [N, H, W, C], 0 black to 255 full.
      labels: int32 [N], the number of each image's class, or None.
      classes: the names of the classes, in the order of their numbers.
      notes: what was done to the images, or left out, a line each.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """The SHA-256 of images, labels and classes, in hexadecimal."""
        parts = [repr((self.images.shape, self.classes)).encode(errors="surrogateescape"), self.images]
        parts += [] if self.labels is None else [self.labels]
        sha256 = hashlib.sha256()
        for part in parts:
            sha256.update(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else part)
        return sha256.hexdigest()


def with_labels(
    images: np.ndarray, labels: np.ndarray, names: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Dataset:
    """A data set whose classes are the values of ``labels`` [N], by number; ``names`` are those of 0, 1, ..."""
    values, numbers = np.unique(labels, return_inverse=True)
    classes = tuple(names[int(value)] if names else str(value) for value in values)
    return Dataset(images, numbers.astype(np.int32), classes, notes)
