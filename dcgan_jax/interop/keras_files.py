"""Keras weight files: written in the format of Keras 3, read in those of all versions since 2.0."""

import io
import itertools
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.errors import UserError, first_line
from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import NETWORKS, WeightsError, network_state, network_variables, require
from dcgan_jax.interop.keras import LAYERS, discriminator_to_keras, flip, generator_to_keras, layer_arrays
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.state import GANState

_Layer = dict[str, Any]  # the datasets of a layer, by the names of its arrays in Keras
_Shapes = frozenset[tuple[str, tuple[int, ...]]]  # each array's name and shape, by which a layer is recognised
_Pair = tuple[str, _Shapes, _Shapes]  # the name and the arrays of a layer in a file, and the expected arrays

HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes of a .h5
ZIP = b"PK\x03\x04"  # the first bytes of a .keras
_NOT_WEIGHTS = ("optimizer", "optimizer_weights", "metrics", "seed_generator")  # groups in files of whole models
_WITHOUT_WEIGHTS = {
    "generator": {"activation": 5, "dropout": 1, "reshape": 1, "up_sampling2d": 2},
    "discriminator": {"activation": 1, "dropout": 4, "flatten": 1, "leaky_re_lu": 4},
}
_ARRAY_NAME = re.compile(r"(kernel|bias|gamma|beta|moving_mean|moving_variance)(_\d+)?(:\d+)?")
_MAX_OBJECTS = 5_000  # groups and arrays in a file; a whole adversarial model has about two hundred
_MAX_BYTES = 2**29  # of the weights inside a .keras; those of an adversarial model with its optimizer are 54 MB


def export_keras(path: str | Path, state: GANState, network: str = "generator") -> None:
    """Write weights that a Keras 3 model of the tutorial's layers loads with ``model.load_weights(path)``.

    The weights are float32. Keras is not used, so its settings have no effect.

    Args:
      path: a ``.weights.h5``.
      state: of the tutorial's networks.
      network: ``generator`` or ``discriminator``.

    Raises:
      WeightsError: if the package h5py is not installed, or the networks are not the tutorial's.
      OSError: if the file cannot be written.
    """
    h5py = require("h5py")
    _check_modules(state, (network,))
    half = network_state(state, network)
    to_keras = {"generator": generator_to_keras, "discriminator": discriminator_to_keras}[network]
    arrays = iter(to_keras({"params": half.params, "batch_stats": half.batch_stats}))
    content, classes = io.BytesIO(), Counter()
    with h5py.File(content, "w") as file:

        def add_layer(keras_class: str) -> Any:
            """Create a layer's group, which Keras finds by the layer's class and its number within the class."""
            number = f"_{classes[keras_class]}" if classes[keras_class] else ""
            classes[keras_class] += 1
            return file.create_group(f"layers/{keras_class}{number}/vars")

        for layer in LAYERS[network]:
            group = add_layer(_keras_class(network, layer))
            for i, _ in enumerate(layer_arrays(network, layer)):
                group[str(i)] = np.asarray(next(arrays), np.float32)
        file.create_group("vars")  # the model's own
        for keras_class, count in _WITHOUT_WEIGHTS[network].items():  # Keras 3.0 looks for these too
            for _ in range(count):
                add_layer(keras_class)
    replace_file(Path(path), lambda partial: partial.write_bytes(content.getbuffer()))


def read_keras(path: Path, state: GANState) -> dict[str, dict[str, Any]]:
    """Read the variables of the generator, the discriminator or both from a file of Keras.

    The file may be Keras 3's ``.weights.h5``, Keras 2's HDF5, or a whole model in HDF5 or ``.keras``, with a network by
    itself or inside other models. The networks are recognised by the shapes of their layers.

    Args:
      path: the file.
      state: of the tutorial's networks, which gives the shapes and types.

    Returns:
      ``{network: {"params": ..., "batch_stats": ...}}``.

    Raises:
      WeightsError: if the package h5py is not installed, the file cannot be read, or it holds other weights.
    """
    require("h5py")
    try:
        with _open(path) as file:
            _check_modules(state, NETWORKS)
            found = _recognise(path, _layers(path, file), state)
            return {network: _read(path, network, layers, state) for network, layers in found.items()}
    except UserError:
        raise
    except Exception as error:  # whatever h5py and zipfile raise for a damaged file
        raise WeightsError(f"cannot read {path} ({first_line(error)})") from error


def _check_modules(state: GANState, networks: Iterable[str]) -> None:
    for network in networks:
        if not isinstance(network_state(state, network).module, Generator | Discriminator):
            raise WeightsError(f"only the tutorial's networks have weights in Keras: this {network} is another module")
        if other := set(network_state(state, network).params) ^ set(LAYERS[network]):
            raise WeightsError(
                f"only the tutorial's layers have weights in Keras: this {network} has other ones, {sorted(other)}, "
                "for classes or for images above 32 pixels"
            )


def _keras_class(network: str, layer: str) -> str:
    if layer.startswith("norm"):
        return "batch_normalization"
    return "dense" if layer == "dense" else {"generator": "conv2d_transpose", "discriminator": "conv2d"}[network]


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open the HDF5 file, which in a ``.keras`` is inside a zip archive."""
    with path.open("rb") as raw:
        content: Any = raw
        if raw.read(len(ZIP)) == ZIP:
            content = io.BytesIO(_unzip(path, raw))
        # Not by the attribute "backend": the HDF5 library can hang on a damaged attribute, so none is read.
        content.seek(0)
        if any(b"theano" in block for block in iter(lambda: content.read(2**20), b"")):
            raise WeightsError(f"{path} was written on Theano, which flips kernels: save it from Keras on TensorFlow")
        content.seek(0)
        with require("h5py").File(content, "r") as file:
            yield file


def _unzip(path: Path, raw: BinaryIO) -> bytes:
    name = "model.weights.h5"
    with zipfile.ZipFile(raw) as archive:
        if name not in archive.namelist():
            raise WeightsError(f"{path} is a zip archive without the {name} of Keras's .keras files")
        size = archive.getinfo(name).file_size
        if size > _MAX_BYTES:
            raise WeightsError(f"{path}: its {name} would unpack to {size / 2**20:,.0f} MiB, which no GAN here has")
        return archive.read(name)


def _layers(path: Path, file: Any) -> dict[str, _Layer]:
    """All layers in the file, by the name of their group.

    Keras 2 names a dataset after its array, ``sequential_1/dense_1/kernel:0``; Keras 3 numbers them,
    ``layers/sequential/layers/dense/vars/0``.
    """
    h5py = require("h5py")
    layers: dict[str, _Layer] = {}
    groups, seen = [("", file)], 0
    while groups:
        at, group = groups.pop()
        datasets = {}
        for name in group:
            seen += 1
            if seen > _MAX_OBJECTS:
                raise WeightsError(f"{path} holds more than {_MAX_OBJECTS:,} groups and arrays, which no GAN here has")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightsError(f"{path}: {_printable(at + name)} is a link, which Keras does not write")
            if name in _NOT_WEIGHTS:
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append((f"{at}{name}/", item))
            elif isinstance(item, h5py.Dataset):
                datasets[name] = item
        if datasets:
            layers[at.removesuffix("/").removesuffix("/vars")] = _by_array_name(datasets)
    return dict(sorted(layers.items(), key=_natural))


def _by_array_name(datasets: dict[str, Any]) -> _Layer:
    matches = {name: _ARRAY_NAME.fullmatch(name) for name in datasets}
    if all(matches.values()):
        return {match[1]: datasets[name] for name, match in matches.items() if match}
    for layer in ("norm_0", "conv_1"):  # numbered in the order of the layer's variables
        names = [at.keras_name for at in layer_arrays("generator", layer)]
        if datasets.keys() == {str(i) for i in range(len(names))}:
            return {name: datasets[str(i)] for i, name in enumerate(names)}
    return datasets


def _recognise(path: Path, layers: dict[str, _Layer], state: GANState) -> dict[str, dict[str, _Layer]]:
    """The datasets of each network in the file, by the names of its layers in this package."""
    if not layers:
        raise WeightsError(f"{path} holds no layer's weights")
    expected = {network: _expected(network, state) for network in NETWORKS}
    found: dict[str, dict[str, _Layer]] = {}
    unknown: list[tuple[str, _Shapes]] = []
    for name, arrays in layers.items():
        shapes = _shapes_of(arrays)
        network = next((network for network in NETWORKS if shapes in expected[network]), None)
        if network is None:
            unknown.append((name, shapes))
            continue
        layer = expected[network][shapes]
        if layer in found.setdefault(network, {}):
            raise WeightsError(f"{path} holds the {network}'s layer of {_describe(shapes)} twice")
        found[network][layer] = arrays
    if unknown or any(len(found[network]) < len(expected[network]) for network in found):
        _check_sizes(path, layers, expected)
    for network in found:
        for shapes, layer in expected[network].items():
            if layer in found[network]:
                continue
            names = {array for array, _ in shapes}
            other = [at for at in unknown if {array for array, _ in at[1]} == names]  # what may be in its place
            if not other:
                raise WeightsError(f"{path} lacks the layer of {_describe(shapes)} of the tutorial's {network}")
            raise WeightsError(
                f"{path} holds another {network} than the tutorial's: its layer {_printable(other[0][0])} has "
                f"{_describe(other[0][1])}, the tutorial's {_describe(shapes)}"
            )
    if unknown:
        name, shapes = unknown[0]
        what = f"holds more than the tutorial's {' and '.join(found)}" if found else "holds other networks"
        what = f"{what}: its {len(layers)} layers include {_printable(name)} of {_describe(shapes)}"
        raise WeightsError(f"{path} {what}")
    return found


def _check_sizes(path: Path, layers: dict[str, _Layer], expected: dict[str, dict[_Shapes, str]]) -> None:
    """Raises: WeightsError if the file holds a network of the tutorial's layers in other sizes than expected.

    Layers are compared with those of the same kind, in their order; the message names the first that differs.
    """
    shapes = {name: _shapes_of(arrays) for name, arrays in layers.items()}
    for (network, of_network), model in itertools.product(expected.items(), _models(shapes)):
        if Counter(map(_kind, model.values())) != Counter(map(_kind, of_network)):
            continue
        if other := {layer: at for layer, at in _in_order(model, of_network) if at[1] != at[2]}:
            name, found, wanted = next(iter(other.values()))
            raise WeightsError(
                f"{path} holds a {network} of other sizes: its layer {_printable(name)} has {_describe(found)}, "
                f"expected {_describe(wanted)}: choose {_what_decides(network, other)} as in the file"
            )


def _models(shapes: dict[str, _Shapes]) -> Iterator[dict[str, _Shapes]]:
    """The layers of each group of the file, and all of them."""
    for parent in dict.fromkeys(name.rpartition("/")[0] for name in shapes):
        yield {name: arrays for name, arrays in shapes.items() if name.rpartition("/")[0] == parent}
    yield shapes


def _in_order(model: dict[str, _Shapes], expected: dict[_Shapes, str]) -> Iterator[tuple[str, _Pair]]:
    """For each expected layer, the name and the arrays of the model's layer in its place, and the expected arrays."""
    of_kind = {kind: iter([at for at in model.items() if _kind(at[1]) == kind]) for kind in map(_kind, expected)}
    for arrays, layer in expected.items():
        yield layer, (*next(of_kind[_kind(arrays)]), arrays)


def _what_decides(network: str, other: dict[str, _Pair]) -> str:
    """The fields of the config by which layers have other sizes than expected."""
    inputs = {dict(arrays)["kernel"][0] for arrays in other.get("dense", ())[1:]}
    # All sizes of the second convolution are multiples of the width.
    decides = {"`latent_size`": network == "generator" and len(inputs) > 1, "`width`": "conv_2" in other}
    fields = " and ".join(field for field in decides if decides[field])
    return fields or "the size and channels of the images (`dataset`, `image_size` and `channels`)"


def _kind(shapes: _Shapes) -> frozenset[tuple[str, int]]:
    """The names of a layer's arrays and their numbers of axes."""
    return frozenset((array, len(shape)) for array, shape in shapes)


def _shapes_of(arrays: _Layer) -> _Shapes:
    return frozenset((array, tuple(data.shape or ())) for array, data in arrays.items())


def _expected(network: str, state: GANState) -> dict[_Shapes, str]:
    """The names of a network's layers by the shapes of their arrays in Keras, in Keras's order."""
    variables = network_variables(state)[network]
    shapes = {}
    for layer in LAYERS[network]:
        arrays = []
        for at in layer_arrays(network, layer):
            shape = variables[at.collection][layer][at.name].shape
            arrays.append((at.keras_name, (*shape[:2], shape[3], shape[2]) if at.flipped else shape))
        shapes[frozenset(arrays)] = layer
    return shapes


def _read(path: Path, network: str, layers: dict[str, _Layer], state: GANState) -> dict[str, Any]:
    """A network's variables, in the dtypes of the state."""
    like = network_variables(state)[network]
    variables: dict[str, Any] = {collection: {layer: {} for layer in like[collection]} for collection in like}
    for layer, datasets in layers.items():
        for at in layer_arrays(network, layer):
            array = _array(path, datasets[at.keras_name])
            dtype = like[at.collection][layer][at.name].dtype
            with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are refused later
                array = array.astype(dtype)
            variables[at.collection][layer][at.name] = jax.device_put(flip(array) if at.flipped else array)
    return variables


def _array(path: Path, data: Any) -> np.ndarray:
    if data.external or data.is_virtual:
        raise WeightsError(f"{path}: {_printable(data.name)} is stored in another file, which Keras does not do")
    if data.dtype == np.dtype("V2"):  # how Keras 3 writes bfloat16
        return data[()].view(jnp.bfloat16)
    if data.dtype.kind != "f":
        raise WeightsError(f"{path}: {_printable(data.name)} must be floating point, got {data.dtype}")
    return data[()]


def _describe(shapes: _Shapes) -> str:
    """The first two arrays, as ``kernel [5, 5, 1, 64] and bias [64]``."""
    order = ("kernel", "bias", "gamma", "beta")
    arrays = sorted(shapes, key=lambda array: (order.index(array[0]) if array[0] in order else len(order), array))
    return " and ".join(f"{_printable(name)} {list(shape)}" for name, shape in arrays[:2])


def _natural(layer: tuple[str, Any]) -> list[Any]:
    """A sort key that puts ``conv2d_10`` after ``conv2d_9``."""
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"([0-9]+)", layer[0])]


def _printable(name: str) -> str:
    return name[-60:] if name.isprintable() else repr(name[-60:])
