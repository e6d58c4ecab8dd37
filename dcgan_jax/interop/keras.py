"""The weights of the tutorial's Keras models as Flax variables, and back. Keras itself is not needed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dcgan_jax.models import Discriminator, Generator

# The layers that have weights, in Keras's order.
LAYERS = {
    "generator": ("dense", "norm_0", "conv_1", "norm_1", "conv_2", "norm_2", "conv_3", "norm_3", "conv_4"),
    "discriminator": ("conv_1", "conv_2", "conv_3", "conv_4", "dense"),
}


class KerasArray(NamedTuple):
    """One array of a layer.

    Attributes:
      keras_name: its name in Keras, without that of the layer.
      collection: its collection in Flax: ``variables[collection][layer][name]``.
      name: its name in Flax.
      flipped: whether it is the kernel of a Conv2DTranspose. With stride 1, that is a convolution with the kernel
        flipped along both spatial axes, [h, w, out, in] in Keras and [h, w, in, out] in Flax.
    """

    keras_name: str
    collection: str
    name: str
    flipped: bool = False


def layer_arrays(network: str, layer: str) -> tuple[KerasArray, ...]:
    """The arrays of a layer, in Keras's order."""
    if layer.startswith("norm"):
        return (
            KerasArray("gamma", "params", "scale"),
            KerasArray("beta", "params", "bias"),
            KerasArray("moving_mean", "batch_stats", "mean"),
            KerasArray("moving_variance", "batch_stats", "var"),
        )
    flipped = network == "generator" and layer.startswith("conv")
    return KerasArray("kernel", "params", "kernel", flipped), KerasArray("bias", "params", "bias")


def flip(kernel: np.ndarray) -> np.ndarray:
    """[h, w, in, out] <-> [h, w, out, in], both spatial axes reversed."""
    return np.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3))


def generator_from_keras(weights: Sequence[ArrayLike]) -> dict[str, Any]:
    """Variables of a `Generator` from ``keras_model.get_weights()`` of the tutorial's generator.

    Args:
      weights: in Keras's order: the dense layer's kernel and bias, then its batch normalisation's gamma,
        beta, moving mean and moving variance; likewise for each transposed convolution, the last of which
        has no normalisation.

    Returns:
      ``{"params": ..., "batch_stats": ...}`` for ``Generator().apply``; float32, or float64 where ``weights`` are.

    Raises:
      ValueError: if the number of arrays or a shape is not the tutorial's.
    """
    latent = np.shape(weights[0])[0] if len(weights) and np.ndim(weights[0]) else 0
    z = jax.ShapeDtypeStruct((1, latent), jnp.float32)
    return _from_keras(weights, "generator", jax.eval_shape(Generator().init, jax.random.key(0), z))


def discriminator_from_keras(weights: Sequence[ArrayLike]) -> dict[str, Any]:
    """Variables of a `Discriminator` from ``keras_model.get_weights()`` of the tutorial's discriminator.

    Args:
      weights: in Keras's order: kernel and bias of the four convolutions and of the dense layer.

    Returns:
      ``{"params": ...}`` for ``Discriminator().apply``, whose logits are the input of Keras's sigmoid; float32, or
      float64 where ``weights`` are.

    Raises:
      ValueError: if the number of arrays or a shape is not the tutorial's.
    """
    images = jax.ShapeDtypeStruct((1, *Generator().image_shape), jnp.float32)
    return _from_keras(weights, "discriminator", jax.eval_shape(Discriminator().init, jax.random.key(0), images))


def generator_to_keras(variables: dict[str, Any]) -> list[np.ndarray]:
    """The inverse of `generator_from_keras`: arrays for ``keras_model.set_weights`` from a `Generator`'s variables.

    Raises:
      ValueError: if the network has other layers, as for classes or for images above 32 pixels.
    """
    return _to_keras(variables, "generator")


def discriminator_to_keras(variables: dict[str, Any]) -> list[np.ndarray]:
    """The inverse of `discriminator_from_keras`: arrays for ``set_weights`` from a `Discriminator`'s variables.

    Raises:
      ValueError: as `generator_to_keras`.
    """
    return _to_keras(variables, "discriminator")


def _to_keras(variables: dict[str, Any], network: str) -> list[np.ndarray]:
    if other := set(variables["params"]) ^ set(LAYERS[network]):
        raise ValueError(f"the tutorial's {network} in Keras has other layers: {sorted(other)} differ")
    arrays = []
    for layer in LAYERS[network]:
        for at in layer_arrays(network, layer):
            array = np.asarray(jax.device_get(variables[at.collection][layer][at.name]))
            arrays.append(flip(array) if at.flipped else array)
    return arrays


def _from_keras(weights: Sequence[ArrayLike], network: str, like: dict[str, Any]) -> dict[str, Any]:
    order = [(layer, at) for layer in LAYERS[network] for at in layer_arrays(network, layer)]
    if len(weights) != len(order):
        raise ValueError(f"{len(order)} arrays are expected, as of get_weights(), got {len(weights)}")
    variables: dict[str, Any] = {collection: {layer: {} for layer in like[collection]} for collection in like}
    for i, ((layer, at), weight) in enumerate(zip(order, weights, strict=True)):
        array = np.asarray(weight)
        if at.flipped and array.ndim == 4:
            array = flip(array)
        expected = like[at.collection][layer][at.name].shape
        if array.shape != expected:
            raise ValueError(f"array {i} ({layer} {at.name}) must become {expected}, got shape {np.shape(weight)}")
        # The weights' own dtype, not JAX's default, which depends on a setting of the process.
        dtype = np.float64 if array.dtype == np.float64 else np.float32
        variables[at.collection][layer][at.name] = jnp.asarray(array.astype(dtype))
    return variables
