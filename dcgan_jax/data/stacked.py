"""Stacked MNIST: images of three digits, one per channel, in a thousand combinations, of which a GAN may drop some."""

from pathlib import Path

import numpy as np

from dcgan_jax.data.archives import archive_labels, load_archives
from dcgan_jax.data.common import Dataset, LoadOptions, with_labels

STACKED = "stacked_mnist"
CLASSES = tuple(f"{number:03}" for number in range(1000))  # the digits of red, green and blue
_SEED = 0


def is_stacked(source: str | Path) -> bool:
    """Whether a source is the name of this data set; a `pathlib.Path` never is."""
    return isinstance(source, str) and source == STACKED


def load_stacked(source: str | Path, options: LoadOptions) -> Dataset:
    """Images [N, 28, 28, 3] of three MNIST digits each, and the three digits as the class.

    N is that of MNIST, 60,000 for training and 10,000 for testing: each image of MNIST occurs once in each channel, in
    three fixed random orders. The thousand classes are equally likely, up to the frequencies of digits in MNIST (Metz
    et al., arXiv:1611.02163).

    Raises:
      DatasetError: as `load_archives`.
    """
    del source
    grey = load_archives("mnist", options._replace(labels=False)).images  # [N, 28, 28, 1]
    random = np.random.default_rng(_SEED)
    orders = [random.permutation(len(grey)) for _ in range(3)]
    images = np.concatenate([grey[order] for order in orders], axis=-1)
    if not options.labels:
        return Dataset(images)
    digits = archive_labels("mnist", options.split, options.reading.data_dir).astype(np.int32)
    red, green, blue = (digits[order] for order in orders)
    return with_labels(images, 100 * red + 10 * green + blue, CLASSES)
