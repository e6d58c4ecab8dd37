"""A run's networks in the formats of other programs, and back."""

import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.errors import first_line
from dcgan_jax.interop.keras import (
    discriminator_from_keras,
    discriminator_to_keras,
    generator_from_keras,
    generator_to_keras,
)
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.sampling import generate
from dcgan_jax.state import GANState, NetworkState

FORMATS = ("stablehlo", "safetensors", "keras", "onnx")
NETWORKS = ("generator", "discriminator")
SUFFIXES = {"stablehlo": ".stablehlo", "safetensors": ".safetensors", "keras": ".weights.h5", "onnx": ".onnx"}
_PLATFORMS = ("cpu", "cuda", "tpu")
_COLLECTIONS = ("params", "batch_stats")


class ExportError(ValueError):
    """Networks cannot be written or read; the message is one line that says why."""


def export_stablehlo(path: Path, state: GANState, network: str = "generator") -> None:
    """A program for CPU, CUDA and TPU in one file, that needs JAX alone: noise to images, or images to logits.

    In inference mode, its parameters within, for any batch size::

        from jax import export
        images = export.deserialize(open(path, "rb").read()).call(z)  # z [B, latent] -> [B, H, W, C] in [0, 1]

    Args:
      path: the file.
      state: of whatever modules.
      network: ``generator`` or ``discriminator``.
    """
    from jax import export

    (batch,) = export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((batch, *_input_shape(state, network)), jnp.float32)
    program = export.export(jax.jit(_half(state, network).infer), platforms=_PLATFORMS)(x)
    _write(path, lambda file: file.write_bytes(program.serialize()))


def export_onnx(path: Path, state: GANState, network: str = "generator") -> None:
    """An ONNX model in inference mode, for any batch size; input and output as in `export_stablehlo`.

    Raises:
      ExportError: if the package jax2onnx is not installed.
    """
    for name in ("jax2onnx", "onnx_ir"):  # they tell at length of plugins for packages that are not there
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]  # extra: export
    except ImportError as error:
        raise ExportError("--format onnx needs the package jax2onnx: pip install 'dcgan-jax[export]'") from error
    half = _half(state, network)
    if isinstance(half.module, Generator | Discriminator):  # what is fast on a CPU here is not there, nor is bfloat16
        half = half.replace(module=half.module.clone(plain=True, dtype=jnp.float32))
    x = ("B", *_input_shape(state, network))

    def write(file: Path) -> None:
        model = to_onnx(half.infer, [x])
        del model.graph.value_info[:]  # the shapes noted on the way are of another order of axes than the arrays
        file.write_bytes(model.SerializeToString())

    _write(path, write)


def export_safetensors(path: Path, state: GANState, about: dict[str, Any]) -> None:
    """The parameters and moving statistics of both networks, as ``generator/params/conv_1/kernel`` and the like.

    Args:
      path: the file.
      state: of whatever modules.
      about: goes into the file's metadata, as JSON under ``dcgan-jax``.

    Raises:
      ExportError: if the package safetensors is not installed.
    """
    save = _safetensors().save
    leaves = jax.tree_util.tree_leaves_with_path(_trees(state))
    tensors = {_name(at): np.asarray(leaf, order="C") for at, leaf in leaves}
    _write(path, lambda file: file.write_bytes(save(tensors, metadata={"dcgan-jax": json.dumps(about)})))


def export_keras(path: Path, state: GANState, network: str = "generator") -> None:
    """Weights that a Keras model of the tutorial's layers loads with ``model.load_weights(path)``.

    Raises:
      ExportError: if the package keras is not installed, or the networks are not the tutorial's.
    """
    half, convert = _half(state, network), {"generator": generator_to_keras, "discriminator": discriminator_to_keras}
    model = _keras_model(network)
    try:
        model.set_weights(convert[network]({"params": half.params, "batch_stats": half.batch_stats}))
    except (KeyError, ValueError) as error:
        raise ExportError(f"only the tutorial's networks can be written for Keras ({error})") from error
    _write(path, model.save_weights)


def import_weights(path: Path, state: GANState, network: str = "generator") -> GANState:
    """The state with the weights that `export_safetensors` or `export_keras` wrote, or the same programs elsewhere.

    Args:
      path: a ``.safetensors`` of both networks, or a ``.weights.h5`` of one.
      state: of the same modules. Its optimizers and its step stay as they are; an average begins anew.
      network: whose weights a ``.weights.h5`` holds.

    Raises:
      ExportError: if the file cannot be read, or holds other arrays or numbers that are not finite.
    """
    if path.name.endswith(".safetensors"):
        halves = _read_safetensors(path, state)
    elif path.name.endswith(".weights.h5"):
        halves = {network: _read_keras(path, network)}
    else:
        raise ExportError(f"weights are read from .safetensors and .weights.h5, got {path}")
    for at, leaf in jax.tree_util.tree_leaves_with_path(halves):
        if not np.isfinite(leaf).all():
            raise ExportError(f"{path}: {_name(at)} has numbers that are NaN or infinite")
        if "/batch_stats/" in _name(at) and _name(at).endswith("/var") and (leaf < 0).any():
            raise ExportError(f"{path}: {_name(at)} has variances below 0")
    for name, variables in halves.items():
        half = _half(state, name).replace(
            params=variables["params"], batch_stats=variables.get("batch_stats", _half(state, name).batch_stats)
        )
        state = state.replace(**{name: half})
    if state.ema is not None:
        g = state.generator
        state = state.replace(
            ema=state.ema.replace(
                count=jnp.zeros_like(state.ema.count),
                params=jax.tree.map(jnp.copy, g.params),
                batch_stats=jax.tree.map(jnp.copy, g.batch_stats),
            )
        )
    return state


def _half(state: GANState, network: str) -> NetworkState:
    return state.generator if network == "generator" else state.discriminator


def _input_shape(state: GANState, network: str) -> tuple[int, ...]:
    if network == "generator":
        return (state.latent_size,)
    return jax.eval_shape(generate, state, jnp.zeros((1, state.latent_size))).shape[1:]


def _trees(state: GANState) -> dict[str, dict[str, Any]]:
    """Parameters and statistics of both networks, as one tree."""
    return {n: {collection: getattr(_half(state, n), collection) for collection in _COLLECTIONS} for n in NETWORKS}


def _name(at: Any) -> str:
    return jax.tree_util.keystr(at, simple=True, separator="/")


def _read_safetensors(path: Path, state: GANState) -> dict[str, dict[str, Any]]:
    try:
        tensors = _safetensors().load_file(path)
    except ExportError:
        raise
    except Exception as error:  # whatever its parser makes of a damaged file
        raise ExportError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from error
    expected = {_name(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(_trees(state))}
    if set(tensors) != set(expected):
        missing, other = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        raise ExportError(f"{path} holds other arrays than these networks: missing {missing[:3]}, unknown {other[:3]}")
    for name, leaf in expected.items():
        if tensors[name].shape != leaf.shape:
            raise ExportError(f"{path}: {name} must have shape {leaf.shape}, got {tensors[name].shape}")
        if not jnp.issubdtype(tensors[name].dtype, jnp.floating):
            raise ExportError(f"{path}: {name} must be floating point, got {tensors[name].dtype}")
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is told as that
        return jax.tree_util.tree_map_with_path(
            lambda at, leaf: jnp.asarray(tensors[_name(at)].astype(leaf.dtype)), _trees(state)
        )


def _read_keras(path: Path, network: str) -> dict[str, Any]:
    convert = {"generator": generator_from_keras, "discriminator": discriminator_from_keras}[network]
    model = _keras_model(network)
    if not path.is_file():
        raise ExportError(f"cannot read {path} (No such file or directory)")
    try:
        model.load_weights(path)
    except Exception as error:  # whatever Keras and h5py make of another model's file, or of a damaged one
        reason = f"{path} does not hold the weights of the tutorial's {network} ({first_line(error)})"
        raise ExportError(reason) from error
    return convert(model.get_weights())


def _keras_model(network: str) -> Any:
    """The tutorial's model in Keras, which names the weights by the order of the layers."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # before Keras is first imported; another one will do as well
    try:
        import keras  # pyright: ignore[reportMissingImports]  # extra: export
    except ImportError as error:
        raise ExportError(f"this needs the package keras ({error}): pip install 'dcgan-jax[export]'") from error
    except Exception as error:  # a KERAS_BACKEND that there is not
        raise ExportError(f"Keras cannot be used ({first_line(error)})") from error
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


def _safetensors() -> Any:
    try:
        from safetensors import numpy  # extra: export
    except ImportError as error:
        raise ExportError("this needs the package safetensors: pip install 'dcgan-jax[export]'") from error
    return numpy


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file in one move, from a folder beside it where it has its own name, which some writers insist on.

    Raises:
      OSError: if the folder cannot be written.
      ExportError: if the writer fails.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".dcgan-jax-") as folder:
        try:
            write(Path(folder) / path.name)
        except OSError:
            raise
        except Exception as error:  # whatever the libraries of the formats raise
            raise ExportError(f"cannot write {path} ({first_line(error)})") from error
        os.replace(Path(folder) / path.name, path)
