"""Trained generators: those that come with the package, and folders for the Hugging Face Hub."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import load

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.files import read_verified
from dcgan_jax.interop import WeightsError, match_weights, replace_weights
from dcgan_jax.interop.common import check_shape
from dcgan_jax.paths import local_path
from dcgan_jax.presets import preset
from dcgan_jax.pretrained.compact import expand
from dcgan_jax.pretrained.hub import read_hub
from dcgan_jax.prng import seed_key
from dcgan_jax.state import GANState, init_state

CONDITIONAL = "mnist-conditional"  # draws by class
PRETRAINED = ("mnist", CONDITIONAL)
TRAINED_BY = "recommended"  # the preset
FOLDER = Path(__file__).parent
_DIGITS, _SHAPE = tuple("0123456789"), (28, 28, 1)
_SHA256 = {
    "mnist": "a04702985d3b33bb64e3b4c5d1e358489eaaf94417bffd635fbc06af5235c3ea",
    CONDITIONAL: "9f856751bb3274600a46bef81de730994ee80f4e443614fc398d54c4781a714e",
}


@jax_defaults()
def load_pretrained(name: str | Path = "mnist") -> GANState:
    """A state with a trained generator, to sample from: ``sample(load_pretrained(), key, 16)``.

    Its discriminator and optimizers are those of a new state of the preset ``recommended``, without an average.
    ``dcgan_jax/pretrained/<name>.md`` describes how the generator was trained and how it scores; its weights are stored
    as float16, and are float32 in the state.

    Args:
      name: ``mnist``, the digits; ``mnist-conditional``, the digits by class, as in ``sample(state, key, n, labels)``;
        or a folder written by ``dcgan-jax export --format hub``, with its trained discriminator and the preset that
        trained both. ``./mnist`` is a folder.

    Raises:
      ValueError: for any other name.
      PathError: if it is a URL.
      WeightsError: if a file is missing or damaged.
    """
    if name not in PRETRAINED:
        folder = local_path(name, "name")
        if folder.is_dir():
            return read_hub(folder)
        raise ValueError(
            f"there is no pretrained generator {str(name)!r}: choose from {', '.join(PRETRAINED)}, or give a folder "
            "for the Hub"
        )
    name = str(name)
    recommended = preset(TRAINED_BY)._replace(ema=None, ema_ramp=None)
    classes = pretrained_classes(name)
    state = init_state(seed_key(0), preset=recommended, classes=None if classes is None else len(classes))
    return with_pretrained(state, name)


def pretrained_classes(name: str) -> tuple[str, ...] | None:
    """The names of the classes by which the weights draw, or None."""
    return _DIGITS if name == CONDITIONAL else None


def describe_pretrained(name: str) -> dict[str, Any]:
    """How the weights came about, from their file: ``command``, ``step`` and ``weights``."""
    with safe_open(FOLDER / f"{name}.safetensors", "numpy") as file:
        return json.loads(file.metadata()["dcgan-jax"])


def evaluation_of(name: str) -> dict[str, Any]:
    """The scores of the weights beside those of real images, as `Evaluation.to_json` writes them.

    They are what ``dcgan-jax evaluate NAME --json`` printed.
    """
    return json.loads((FOLDER / f"{name}.json").read_text())


def with_pretrained(state: GANState, name: str) -> GANState:
    """The state with a trained generator in its generator's place; its average restarts there.

    Raises:
      WeightsError: if the file is missing or damaged, or the state's generator has other arrays or draws other sizes.
    """
    path = FOLDER / f"{name}.safetensors"
    arrays = load(read_verified(path, _SHA256[name], WeightsError, "reinstall dcgan-jax"))
    check_shape(_SHAPE, state, str(path))
    if classes := pretrained_classes(name):
        arrays = expand(arrays, len(classes))
    return replace_weights(state, match_weights(arrays, state, str(path)))
