"""Data sets as NumPy arrays."""

from dcgan_jax.data.archives import DATASETS
from dcgan_jax.data.common import SPLITS, Dataset, DatasetError, NoSplitError, say_classes
from dcgan_jax.data.datasets import absolute_source, load_data, load_dataset, load_labels
from dcgan_jax.data.fitting import parse_size
from dcgan_jax.data.sources import describe_sources

__all__ = [
    "DATASETS",
    "SPLITS",
    "Dataset",
    "DatasetError",
    "NoSplitError",
    "absolute_source",
    "describe_sources",
    "load_data",
    "load_dataset",
    "load_labels",
    "parse_size",
    "say_classes",
]
