"""Further feature extractors: FID by one network's features alone is only as good as that network.

An extractor is a function of images: logits [N, 10] and features [N, D]. ``own`` is the evaluation's first classifier,
``strided`` its second one, ``autoencoder`` knows no labels. ``third`` is one more
classifier: nothing is chosen by it, so that a final table can be checked with it.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.extractors.networks import Encoder, ResidualClassifier
from dcgan_jax.data import load_dataset
from dcgan_jax.evaluation import strided_classifier
from dcgan_jax.evaluation.classifier import apply_in_batches, classify, parse_weights

Extractor = Callable[[np.ndarray], tuple[np.ndarray | None, np.ndarray]]

NETWORKS = {"strided": strided_classifier.StridedClassifier(), "autoencoder": Encoder(), "third": ResidualClassifier()}


def weights_path(name: str) -> Path:
    """The file of the weights of one of `NETWORKS`."""
    return strided_classifier.WEIGHTS if name == "strided" else Path(__file__).parent / f"{name}.npz"


@functools.cache
def load_extractor(name: str) -> Extractor:
    """A function of images [N, 28, 28, 1], uint8 or in [0, 1], to logits [N, 10] and features [N, D].

    Args:
      name: ``own`` or one of `NETWORKS`. The autoencoder has no logits: None.

    Raises:
      ValueError: for any other name.
      OSError: if its weights do not exist.
    """
    if name == "own":
        return classify
    if name not in NETWORKS:
        raise ValueError(f"unknown extractor {name!r}: choose from own, {', '.join(NETWORKS)}")
    return functools.partial(extract, name, parse_weights(weights_path(name).read_bytes()))


@functools.cache
def mnist_test_features(name: str) -> np.ndarray:
    """The features of MNIST's test images."""
    return load_extractor(name)(load_dataset(split="test"))[1]


def extract(name: str, variables: dict[str, Any], images: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Logits, or None, and features of ``images`` by the network ``name``, a few hundred images at a time."""
    *logits, features = apply_in_batches(NETWORKS[name], variables, images)
    return (logits[0] if logits else None), features
