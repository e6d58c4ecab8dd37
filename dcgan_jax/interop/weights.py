"""Export the weights of both networks as safetensors, and import weights from files into a state."""

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save

from dcgan_jax.ema import start_average
from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import (
    NETWORKS,
    WeightsError,
    check_networks,
    check_shape,
    leaf_name,
    named_arrays,
    network_state,
    network_variables,
    what_decides,
)
from dcgan_jax.interop.keras_files import HDF5, ZIP, read_keras
from dcgan_jax.interop.pytorch import from_torch, is_torch, refuse_pickle
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState

_METADATA, _SHAPE = "dcgan-jax", "image_shape"  # the key of a file's metadata, and in it that of [H, W, C]


def export_safetensors(
    path: str | Path, state: GANState, metadata: dict[str, Any], networks: Sequence[str] = NETWORKS
) -> None:
    """Write parameters and moving statistics as safetensors, named as ``generator/params/conv_1/kernel``.

    Args:
      path: the file.
      state: with any modules.
      metadata: stored in the file's metadata, as JSON under ``dcgan-jax``, beside the shape of the images.
      networks: ``generator``, ``discriminator`` or both.

    Raises:
      ValueError: for other names of networks.
      OSError: if the file cannot be written.
    """
    check_networks(*networks)
    arrays = {name: leaf for name, leaf in named_arrays(state).items() if name.partition("/")[0] in networks}
    tensors = {name: np.asarray(jax.device_get(leaf), order="C") for name, leaf in arrays.items()}
    about = json.dumps({**metadata, _SHAPE: image_shape(state)})
    content = save(tensors, metadata={_METADATA: about})  # a single key: of several the order is not fixed
    replace_file(Path(path), lambda partial: partial.write_bytes(content))


def import_weights(path: str | Path, state: GANState, network: str | None = None) -> GANState:
    """The state with the weights of a file: `replace_weights` of what `read_weights` reads.

    Args:
      path: the file.
      state: with the same modules.
      network: import only the ``generator`` or the ``discriminator``; all networks in the file if None.

    Raises:
      WeightsError: as `read_weights`, or if the file does not hold the network.
    """
    weights = read_weights(path, state)
    if network is not None:
        if network not in weights:
            raise WeightsError(f"{path} holds the weights of the {' and '.join(weights)}, not of the {network}")
        weights = {network: weights[network]}
    return replace_weights(state, weights)


def read_weights(path: str | Path, state: GANState) -> dict[str, dict[str, Any]]:
    """Read the variables of the networks in a file, whose format is recognised by its content, not its name.

    Args:
      path: a safetensors file of `export_safetensors` or of the modules of `export_torch`, or a file of Keras
        (`read_keras`).
      state: with the same modules.

    Returns:
      ``{network: {"params": ..., "batch_stats": ...}}`` of the generator, the discriminator or both.

    Raises:
      WeightsError: if the file cannot be read, or has other arrays, values that are not finite, or negative variances.
      ShapeError: if a file of `export_safetensors` has networks for images of another shape.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        start = b""
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(9)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise WeightsError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from error
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder (TensorFlow's checkpoints and SavedModels are not read): give files of weights here, "
            "or start a run from runs and folders for the Hub by `init_from`"
        )
    if not start.startswith(HDF5) and not start.endswith(b"{"):
        refuse_pickle(path, start)
    if start.startswith((ZIP, HDF5)):
        weights = read_keras(path, state)
    elif start.endswith(b"{") or path.name.endswith(".safetensors"):
        weights = _read_safetensors(path, state)
    else:
        raise WeightsError(
            f"{path} is neither safetensors nor an HDF5 or .keras file of Keras (TensorFlow's checkpoints and "
            "SavedModels are not read): in Keras, model.save_weights('generator.weights.h5') writes one"
        )
    _check_values(path, weights)
    return weights


def replace_weights(state: GANState, weights: dict[str, dict[str, Any]]) -> GANState:
    """The state with the weights of `read_weights`.

    Its optimizers and its step are unchanged; its moving average restarts if the generator is replaced.
    """
    for network, variables in weights.items():
        half = network_state(state, network)
        batch_stats = variables.get("batch_stats", half.batch_stats)
        state = state.replace(**{network: half.replace(params=variables["params"], batch_stats=batch_stats)})
    if state.ema is None or "generator" not in weights:
        return state
    generator = state.generator
    ema = start_average(generator.params, generator.batch_stats, state.ema.decay, state.ema.ramp)
    return state.replace(ema=ema)


def _check_values(path: Path, variables: dict[str, Any]) -> None:
    """Raises: WeightsError if a value is not finite, or a variance is negative."""
    for at, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(variables)):
        name = leaf_name(at)
        if not np.isfinite(leaf).all():
            raise WeightsError(f"{path}: {name} has numbers that are NaN or infinite")
        if "/batch_stats/" in name and name.endswith("/var") and (leaf < 0).any():
            raise WeightsError(f"{path}: {name} has variances below 0")


def match_weights(tensors: dict[str, Any], state: GANState, source: str) -> dict[str, dict[str, Any]]:
    """The variables of the networks in ``tensors``, in the dtypes of the state.

    Args:
      tensors: named as by `export_safetensors`, of the generator, the discriminator or both.
      state: with the same modules.
      source: where the tensors are from, for errors.

    Returns:
      As `read_weights`.

    Raises:
      WeightsError: if they are not exactly the arrays of a network, have other shapes, or are not floating point.
    """
    held = {name.partition("/")[0] for name in tensors}
    like = {network: variables for network, variables in network_variables(state).items() if network in held}
    expected = {leaf_name(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(like)}
    if not tensors or set(tensors) != set(expected):
        missing, other = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        raise WeightsError(
            f"{source} holds other arrays than these networks: missing {missing[:3]}, unknown {other[:3]}"
            f"{what_decides(state)}"
        )
    for name, leaf in expected.items():
        if tensors[name].shape != leaf.shape:
            raise WeightsError(
                f"{source}: {name} must have shape {leaf.shape}, got {tensors[name].shape}{what_decides(state)}"
            )
        if not jnp.issubdtype(tensors[name].dtype, jnp.floating):
            raise WeightsError(f"{source}: {name} must be floating point, got {tensors[name].dtype}")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are refused later
        return jax.tree_util.tree_map_with_path(
            lambda at, leaf: jax.device_put(np.asarray(tensors[leaf_name(at)]).astype(leaf.dtype)), like
        )


def _read_safetensors(path: Path, state: GANState) -> dict[str, dict[str, Any]]:
    try:
        tensors = load_file(path)
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(_METADATA, "null"))
    except Exception as error:  # whatever its parser raises for a damaged file
        raise WeightsError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from error
    if isinstance(about, dict) and isinstance(shape := about.get(_SHAPE), list):
        check_shape(shape, state, str(path))
    if is_torch(tensors):
        tensors = from_torch(tensors, state, str(path))
    return match_weights(tensors, state, str(path))
