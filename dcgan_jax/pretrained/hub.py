"""A folder for the Hugging Face Hub: weights, sizes, a model card and samples; written, and read back."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.errors import first_line
from dcgan_jax.files import create_dir
from dcgan_jax.images import image_grid, save_png
from dcgan_jax.interop import NETWORKS, WeightsError, export_safetensors, read_weights, replace_weights
from dcgan_jax.interop.common import network_state, network_variables
from dcgan_jax.models import DTYPES, Discriminator, Generator
from dcgan_jax.presets import PRESETS, preset
from dcgan_jax.pretrained.model_card import metrics_of, model_card
from dcgan_jax.prng import seed_key
from dcgan_jax.sampling import generate_singly, image_shape, sample_seeds
from dcgan_jax.state import GANState, init_state, uniform_noise

HUB_WEIGHTS = "model.safetensors"
_CONFIG, _CARD, _SAMPLES = "config.json", "README.md", "samples.png"
_TYPE, _FORMAT = "dcgan-jax", 1
_SEEDS = 16  # images of the samples
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")  # as the Hub's names are
_MOST = 2**16  # pixels of a side, dimensions of the noise, classes: beyond is no folder of ours


class About(NamedTuple):
    """What a folder says of its networks beside their sizes; all of it is published.

    Attributes:
      training: how they were trained, as JSON has it: ``preset``, ``dataset``, ``step`` and so on.
      class_names: of the classes, in order; their numbers if None.
      evaluations: of these weights, each as `Evaluation.to_json` writes it.
      license_id: the Hub's name of the licence.
    """

    training: Mapping[str, Any] = {}
    class_names: Sequence[str] | None = None
    evaluations: Sequence[Mapping[str, Any]] = ()
    license_id: str = "unknown"


class HubConfig(NamedTuple):
    """What a folder's ``config.json`` says.

    Attributes:
      image_shape: height, width and channels.
      latent_size: dimensions of the noise.
      classes: their names, or None.
      generator: its ``width``, ``dropout_rate`` and ``dtype``, which is a name or None.
      discriminator: likewise; None if the folder has the generator alone.
      training: as `About` has it.
    """

    image_shape: tuple[int, int, int]
    latent_size: int
    classes: tuple[str, ...] | None
    generator: dict[str, Any]
    discriminator: dict[str, Any] | None
    training: dict[str, Any]


@jax_defaults()
def export_hub(
    folder: str | Path, state: GANState, about: About | None = None, networks: Sequence[str] = NETWORKS
) -> None:
    """Write a folder for the Hub: ``model.safetensors``, ``config.json``, ``README.md`` and ``samples.png``.

    `dcgan_jax.load_pretrained` reads it back. It is there whole or not at all.

    Args:
      folder: a new one.
      state: of the package's own networks.
      about: what else is published.
      networks: both, or the ``generator`` alone.

    Raises:
      WeightsError: if the folder exists, the classes have more or fewer names, a network is another module, the noise
        is of one's own, weights are not float32, or an image is not finite.
      OSError: if it cannot be written.
    """
    folder, about = Path(folder), about or About()
    if not _LICENSE.fullmatch(about.license_id):
        raise WeightsError(f"a licence is named as on the Hub, such as mit or cc-by-4.0, got {about.license_id!r}")
    if os.path.lexists(folder):
        raise WeightsError(f"{folder} already exists: a folder for the Hub is a new one")
    config = _config(state, about, networks)
    noise, labels = sample_seeds(state, np.arange(_SEEDS))
    if state.classes is not None:
        labels = jnp.arange(_SEEDS, dtype=jnp.int32) % state.classes
    images = generate_singly(state, noise, labels)
    if not np.isfinite(images).all():
        raise WeightsError("the generator draws numbers that are NaN or infinite: nothing was written")
    seeds = f"0 to {_SEEDS - 1}" + ("" if state.classes is None else ", the classes in turn")
    card = model_card(folder.name, config, metrics_of(about.evaluations), about.license_id, seeds)

    def write(partial: Path) -> None:
        export_safetensors(partial / HUB_WEIGHTS, state, config["training"], networks)
        (partial / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (partial / _CARD).write_text(card, encoding="utf-8")
        save_png(partial / _SAMPLES, image_grid(images))

    create_dir(folder, write)


def is_hub_folder(path: Path) -> bool:
    """Whether a path is a folder of `export_hub`, or a damaged one; a run that holds exported weights is none."""
    if not path.is_dir() or (path / "checkpoints").is_dir():
        return False
    try:
        return (path / HUB_WEIGHTS).exists() or _read_json(path).get("model_type") == _TYPE
    except (OSError, ValueError):
        return False


def read_hub_config(folder: Path) -> HubConfig:
    """What the folder's ``config.json`` says, checked.

    Raises:
      WeightsError: if it cannot be read, or a value is out of its range.
    """
    path = folder / _CONFIG
    try:
        values = _read_json(folder)
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path} ({getattr(error, 'strerror', None) or first_line(error)})") from error

    def checked(name: str, valid: bool, expected: str) -> Any:
        if not valid:
            raise WeightsError(f"{path}: {name} must be {expected}, got {str(values.get(name))[:80]!r}")
        return values.get(name)

    checked("model_type", values.get("model_type") == _TYPE, repr(_TYPE))
    checked("format", values.get("format") == _FORMAT, f"{_FORMAT}, which this version reads")
    shape, names = values.get("image_shape"), values.get("classes")
    checked("image_shape", isinstance(shape, list) and len(shape) == 3 and all(map(_is_count, shape)), "three integers")
    named = names is None or (isinstance(names, list) and names != [] and all(type(each) is str for each in names))
    classes = checked("classes", named and len(names or ()) <= _MOST, "a list of names, or null")
    training = checked("training", isinstance(values.get("training"), dict), "an object")
    if training.get("preset") not in (None, *PRESETS):
        raise WeightsError(f"{path}: preset must be one of {', '.join(PRESETS)}, got {str(training['preset'])[:80]!r}")
    expected = "an object of a width up to 1024, a dropout_rate below 1, and a dtype or null"
    alone = values.get("discriminator") is None
    return HubConfig(
        image_shape=tuple(shape),  # pyright: ignore[reportArgumentType]
        latent_size=checked("latent_size", _is_count(values.get("latent_size")), f"an integer from 1 to {_MOST}"),
        classes=None if classes is None else tuple(classes),
        generator=checked("generator", _is_network(values.get("generator")), expected),
        discriminator=checked("discriminator", alone or _is_network(values.get("discriminator")), expected),
        training=training,
    )


@jax_defaults()
def read_hub(folder: Path) -> GANState:
    """The state with the weights of a folder of `export_hub`, as `dcgan_jax.load_pretrained` returns it.

    Raises:
      WeightsError: if a file is missing or damaged, or the weights are of other networks than the config says.
    """
    config = read_hub_config(folder)
    chosen = preset(config.training.get("preset") or "recommended")._replace(ema=None, ema_ramp=None)
    classes = None if config.classes is None else len(config.classes)

    def build() -> GANState:
        generator = Generator(config.image_shape, classes=classes, **_options(config.generator))
        discriminator = Discriminator(classes=classes, **_options(config.discriminator or config.generator))
        return init_state(
            seed_key(0),
            preset=chosen,
            generator=generator,
            discriminator=discriminator,
            latent_size=config.latent_size,
            classes=classes,
        )

    try:
        like = jax.eval_shape(build)  # nothing is allocated before the sizes are those of the weights
    except ValueError as error:
        raise WeightsError(f"{folder / _CONFIG} describes no network ({first_line(error)})") from error
    weights = read_weights(folder / HUB_WEIGHTS, like)
    expected = NETWORKS if config.discriminator else NETWORKS[:1]
    held = tuple(network for network in NETWORKS if network in weights)
    if held != expected:
        raise WeightsError(
            f"{folder / HUB_WEIGHTS} holds the {' and '.join(held)}, and {_CONFIG} says {' and '.join(expected)}"
        )
    return replace_weights(build(), weights)


def _config(state: GANState, about: About, networks: Sequence[str]) -> dict[str, Any]:
    """What ``config.json`` holds. Raises: WeightsError as `export_hub`."""
    if state.noise is not uniform_noise:
        raise WeightsError("a folder for the Hub is of networks with uniform noise: this state has noise of its own")
    described: dict[str, Any] = {}
    for network in networks:
        module = network_state(state, network).module
        if not (type(module) is Generator or type(module) is Discriminator):
            raise WeightsError(
                f"a folder for the Hub holds the package's own networks: this {network} is a {type(module).__name__}"
            )
        dtype = None if module.dtype is None else str(jnp.dtype(module.dtype))
        if dtype not in (None, *DTYPES):
            raise WeightsError(f"a folder for the Hub computes in {' or '.join(DTYPES)}: this {network} in {dtype}")
        if any(leaf.dtype != jnp.float32 for leaf in jax.tree.leaves(network_variables(state)[network])):
            raise WeightsError(f"a folder for the Hub holds float32: this {network} has weights of another type")
        described[network] = {"width": module.width, "dropout_rate": module.dropout_rate, "dtype": dtype}
    names = about.class_names or [str(number) for number in range(state.classes or 0)]
    if len(names) != (state.classes or 0):
        raise WeightsError(f"class_names must be of the state's {state.classes or 0} classes, got {len(names)}")
    return {
        "model_type": _TYPE,
        "format": _FORMAT,
        "image_shape": list(image_shape(state)),
        "latent_size": state.latent_size,
        "classes": list(names) or None,
        "generator": described["generator"],
        "discriminator": described.get("discriminator"),
        "training": dict(about.training),
    }


def _options(network: dict[str, Any]) -> dict[str, Any]:
    dtype = network["dtype"]
    return {**network, "dtype": None if dtype is None else jnp.dtype(dtype)}


def _read_json(folder: Path) -> dict[str, Any]:
    """Raises: OSError, or ValueError if it is not a JSON object."""
    try:
        values = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    return values


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST


def _is_network(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"width", "dropout_rate", "dtype"}:
        return False
    rate = value["dropout_rate"]
    return (
        type(value["width"]) is int
        and 2 <= value["width"] <= 1024
        and type(rate) in (int, float)
        and 0 <= rate < 1
        and value["dtype"] in (None, *DTYPES)
    )
