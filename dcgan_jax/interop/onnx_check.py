"""An exported ONNX model beside the network in JAX, on the same inputs."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.errors import first_line
from dcgan_jax.interop.common import WeightsError, network_state
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.sampling import generate, sample_noise
from dcgan_jax.state import GANState
from dcgan_jax.versions import require

_SEED, _BATCH = 0, 8
_FLOAT32 = 1e-5  # sums in another order
_FLOAT16 = 2**-11  # a rounded weight is within it of its value, relative to that


class Agreement(NamedTuple):
    """How far a model's outputs are from those of JAX.

    Attributes:
      difference: the largest, in the units of the output: pixels in [0, 1], or logits.
      tolerance: what rounding explains.
      runtime: the runtime and its version.
    """

    difference: float
    tolerance: float
    runtime: str


def onnx_runtime() -> Any:
    """The module onnxruntime.

    Raises:
      WeightsError: if the package is not installed.
    """
    return require("onnxruntime", "onnxruntime", "this check", WeightsError)


def check_onnx(
    path: Path, state: GANState, network: str = "generator", *, layout: str = "NHWC", precision: str = "float32"
) -> Agreement:
    """Run a file of `export_onnx` in ONNX Runtime on a CPU, and compare it with JAX on the same 8 inputs each time.

    The inputs are the state's noise of key 0, and for a discriminator the generator's images of it; classes are taken
    in turn. The package's own networks compute in float32 on both sides. The tolerance is 1e-5, times the largest
    output where that is above 1. With weights in float16 it is 2^-11, their largest relative error, for each layer with
    weights.

    Args:
      path: the file.
      state: whose network it is.
      network: ``generator`` or ``discriminator``.
      layout: as it was written with.
      precision: as it was written with.

    Raises:
      WeightsError: if the package onnxruntime is not installed, or cannot run the file.
    """
    runtime = onnx_runtime()
    half = network_state(state, network)
    if type(half.module) in (Generator, Discriminator):
        half = half.replace(module=half.module.clone(dtype=jnp.float32))
    labels = None if state.classes is None else jnp.arange(_BATCH, dtype=jnp.int32) % state.classes
    x = sample_noise(state, jax.random.key(_SEED), _BATCH)
    if network == "discriminator":
        x = generate(state, x, labels)
    expected = np.asarray(half.infer(x, labels), np.float64)
    flip = layout == "NCHW"
    fed = np.asarray(x).transpose(0, 3, 1, 2) if flip and network == "discriminator" else np.asarray(x)
    try:
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_inputs()]
        inputs = [fed] if labels is None else [fed, np.asarray(labels)]
        (found,) = session.run(None, dict(zip(names, inputs, strict=True)))
    except Exception as error:  # ONNX Runtime's own classes have no common base but this
        raise WeightsError(f"ONNX Runtime cannot run {path} ({first_line(error)})") from error
    found = found.transpose(0, 2, 3, 1) if flip and network == "generator" else found
    kernels = sum(leaf.ndim > 1 for leaf in jax.tree.leaves(half.params))
    relative = _FLOAT32 if precision == "float32" else _FLOAT16 * kernels
    return Agreement(
        float(np.abs(found - expected).max()),
        relative * max(1.0, float(np.abs(expected).max())),
        f"ONNX Runtime {runtime.__version__}",
    )
