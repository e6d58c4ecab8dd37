"""Data sets as NumPy arrays."""

from dcgan_jax.data.datasets import DATASETS, SPLITS, DatasetError, load_dataset, load_labels

__all__ = ["DATASETS", "SPLITS", "DatasetError", "load_dataset", "load_labels"]
