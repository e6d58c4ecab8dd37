"""The weights of the package's networks as a state dict of PyTorch, and back. PyTorch itself is not needed."""

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors.numpy import save

from dcgan_jax.files import replace_file, replace_text
from dcgan_jax.interop.common import (
    NETWORKS,
    WeightsError,
    check_networks,
    network_state,
    network_variables,
    what_decides,
)
from dcgan_jax.interop.pytorch_modules import module_file, module_text
from dcgan_jax.models import Discriminator, Generator, doublings
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState

PICKLES = (".pt", ".pth")  # suffixes of what `torch.save` writes
_COUNT = "num_batches_tracked"  # of batch normalisation, which PyTorch stores and does not use here
_NORM = (
    ("weight", "params", "scale"),
    ("bias", "params", "bias"),
    ("running_mean", "batch_stats", "mean"),
    ("running_var", "batch_stats", "var"),
)


class TorchArray(NamedTuple):
    """One array of a network.

    Attributes:
      name: in the state dict, with the network's name: ``generator.convs.0.weight``.
      path: in Flax: ``generator/params/conv_1/kernel``.
      axes: of the Flax array, in PyTorch's order.
      units: the indices in Flax of PyTorch's units along ``unit_axis``, if that is a flattened map [H, W, C]: PyTorch
        flattens it by channel, row, column. None if the order is the same.
      unit_axis: an axis of the Flax array.
    """

    name: str
    path: str
    axes: tuple[int, ...]
    units: np.ndarray | None = None
    unit_axis: int = 0

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """The Flax array in PyTorch's layout."""
        array = array if self.units is None else array.take(self.units, self.unit_axis)
        return np.ascontiguousarray(array.transpose(self.axes))

    def from_torch(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `to_torch`."""
        array = array.transpose(np.argsort(self.axes))
        return array if self.units is None else array.take(np.argsort(self.units), self.unit_axis)


def export_torch(
    path: str | Path, state: GANState, metadata: dict[str, Any] | None = None, networks: Sequence[str] = NETWORKS
) -> Path:
    """Write a state dict of PyTorch as safetensors, and next to it a Python file of the modules that load it.

    The Python file contains the sizes of these networks, and needs only PyTorch and safetensors::

        gan = load()  # in inference mode
        images = gan.generator(2 * torch.rand(16, 100) - 1)  # [16, 1, 28, 28] in [0, 1]

    Args:
      path: the weights, a ``.safetensors``; the Python file is named by `module_file`.
      state: of the package's own networks.
      metadata: stored in the weights' metadata, as JSON under ``dcgan-jax``.
      networks: ``generator``, ``discriminator`` or both.

    Returns:
      The path of the Python file. An existing file is replaced.

    Raises:
      WeightsError: if a network has another module.
      ValueError: for other names of networks.
      OSError: if a file cannot be written; a new Python file is then removed.
    """
    path = Path(path)
    check_networks(*networks)
    variables = jax.device_get(network_variables(state))
    tensors: dict[str, np.ndarray] = {}
    for network in networks:
        for at in torch_arrays(state, network):
            tensors[at.name] = at.to_torch(np.asarray(_leaf(variables, at.path), np.float32))
            if at.name.endswith(".running_var"):
                count = np.array(jax.device_get(state.step), np.int64)
                tensors[at.name.replace("running_var", _COUNT)] = count
    text = module_text(state, networks, path.name)
    content = save(tensors, metadata={"format": "pt", "dcgan-jax": json.dumps(metadata or {})})
    modules = path.with_name(module_file(path.name))
    new = not modules.exists()
    replace_text(modules, text)
    try:
        replace_file(path, lambda partial: partial.write_bytes(content))
    except BaseException:
        if new:
            modules.unlink(missing_ok=True)
        raise
    return modules


def torch_arrays(state: GANState, network: str) -> list[TorchArray]:
    """The arrays of a network as the modules of `export_torch` name them.

    Raises:
      WeightsError: if it is not the package's own.
    """
    module = network_state(state, network).module
    if type(module) not in (Generator, Discriminator):
        raise WeightsError(
            f"only the package's own networks have modules in PyTorch: this {network} is a {type(module).__name__}"
        )
    height, width, _ = image_shape(state)
    stages = doublings(height, width)
    generator = network == "generator"
    convs = stages + 2
    reduction = 2 ** (stages if generator else stages + 1)
    channels = network_state(state, network).params["conv_1" if generator else f"conv_{convs}"]["kernel"].shape
    units = _units(-(-height // reduction), -(-width // reduction), channels[2] if generator else channels[3])

    def array(layer: str, torch_name: str, name: str, axes: tuple[int, ...], **places: Any) -> TorchArray:
        return TorchArray(f"{network}.{torch_name}", f"{network}/params/{layer}/{name}", axes, **places)

    dense_bias = {"units": units} if generator else {}
    arrays = [
        array("dense", "dense.weight", "kernel", (1, 0), units=units, unit_axis=1 if generator else 0),
        array("dense", "dense.bias", "bias", (0,), **dense_bias),
    ]
    for i in range(convs):
        arrays.append(array(f"conv_{i + 1}", f"convs.{i}.weight", "kernel", (3, 2, 0, 1)))
        arrays.append(array(f"conv_{i + 1}", f"convs.{i}.bias", "bias", (0,)))
    for i in range(stages + 2 if generator else 0):
        for torch_name, collection, name in _NORM:
            path = f"{network}/{collection}/norm_{i}/{name}"
            arrays.append(TorchArray(f"{network}.norms.{i}.{torch_name}", path, (0,), None if i else units))
    if state.classes is not None:
        layer = "embedding" if generator else "class_vectors"
        arrays.append(array(layer, f"{layer}.weight", "embedding", (0, 1)))
    return arrays


def is_torch(names: Iterable[str]) -> bool:
    """Whether the arrays of a safetensors file are named as in a state dict of PyTorch, not as in JAX."""
    names = list(names)
    return not any("/" in name for name in names) and any(name.endswith((".weight", ".bias")) for name in names)


def from_torch(tensors: dict[str, Any], state: GANState, source: str) -> dict[str, np.ndarray]:
    """The arrays of a state dict in JAX's layout, by their names in JAX, such as ``generator/params/conv_1/kernel``.

    Args:
      tensors: of the modules of `export_torch`: of both networks, or of one, with or without its name as a prefix.
      state: of the package's own networks, which gives the shapes.
      source: where the tensors are from, for errors.

    Raises:
      WeightsError: if they are not exactly the arrays of a network, or have other shapes.
    """
    _refuse_examples(tensors, source)
    if "dense.weight" in tensors:  # of one network by itself
        network = "generator" if any(name.startswith("norms.") for name in tensors) else "discriminator"
        tensors = {f"{network}.{name}": tensor for name, tensor in tensors.items()}
    held = [network for network in NETWORKS if any(name.startswith(f"{network}.") for name in tensors)]
    arrays = {at.name: at for network in held or NETWORKS for at in torch_arrays(state, network)}
    counts = {name.replace("running_var", _COUNT) for name in arrays if name.endswith("running_var")}
    found = {name: tensor for name, tensor in tensors.items() if name not in counts}
    if set(found) != set(arrays):
        missing, other = sorted(set(arrays) - set(found)), sorted(set(found) - set(arrays))
        raise WeightsError(
            f"{source} holds other arrays than these networks in PyTorch: missing {missing[:3]}, unknown {other[:3]}"
            f"{what_decides(state)}"
        )
    variables, converted = network_variables(state), {}
    for name, at in arrays.items():
        like = _leaf(variables, at.path)
        shape = tuple(like.shape[axis] for axis in at.axes)
        if found[name].shape != shape:
            raise WeightsError(
                f"{source}: {name} must have shape {shape}, got {found[name].shape}{what_decides(state)}"
            )
        converted[at.path] = at.from_torch(found[name])
    return converted


def refuse_pickle(path: Path, start: bytes) -> None:
    """Raises: WeightsError for a file of ``torch.save``, by its name or content; it is never unpickled."""
    if not (start.startswith(b"\x80") or path.suffix.lower() in PICKLES or _holds_pickle(path, start)):
        return
    raise WeightsError(
        f"{path} is a pickle, as torch.save writes, which can run any program when it is read: in PyTorch, "
        "safetensors.torch.save_file(state_dict, 'FILE.safetensors') writes the state dict as what is read here"
    )


def _holds_pickle(path: Path, start: bytes) -> bool:
    if not start.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except Exception:  # whatever zipfile raises for a damaged file
        return False


def _refuse_examples(tensors: dict[str, Any], source: str) -> None:
    """Raises: WeightsError for the networks of PyTorch's own DCGAN example, by the names of their arrays."""
    names = {name.removeprefix("module.") for name in tensors}
    if not names or not all(name.startswith("main.") for name in names):
        return
    network = "generator" if "main.1.weight" in names else "discriminator"  # batch normalisation after the first layer
    first = next(
        (list(tensors[name].shape) for name in ("main.0.weight", "module.main.0.weight") if name in tensors), ""
    )
    raise WeightsError(
        f"{source} holds the {network} of the DCGAN of pytorch/examples (main.0.weight {first}): it has other layers "
        "and 4x4 kernels, and fits no network here"
    )


def _units(h: int, w: int, channels: int) -> np.ndarray:
    """Indices into a flattened [h, w, channels], ordered by channel, row, column."""
    return np.arange(h * w * channels).reshape(h, w, channels).transpose(2, 0, 1).ravel()


def _leaf(variables: dict[str, Any], path: str) -> Any:
    leaf: Any = variables
    for name in path.split("/"):
        leaf = leaf[name]
    return leaf
