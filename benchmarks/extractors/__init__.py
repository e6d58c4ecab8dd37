"""Further feature extractors: FID by one network's features alone is only as good as that network.

An extractor is a function of images: logits [N, 10] and features [N, D]. ``own`` is the evaluation's classifier.
``strided`` is a classifier of another build and seed, ``autoencoder`` knows no labels. ``third`` is one more
classifier: nothing is chosen by it, so that a final table can be checked with it.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.extractors.networks import Encoder, ResidualClassifier, StridedClassifier
from dcgan_jax.evaluation.classifier import classify, parse_weights

Extractor = Callable[[np.ndarray], tuple[np.ndarray | None, np.ndarray]]

NETWORKS = {"strided": StridedClassifier(), "autoencoder": Encoder(), "third": ResidualClassifier()}
_BATCH = 500  # images at a time


def weights_path(name: str) -> Path:
    """The file of the weights of one of `NETWORKS`."""
    return Path(__file__).parent / f"{name}.npz"


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


def extract(name: str, variables: dict[str, Any], images: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Logits, or None, and features of ``images`` by the network ``name``, a few hundred images at a time."""
    parts = []
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        padding = np.zeros((_BATCH - len(batch), *batch.shape[1:]), batch.dtype)  # one compiled program
        with jax.default_matmul_precision("float32"):
            outputs = jax.device_get(_apply(variables, np.concatenate([batch, padding]), name))
        parts.append([output[: len(batch)] for output in outputs])
    *logits, features = (np.concatenate(each) for each in zip(*parts, strict=True))
    return (logits[0] if logits else None), features


@functools.partial(jax.jit, static_argnames="name")
def _apply(variables: dict[str, Any], images: jax.Array, name: str) -> Any:
    scale = 255 if images.dtype == jnp.uint8 else 1
    outputs = NETWORKS[name].apply(variables, images.astype(jnp.float32) / scale)
    return outputs if isinstance(outputs, tuple) else (outputs,)
