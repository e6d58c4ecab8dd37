"""The weights of a Keras model of the tutorial as Flax variables."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dcgan_jax.models import Discriminator, Generator

# In Keras's order.
_GENERATOR = ("dense", "norm_0", "conv_1", "norm_1", "conv_2", "norm_2", "conv_3", "norm_3", "conv_4")
_DISCRIMINATOR = ("conv_1", "conv_2", "conv_3", "conv_4", "dense")


def generator_from_keras(weights: Sequence[ArrayLike]) -> dict[str, Any]:
    """Variables of a `Generator` from ``keras_model.get_weights()`` of the tutorial's generator.

    Args:
      weights: in Keras's order: the dense layer's kernel and bias, then its batch normalisation's gamma,
        beta, moving mean and moving variance; likewise for each transposed convolution, the last of which
        has no normalisation.

    Returns:
      ``{"params": ..., "batch_stats": ...}`` for ``Generator().apply``.

    Raises:
      ValueError: if the number of arrays or a shape is not the tutorial's.
    """
    latent = np.shape(weights[0])[0] if len(weights) and np.ndim(weights[0]) else 0
    return _from_keras(weights, _GENERATOR, jax.eval_shape(Generator().init, jax.random.key(0), jnp.zeros((1, latent))))


def discriminator_from_keras(weights: Sequence[ArrayLike]) -> dict[str, Any]:
    """Variables of a `Discriminator` from ``keras_model.get_weights()`` of the tutorial's discriminator.

    Args:
      weights: in Keras's order: kernel and bias of the four convolutions and of the dense layer.

    Returns:
      ``{"params": ...}`` for ``Discriminator().apply``, whose logits are what Keras's sigmoid is given.

    Raises:
      ValueError: if the number of arrays or a shape is not the tutorial's.
    """
    images = jnp.zeros((1, *Generator().image_shape))
    return _from_keras(weights, _DISCRIMINATOR, jax.eval_shape(Discriminator().init, jax.random.key(0), images))


def generator_to_keras(variables: dict[str, Any]) -> list[np.ndarray]:
    """What `generator_from_keras` takes, for ``keras_model.set_weights``; variables: those of a `Generator`."""
    arrays = []
    for collection, layer, name in _slots(_GENERATOR):
        array = np.asarray(variables[collection][layer][name])
        arrays.append(_turned(array) if layer.startswith("conv") and name == "kernel" else array)
    return arrays


def discriminator_to_keras(variables: dict[str, Any]) -> list[np.ndarray]:
    """What `discriminator_from_keras` takes, for ``keras_model.set_weights``; variables: those of a `Discriminator`."""
    return [np.asarray(variables[collection][layer][name]) for collection, layer, name in _slots(_DISCRIMINATOR)]


def _slots(layers: Sequence[str]) -> list[tuple[str, str, str]]:
    """Collection, layer and name of each array, in Keras's order."""
    norm = (("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var"))
    other = (("params", "kernel"), ("params", "bias"))
    return [
        (collection, layer, name)
        for layer in layers
        for collection, name in (norm if layer.startswith("norm") else other)
    ]


def _turned(kernel: np.ndarray) -> np.ndarray:
    """[5, 5, in, out] <-> [5, 5, out, in], by half a turn: a transposed convolution of stride 1 is a convolution."""
    return np.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3))


def _from_keras(weights: Sequence[ArrayLike], layers: Sequence[str], like: dict[str, Any]) -> dict[str, Any]:
    slots = _slots(layers)
    if len(weights) != len(slots):
        raise ValueError(f"{len(slots)} arrays are expected, as of get_weights(), got {len(weights)}")
    transposed = "batch_stats" in like  # the generator's convolutions are Conv2DTranspose in Keras
    variables: dict[str, Any] = {collection: {layer: {} for layer in like[collection]} for collection in like}
    for i, ((collection, layer, name), weight) in enumerate(zip(slots, weights, strict=True)):
        array = np.asarray(weight)
        if transposed and layer.startswith("conv") and name == "kernel" and array.ndim == 4:
            array = _turned(array)
        expected = like[collection][layer][name].shape
        if array.shape != expected:
            raise ValueError(f"array {i} ({layer} {name}) must become {expected}, got shape {np.shape(weight)}")
        variables[collection][layer][name] = jnp.asarray(array, jnp.result_type(float))
    return variables
