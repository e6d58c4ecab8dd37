"""Networks as programs for inference: StableHLO, which needs JAX alone, and ONNX."""

import logging
from pathlib import Path

import jax
import jax.numpy as jnp

from dcgan_jax.errors import first_line
from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import WeightsError, input_shape, network_state
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.state import GANState

_PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(path: Path, state: GANState, network: str = "generator") -> None:
    """Write a program for CPU, CUDA and TPU that needs JAX alone: noise to images, or images to logits.

    In inference mode, with its parameters inside, for any batch size::

        from jax import export
        images = export.deserialize(open(path, "rb").read()).call(z)  # z [B, latent] -> [B, H, W, C] in [0, 1]

    Args:
      path: the file.
      state: of any modules.
      network: ``generator`` or ``discriminator``.

    Raises:
      WeightsError: if JAX cannot export the network.
      OSError: if the file cannot be written.
    """
    from jax import export

    (batch,) = export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((batch, *input_shape(state, network)), jnp.float32)
    try:
        program = export.export(jax.jit(network_state(state, network).infer), platforms=_PLATFORMS)(x).serialize()
    except Exception as error:  # whatever JAX raises for a user's own module
        raise WeightsError(f"cannot write {path} ({first_line(error)})") from error
    replace_file(path, lambda partial: partial.write_bytes(program))


def export_onnx(path: Path, state: GANState, network: str = "generator") -> None:
    """Write an ONNX model in inference mode, for any batch size; input and output as in `export_stablehlo`.

    Raises:
      WeightsError: if the package jax2onnx is not installed, or cannot convert the network.
      OSError: if the file cannot be written.
    """
    for name in ("jax2onnx", "onnx_ir"):  # they log much about plugins for packages that are not installed
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]  # extra: export
    except ImportError as error:
        raise WeightsError("--format onnx needs the package jax2onnx: pip install 'dcgan-jax[export]'") from error
    half = network_state(state, network)
    if isinstance(half.module, Generator | Discriminator):  # ONNX has neither our CPU implementation nor bfloat16
        half = half.replace(module=half.module.clone(plain=True, dtype=jnp.float32))
    try:
        model = to_onnx(half.infer, [("B", *input_shape(state, network))])
    except Exception as error:  # whatever the converter raises for a user's own module
        raise WeightsError(f"cannot write {path} ({first_line(error)})") from error
    del model.graph.value_info[:]  # the intermediate shapes have another order of axes than the arrays
    replace_file(path, lambda partial: partial.write_bytes(model.SerializeToString()))
