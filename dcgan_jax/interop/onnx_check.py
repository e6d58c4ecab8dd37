"""Compare an exported ONNX model with the network in JAX, on the same inputs."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from dcgan_jax.errors import first_line
from dcgan_jax.interop.common import WeightsError, network_state
from dcgan_jax.interop.examples import FLOAT32, Agreement, agreement, make_examples
from dcgan_jax.state import GANState
from dcgan_jax.versions import require

_FLOAT16 = 2**-11  # the largest relative rounding error of a weight


def onnx_runtime() -> Any:
    """Import the module onnxruntime.

    Raises:
      WeightsError: if the package is not installed.
    """
    return require("onnxruntime", "onnxruntime", "this check", WeightsError)


def check_onnx(
    path: str | Path, state: GANState, network: str = "generator", *, layout: str = "NHWC", precision: str = "float32"
) -> Agreement:
    """Run a file of `export_onnx` in ONNX Runtime on a CPU, and compare it with JAX on 8 fixed inputs.

    The inputs are the state's noise of ``jax.random.key(0)``, for a discriminator the generator's images of it; labels
    cycle through the classes. The package's own networks compute in float32 on both sides. The tolerance is 1e-5, times
    the largest output if that is above 1. With weights in float16, 1e-5 is replaced by 2^-11, their largest relative
    error, times the number of kernels and tables.

    Args:
      path: the file.
      state: the state whose network it is.
      network: ``generator`` or ``discriminator``.
      layout: that of `export_onnx`.
      precision: that of `export_onnx`.

    Raises:
      WeightsError: if the package onnxruntime is not installed or cannot run the file, or the output has another shape.
    """
    runtime = onnx_runtime()
    examples = make_examples(state, network).in_layout(layout)
    kernels = sum(leaf.ndim > 1 for leaf in jax.tree.leaves(network_state(state, network).params))
    relative = FLOAT32 if precision == "float32" else _FLOAT16 * kernels
    found = run_onnx(path, examples.inputs)
    return agreement(path, found, examples.expected, f"ONNX Runtime {runtime.__version__}", relative)


def run_onnx(path: str | Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The output of a model in ONNX Runtime on a CPU; ``inputs`` are in the order of the model's.

    Raises:
      WeightsError: if the package onnxruntime is not installed, or cannot run the file.
    """
    runtime = onnx_runtime()
    try:
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_inputs()]  # jax2onnx may choose other names
        (found,) = session.run(None, dict(zip(names, inputs.values(), strict=True)))
    except Exception as error:  # ONNX Runtime's own classes have no other common base
        raise WeightsError(f"ONNX Runtime cannot run {path} ({first_line(error)})") from error
    return found
