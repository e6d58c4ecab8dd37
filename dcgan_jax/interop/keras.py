"""The weights of the tutorial's Keras models as Flax variables, and Keras's weight files."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dcgan_jax.errors import first_line
from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import WeightsError, network_state
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.state import GANState

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
    """The inverse of `generator_from_keras`: arrays for ``keras_model.set_weights`` from a `Generator`'s variables."""
    arrays = []
    for collection, layer, name in _weight_order(_GENERATOR):
        array = np.asarray(variables[collection][layer][name])
        arrays.append(_flip_kernel(array) if layer.startswith("conv") and name == "kernel" else array)
    return arrays


def discriminator_to_keras(variables: dict[str, Any]) -> list[np.ndarray]:
    """The inverse of `discriminator_from_keras`: arrays for ``set_weights`` from a `Discriminator`'s variables."""
    return [np.asarray(variables[collection][layer][name]) for collection, layer, name in _weight_order(_DISCRIMINATOR)]


def export_keras(path: Path, state: GANState, network: str = "generator") -> None:
    """Write weights that a Keras model of the tutorial's layers loads with ``model.load_weights(path)``.

    Args:
      path: a ``.weights.h5``.
      state: of the tutorial's networks.
      network: ``generator`` or ``discriminator``.

    Raises:
      WeightsError: if the package keras is not installed, or the networks are not the tutorial's.
      OSError: if the file cannot be written.
    """
    half = network_state(state, network)
    to_keras = {"generator": generator_to_keras, "discriminator": discriminator_to_keras}[network]
    model = keras_model(network)
    try:
        model.set_weights(to_keras({"params": half.params, "batch_stats": half.batch_stats}))
    except (KeyError, ValueError) as error:
        raise WeightsError(f"only the tutorial's networks can be written for Keras ({error})") from error
    with tempfile.TemporaryDirectory() as folder:  # Keras insists on the suffix
        saved = Path(folder) / "network.weights.h5"
        model.save_weights(saved)
        replace_file(path, lambda partial: partial.write_bytes(saved.read_bytes()))


def read_keras(path: Path, network: str) -> dict[str, Any]:
    """The variables of a network from a ``.weights.h5`` of the tutorial's Keras model.

    Raises:
      WeightsError: if the package keras is not installed, or the file holds other weights.
    """
    from_keras = {"generator": generator_from_keras, "discriminator": discriminator_from_keras}[network]
    model = keras_model(network)
    if not path.is_file():
        raise WeightsError(f"cannot read {path} (No such file or directory)")
    try:
        model.load_weights(path)
    except Exception as error:  # whatever Keras and h5py raise for a file of another model, or a damaged one
        reason = f"{path} does not hold the weights of the tutorial's {network} ({first_line(error)})"
        raise WeightsError(reason) from error
    return from_keras(model.get_weights())


def keras_model(network: str) -> Any:
    """One of the tutorial's models in Keras, which names the weights by the order of the layers.

    Raises:
      WeightsError: if the package keras is not installed, or its backend cannot be used.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")  # before Keras is first imported; any other backend works too
    try:
        import keras  # pyright: ignore[reportMissingImports]  # extra: export
    except ImportError as error:
        raise WeightsError(f"this needs the package keras ({error}): pip install 'dcgan-jax[export]'") from error
    except Exception as error:  # a KERAS_BACKEND that is not installed
        raise WeightsError(f"Keras cannot be used ({first_line(error)})") from error
    layers = keras.layers
    if network == "discriminator":
        model = keras.Sequential([keras.Input((28, 28, 1))])
        for features, strides in ((64, 2), (128, 2), (256, 2), (512, 1)):
            model.add(layers.Conv2D(features, 5, strides=strides, padding="same"))
            model.add(layers.LeakyReLU(negative_slope=0.2))
            model.add(layers.Dropout(0.4))
        for layer in (layers.Flatten(), layers.Dense(1), layers.Activation("sigmoid")):
            model.add(layer)
        return model
    model = keras.Sequential([keras.Input((100,)), layers.Dense(7 * 7 * 256), layers.BatchNormalization(momentum=0.9)])
    for layer in (layers.Activation("relu"), layers.Reshape((7, 7, 256)), layers.Dropout(0.4)):
        model.add(layer)
    for features, upsample in ((128, True), (64, True), (32, False)):
        if upsample:
            model.add(layers.UpSampling2D())
        model.add(layers.Conv2DTranspose(features, 5, padding="same"))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.Activation("relu"))
    model.add(layers.Conv2DTranspose(1, 5, padding="same"))
    model.add(layers.Activation("sigmoid"))
    return model


def _weight_order(layers: Sequence[str]) -> list[tuple[str, str, str]]:
    """Collection, layer and name of each array, in Keras's order."""
    norm = (("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var"))
    other = (("params", "kernel"), ("params", "bias"))
    return [
        (collection, layer, name)
        for layer in layers
        for collection, name in (norm if layer.startswith("norm") else other)
    ]


def _flip_kernel(kernel: np.ndarray) -> np.ndarray:
    """[5, 5, in, out] <-> [5, 5, out, in], flipped: a transposed convolution of stride 1 is a convolution."""
    return np.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3))


def _from_keras(weights: Sequence[ArrayLike], layers: Sequence[str], like: dict[str, Any]) -> dict[str, Any]:
    order = _weight_order(layers)
    if len(weights) != len(order):
        raise ValueError(f"{len(order)} arrays are expected, as of get_weights(), got {len(weights)}")
    transposed = "batch_stats" in like  # the generator's convolutions are Conv2DTranspose in Keras
    variables: dict[str, Any] = {collection: {layer: {} for layer in like[collection]} for collection in like}
    for i, ((collection, layer, name), weight) in enumerate(zip(order, weights, strict=True)):
        array = np.asarray(weight)
        if transposed and layer.startswith("conv") and name == "kernel" and array.ndim == 4:
            array = _flip_kernel(array)
        expected = like[collection][layer][name].shape
        if array.shape != expected:
            raise ValueError(f"array {i} ({layer} {name}) must become {expected}, got shape {np.shape(weight)}")
        variables[collection][layer][name] = jnp.asarray(array, jnp.result_type(float))
    return variables
