"""A small classifier, in whose features images are scored.

Its weights for MNIST's digits ship with the package; ``python -m dcgan_jax.evaluation.train_classifier`` retrains
them. `dcgan_jax.evaluation.classifier_file` stores weights for other data.
"""

import functools
import io
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.errors import UserError
from dcgan_jax.files import read_verified
from dcgan_jax.layers import conv2d, dropout

FEATURES = 128
IMAGE_SHAPE = (28, 28, 1)  # of the images that it classifies: MNIST's
WEIGHTS = Path(__file__).parent / "weights.npz"
SHA256 = "e979495a3cf325f732b221e3539aeb7e922b811438f2576c1e6954f3389c412c"  # of the weights; identifies their features
_BATCH = 500  # images classified at a time: a few hundred megabytes
_FEW = 16  # batch size for a grid of samples, which is not padded to `_BATCH`


class ClassifierError(UserError):
    """The classifier's weights cannot be used."""


class DigitClassifier(nn.Module):
    """Images to classes: [B, 28, 28, 1] in [0, 1] -> logits [B, classes] and features [B, 128], at least 0.

    Three 3x3 convolutions, each followed by ReLU and 2x2 max pooling, and a dense layer of features.
    With ``train=True`` dropout is on (pass a ``dropout`` rng).

    Attributes:
      classes: the number of classes, 10 digits by default.
    """

    classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        x = images
        for i, features in enumerate((32, 64, 96), start=1):
            kernel = self.param(f"kernel_{i}", nn.initializers.he_normal(), (3, 3, x.shape[-1], features))
            bias = self.param(f"bias_{i}", nn.initializers.zeros_init(), (features,))
            x = _max_pool(nn.relu(conv2d(x, kernel) + bias))
            # [B, 14, 14, 32], [B, 7, 7, 64], [B, 3, 3, 96]
        x = x.reshape(x.shape[0], -1)  # [B, 864]
        if train:
            x = dropout(x, 0.3, self.make_rng("dropout"))
        x = nn.relu(nn.Dense(FEATURES, name="features")(x))  # [B, 128]
        logits = dropout(x, 0.5, self.make_rng("dropout")) if train else x
        return nn.Dense(self.classes, name="logits")(logits), x


def load_classifier(path: Path = WEIGHTS) -> dict[str, Any]:
    """The trained variables of `DigitClassifier` that ship with the package.

    Raises:
      ClassifierError: if the file is missing or damaged.
    """
    return parse_weights(read_verified(path, SHA256, ClassifierError, "reinstall dcgan-jax"))


def parse_weights(content: bytes) -> dict[str, Any]:
    """A network's variables from the bytes of an ``.npz`` of arrays named by path; nothing is unpickled."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return nest({name: arrays[name] for name in arrays.files})


def nest(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """A network's variables from its parameters by path: the inverse of `named_arrays`."""
    params: dict[str, Any] = {}
    for name, array in arrays.items():
        *scope, leaf = name.split("/")
        inner = params
        for part in scope:
            inner = inner.setdefault(part, {})
        inner[leaf] = jnp.asarray(array)
    return {"params": params}


def named_arrays(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """A network's parameters by path, such as ``logits/bias``."""
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {jax.tree_util.keystr(at, simple=True, separator="/"): np.asarray(leaf) for at, leaf in leaves}


@jax_defaults()
def classify(images: np.ndarray, variables: dict[str, Any] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N, classes] and features [N, 128] of images [N, 28, 28, 1], uint8 or in [0, 1], computed in batches.

    Args:
      images: at least one.
      variables: of `DigitClassifier`; those of the package if None.

    Raises:
      ClassifierError: if the package's weights cannot be used.
    """
    variables = load_classifier() if variables is None else variables
    classes = variables["params"]["logits"]["bias"].shape[0]
    logits, features = apply_in_batches(DigitClassifier(classes), variables, images)
    return logits, features


def apply_in_batches(network: nn.Module, variables: dict[str, Any], images: np.ndarray) -> list[np.ndarray]:
    """A network's outputs, each [N, ...], for images [N, 28, 28, 1], uint8 or in [0, 1], computed in batches."""
    size = _FEW if len(images) <= _FEW else _BATCH  # only two shapes, so only two programs are compiled
    parts = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        n = len(batch)
        padded = np.concatenate([batch, np.zeros((size - n, *batch.shape[1:]), batch.dtype)])
        with jax.default_matmul_precision("float32"):  # else TPUs and newer GPUs round to 8 or 10 bits
            parts.append([output[:n] for output in jax.device_get(_apply(network, variables, padded))])
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


@functools.partial(jax.jit, static_argnames="network")
def _apply(network: nn.Module, variables: dict[str, Any], images: jax.Array) -> tuple[jax.Array, ...]:
    scale = 255 if images.dtype == jnp.uint8 else 1
    outputs = network.apply(variables, images.astype(jnp.float32) / scale)
    return outputs if isinstance(outputs, tuple) else (outputs,)  # pyright: ignore[reportReturnType]


def _max_pool(x: jax.Array) -> jax.Array:
    """2x2 max pooling, dropping an odd last row or column: [B, H, W, C] -> [B, H // 2, W // 2, C]."""
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    return x.max(axis=(2, 4))
