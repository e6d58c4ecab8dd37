"""Data sets as NumPy arrays."""

from dcgan_jax.data.common import SPLITS, DatasetError
from dcgan_jax.data.datasets import DATASETS, load_dataset, load_labels

__all__ = ["DATASETS", "SPLITS", "DatasetError", "load_dataset", "load_labels"]
