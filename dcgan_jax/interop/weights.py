"""The weights of both networks as safetensors, and weights from files into a state."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import WeightsError, leaf_name, network_state, network_variables
from dcgan_jax.interop.keras import read_keras
from dcgan_jax.state import GANState


def export_safetensors(path: Path, state: GANState, metadata: dict[str, Any]) -> None:
    """Write the parameters and moving statistics of both networks, as ``generator/params/conv_1/kernel`` and so on.

    Args:
      path: the file.
      state: of any modules.
      metadata: goes into the file's metadata, as JSON under ``dcgan-jax``.

    Raises:
      WeightsError: if the package safetensors is not installed.
      OSError: if the file cannot be written.
    """
    save = _safetensors().save
    leaves = jax.tree_util.tree_leaves_with_path(network_variables(state))
    tensors = {leaf_name(at): np.asarray(leaf, order="C") for at, leaf in leaves}
    content = save(tensors, metadata={"dcgan-jax": json.dumps(metadata)})
    replace_file(path, lambda partial: partial.write_bytes(content))


def import_weights(path: Path, state: GANState, network: str = "generator") -> GANState:
    """The state with weights from a file of `export_safetensors` or `export_keras`, or of the same format.

    Args:
      path: a ``.safetensors`` of both networks, or a ``.weights.h5`` of one.
      state: of the same modules. Its optimizers and its step stay as they are; its moving average restarts.
      network: the network whose weights a ``.weights.h5`` holds.

    Raises:
      WeightsError: if the file cannot be read, or holds other arrays or numbers that are not finite.
    """
    if path.name.endswith(".safetensors"):
        variables = _read_safetensors(path, state)
    elif path.name.endswith(".weights.h5"):
        variables = {network: read_keras(path, network)}
    else:
        raise WeightsError(f"weights are read from .safetensors and .weights.h5, got {path}")
    _check_values(path, variables)
    for name, collections in variables.items():
        half = network_state(state, name)
        batch_stats = collections.get("batch_stats", half.batch_stats)
        state = state.replace(**{name: half.replace(params=collections["params"], batch_stats=batch_stats)})
    if state.ema is None:
        return state
    params, batch_stats = jax.tree.map(jnp.copy, (state.generator.params, state.generator.batch_stats))
    ema = state.ema.replace(count=jnp.zeros_like(state.ema.count), params=params, batch_stats=batch_stats)
    return state.replace(ema=ema)


def _check_values(path: Path, variables: dict[str, Any]) -> None:
    """Raises: WeightsError if a number is not finite, or a variance is negative."""
    for at, leaf in jax.tree_util.tree_leaves_with_path(variables):
        name = leaf_name(at)
        if not np.isfinite(leaf).all():
            raise WeightsError(f"{path}: {name} has numbers that are NaN or infinite")
        if "/batch_stats/" in name and name.endswith("/var") and (leaf < 0).any():
            raise WeightsError(f"{path}: {name} has variances below 0")


def _read_safetensors(path: Path, state: GANState) -> dict[str, dict[str, Any]]:
    load = _safetensors().load_file
    try:
        tensors = load(path)
    except Exception as error:  # whatever its parser raises for a damaged file
        raise WeightsError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from error
    like = network_variables(state)
    expected = {leaf_name(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(like)}
    if set(tensors) != set(expected):
        missing, other = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        raise WeightsError(f"{path} holds other arrays than these networks: missing {missing[:3]}, unknown {other[:3]}")
    for name, leaf in expected.items():
        if tensors[name].shape != leaf.shape:
            raise WeightsError(f"{path}: {name} must have shape {leaf.shape}, got {tensors[name].shape}")
        if not jnp.issubdtype(tensors[name].dtype, jnp.floating):
            raise WeightsError(f"{path}: {name} must be floating point, got {tensors[name].dtype}")
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are refused as that
        return jax.tree_util.tree_map_with_path(
            lambda at, leaf: jnp.asarray(tensors[leaf_name(at)].astype(leaf.dtype)), like
        )


def _safetensors() -> Any:
    try:
        from safetensors import numpy  # extra: export
    except ImportError as error:
        raise WeightsError("this needs the package safetensors: pip install 'dcgan-jax[export]'") from error
    return numpy
