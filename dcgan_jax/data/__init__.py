"""Data sets as NumPy arrays."""

from dcgan_jax.data.common import SPLITS, Dataset, DatasetError, NoSplitError
from dcgan_jax.data.datasets import DATASETS, absolute_source, load_data, load_dataset, load_labels
from dcgan_jax.data.fitting import parse_size

__all__ = [
    "DATASETS",
    "SPLITS",
    "Dataset",
    "DatasetError",
    "NoSplitError",
    "absolute_source",
    "load_data",
    "load_dataset",
    "load_labels",
    "parse_size",
]
