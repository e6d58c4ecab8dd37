"""Networks as programs for inference: StableHLO, which needs only JAX, and ONNX."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.dtypes import at_least_float32, jax_defaults
from dcgan_jax.errors import first_line
from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import WeightsError, input_shape, network_state, quiet_loggers, require
from dcgan_jax.interop.onnx_graph import (
    OPSETS,
    Shape,
    build_model,
    discriminator_nodes,
    generator_nodes,
    with_half_weights,
)
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState, NetworkState
from dcgan_jax.versions import package_version

_PLATFORMS = ("cpu", "cuda", "tpu")
_INPUTS = {"generator": "noise", "discriminator": "images"}  # their names in ONNX
_OUTPUTS = {"generator": "images", "discriminator": "logits"}
LAYOUTS, PRECISIONS = ("NHWC", "NCHW"), ("float32", "float16")  # in ONNX: of the images, of the stored weights
_OPSET, _CONVERTED_OPSET = 18, 23  # for the package's networks, low enough for older runtimes; for other modules


@jax_defaults()
def export_stablehlo(path: str | Path, state: GANState, network: str = "generator") -> None:
    """Write a program for CPU, CUDA and TPU that needs only JAX: noise to images, or images to logits.

    It runs in inference mode for any batch size, and contains the parameters::

        from jax import export
        images = export.deserialize(open(path, "rb").read()).call(z)  # z [B, latent] -> [B, H, W, C] in [0, 1]

    Networks with classes take the labels as a second argument, int32 [B].

    Args:
      path: the file.
      state: with any modules.
      network: ``generator`` or ``discriminator``.

    Raises:
      ValueError: for another network.
      WeightsError: if the package flatbuffers is not installed, or JAX cannot export the network.
      OSError: if the file cannot be written.
    """
    from jax import export

    require("flatbuffers")  # JAX serialises programs with it
    half = network_state(state, network)

    def infer(*inputs: jax.Array) -> jax.Array:
        y = half.infer(*inputs)
        return y.astype(at_least_float32(y.dtype))  # a discriminator in bfloat16 has bfloat16 logits

    (batch,) = export.symbolic_shape("b")
    inputs = _inputs(state, network, batch).values()
    try:
        with _own_types(half):
            program = export.export(jax.jit(infer), platforms=_PLATFORMS)(*inputs).serialize()
    except Exception as error:  # whatever JAX raises for a user's own module
        raise WeightsError(f"cannot write {path} ({_reason(error)})") from error
    replace_file(Path(path), lambda partial: partial.write_bytes(program))


@jax_defaults()
def export_onnx(
    path: str | Path,
    state: GANState,
    network: str = "generator",
    metadata: dict[str, Any] | None = None,
    *,
    opset: int | None = None,
    layout: str = "NHWC",
    precision: str = "float32",
) -> None:
    """Write an ONNX model in inference mode, for any batch size; input and output as in `export_stablehlo`.

    The generator's input is named ``noise`` and its output ``images``, the discriminator's ``images`` and ``logits``;
    the classes, if any, are ``labels``. Their first dimension is ``batch``. Inputs and outputs are float32, labels
    int32. The package's own networks are written layer by layer, in few operators with constant weights
    (`dcgan_jax.interop.onnx_graph`); others are converted by jax2onnx.

    Args:
      path: the file.
      state: with any modules.
      network: ``generator`` or ``discriminator``.
      metadata: stored in the model's metadata, strings as they are, other values as JSON.
      opset: the version of ONNX's operators, 13 to 25; None is 18, which most runtimes support, and 23 for networks
        that jax2onnx converts.
      layout: of the images, ``NHWC`` or ``NCHW``.
      precision: of the stored weights: ``float32``, or ``float16`` for half the size. The model computes in float32
        with either.

    Raises:
      ValueError: for another network, layout or precision.
      WeightsError: for another opset, if a required package is not installed, if jax2onnx cannot convert the network,
        or a weight is out of the range of float16.
      OSError: if the file cannot be written.
    """
    if layout not in LAYOUTS or precision not in PRECISIONS:
        raise ValueError(f"layout is one of {LAYOUTS} and precision of {PRECISIONS}, got {layout} and {precision}")
    if opset is not None and (opset not in OPSETS or not isinstance(opset, int | np.integer)):
        raise WeightsError(f"`opset` must be an integer from {OPSETS[0]} to {OPSETS[-1]}, got {opset!r}")
    half = network_state(state, network)
    own = type(half.module) in (Generator, Discriminator)
    if own:
        model = _written(state, network, opset or _OPSET, layout)
    else:
        model = _converted(path, state, network, opset or _CONVERTED_OPSET, layout)
    if precision == "float16":
        model = with_half_weights(model)
    onnx = require("onnx")
    model.producer_name, model.producer_version = "dcgan-jax", package_version("dcgan-jax") or ""
    values = (metadata or {}).items()
    props = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values}
    onnx.helper.set_model_props(model, props)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # whatever the checker raises for a user's own module
        raise WeightsError(f"cannot write {path} ({_reason(error)})") from error
    replace_file(Path(path), lambda partial: partial.write_bytes(model.SerializeToString()))


def _written(state: GANState, network: str, opset: int, layout: str) -> Any:
    """The ``onnx.ModelProto`` of one of the package's own networks."""
    half = network_state(state, network)
    module = half.module
    variables = jax.device_get({"params": half.params, "batch_stats": half.batch_stats})
    h, w, c = image_shape(state)
    images: Shape = ("batch", h, w, c) if layout == "NHWC" else ("batch", c, h, w)
    labels: dict[str, Shape] = {} if state.classes is None else {"labels": ("batch",)}
    if isinstance(module, Generator):
        nodes = generator_nodes(module, variables, layout)
        return build_model(nodes, network, {"noise": ("batch", state.latent_size), **labels}, images, opset)
    assert isinstance(module, Discriminator)  # checked by the caller
    nodes = discriminator_nodes(module, variables, (h, w, c), layout)
    return build_model(nodes, network, {"images": images, **labels}, ("batch", 1), opset)


def _converted(path: str | Path, state: GANState, network: str, opset: int, layout: str) -> Any:
    """The ``onnx.ModelProto`` of a network of any module, by jax2onnx."""
    half = network_state(state, network)
    inputs = _inputs(state, network, "batch")
    channels_first = {"inputs_as_nchw": [0]} if network == "discriminator" else {"outputs_as_nchw": [0]}
    with quiet_loggers("jax2onnx", "onnx_ir"):  # they log much about plugins for packages that are not installed
        to_onnx = require("jax2onnx").to_onnx
        try:
            with _own_types(half), contextlib.redirect_stdout(io.StringIO()):  # it prints what it converts
                model = to_onnx(
                    half.infer,
                    list(inputs.values()),
                    model_name=network,
                    opset=opset,
                    input_names=list(inputs),
                    output_names=[_OUTPUTS[network]],
                    **(channels_first if layout == "NCHW" else {}),
                )
        except Exception as error:  # whatever the converter raises for a user's own module
            raise WeightsError(f"cannot write {path} ({_reason(error)})") from error
    del model.graph.value_info[:]  # the intermediate shapes have another order of axes than the arrays
    return model


def _reason(error: Exception) -> str:
    """What is wrong with a user's own module, in one line."""
    line = first_line(error)
    if "_DimExpr" in line:  # JAX's symbolic dimension, which Python's len cannot return
        return f"{line}: the network needs x.shape[0] in place of len(x)"
    if "too many values to unpack" in line:  # jax2onnx's activations take one argument by position
        return f"{line}: arguments of activations are needed by keyword, as in leaky_relu(x, negative_slope=0.2)"
    return line


def _inputs(state: GANState, network: str, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """A network's inputs by their names in ONNX; ``batch`` is the batch size, or a symbol for it."""
    inputs = {_INPUTS[network]: jax.ShapeDtypeStruct((batch, *input_shape(state, network)), jnp.float32)}
    if state.classes is not None:
        inputs["labels"] = jax.ShapeDtypeStruct((batch,), jnp.int32)
    return inputs


def _own_types(half: NetworkState) -> contextlib.AbstractContextManager[None]:
    """A context in which JAX has 64-bit types if the network has, whatever the process's setting is."""
    return jax.enable_x64(any(leaf.dtype.itemsize == 8 for leaf in jax.tree.leaves((half.params, half.batch_stats))))
