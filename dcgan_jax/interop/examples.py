"""Fixed inputs and their outputs in JAX, with which exported files are compared."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import WeightsError, network_state
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.sampling import generate, sample_noise
from dcgan_jax.state import GANState

FLOAT32 = 1e-5  # the tolerance for sums in another order, relative to the largest output if that is above 1


class Examples(NamedTuple):
    """Inputs and outputs of one network, by their names in exported files.

    Attributes:
      inputs: ``noise`` [n, latent] or ``images``, and ``labels`` [n] with classes.
      output: ``images`` or ``logits``.
      expected: the output in JAX, float32.
    """

    inputs: dict[str, np.ndarray]
    output: str
    expected: np.ndarray

    def in_layout(self, layout: str) -> "Examples":
        """The same with images in ``NHWC``, as `make_examples` returns them, or ``NCHW``."""
        if layout == "NHWC":
            return self
        inputs = {name: _channels_first(array) for name, array in self.inputs.items()}
        return self._replace(inputs=inputs, expected=_channels_first(self.expected))


class Agreement(NamedTuple):
    """The difference between a file's outputs and those of JAX.

    Attributes:
      difference: the largest absolute difference, in the units of the output: pixels in [0, 1], or logits.
      tolerance: the largest difference that rounding explains.
      runtime: the runtime and its version.
    """

    difference: float
    tolerance: float
    runtime: str


@jax_defaults()
def make_examples(state: GANState, network: str = "generator", n: int = 8, seed: int = 0) -> Examples:
    """``n`` inputs of a network, and its outputs, computed in float32 if it is one of the package's own.

    The noise is the state's, drawn with ``jax.random.key(seed)``; a discriminator gets the generator's images of it.
    Labels cycle through the classes.
    """
    half = network_state(state, network)
    if type(half.module) in (Generator, Discriminator):
        half = half.replace(module=half.module.clone(dtype=jnp.float32))
    labels = None if state.classes is None else jnp.arange(n, dtype=jnp.int32) % state.classes
    x = sample_noise(state, jax.random.key(seed), n)
    names = ("noise", "images")
    if network == "discriminator":
        x, names = generate(state, x, labels), ("images", "logits")
    expected = np.asarray(half.infer(x, labels), np.float32)
    inputs = {names[0]: np.asarray(x, np.float32)}
    return Examples(inputs if labels is None else {**inputs, "labels": np.asarray(labels)}, names[1], expected)


def write_examples(path: str | Path, examples: Examples) -> None:
    """Write the inputs and the output, by name, to an ``.npz``.

    Raises:
      OSError: if the file cannot be written.
    """
    arrays: dict[str, Any] = {**examples.inputs, examples.output: examples.expected}

    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # with a path NumPy would append its suffix
            np.savez(file, **arrays)

    replace_file(Path(path), write)


def agreement(
    path: str | Path, found: np.ndarray, expected: np.ndarray, runtime: str, relative: float = FLOAT32
) -> Agreement:
    """Compare outputs of a file; the tolerance is ``relative``, times the largest absolute output if that is above 1.

    Raises:
      WeightsError: if their shapes differ.
    """
    if found.shape != expected.shape:
        shapes = f"outputs {list(found.shape)}, expected {list(expected.shape)}"
        raise WeightsError(f"{path} {shapes}: was it written in another layout, or of another network?")
    difference = np.abs(found.astype(np.float64) - expected).max()
    return Agreement(float(difference), relative * max(1.0, float(np.abs(expected).max())), runtime)


def _channels_first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array
