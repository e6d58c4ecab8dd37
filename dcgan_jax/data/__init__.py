"""Data sets as NumPy arrays."""

from dcgan_jax.data.archives import DATASETS
from dcgan_jax.data.common import FRAMES, SPLITS, Dataset, DatasetError, NoSplitError, Reading, say_classes
from dcgan_jax.data.datasets import absolute_source, load_data, load_dataset, load_labels
from dcgan_jax.data.fitting import parse_size
from dcgan_jax.data.layouts import parse_layout
from dcgan_jax.data.sources import describe_sources
from dcgan_jax.data.value_range import parse_range

__all__ = [
    "DATASETS",
    "FRAMES",
    "SPLITS",
    "Dataset",
    "DatasetError",
    "NoSplitError",
    "Reading",
    "absolute_source",
    "describe_sources",
    "load_data",
    "load_dataset",
    "load_labels",
    "parse_layout",
    "parse_range",
    "parse_size",
    "say_classes",
]
