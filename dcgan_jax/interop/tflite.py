"""The package's own networks as TensorFlow Lite models, which LiteRT runs on phones, in browsers and elsewhere.

The file is written with the Python classes of TensorFlow Lite's schema in LiteRT's package: TensorFlow is not needed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dcgan_jax.errors import first_line
from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import WeightsError, input_shape, network_state
from dcgan_jax.interop.examples import Agreement, agreement, make_examples
from dcgan_jax.interop.lite_graph import LiteNode, lite_nodes
from dcgan_jax.interop.onnx_graph import discriminator_nodes, generator_nodes
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.state import GANState
from dcgan_jax.versions import package_version, require

_SCHEMA = 3  # version of TensorFlow Lite's schema
_OPTIONS = {
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "CONCATENATION": "ConcatenationOptions",
    "GATHER": "GatherOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MUL": "MulOptions",
    "ADD": "AddOptions",
}


def require_litert(module: str) -> Any:
    """Import a module of the package ai-edge-litert.

    Raises:
      WeightsError: if it is not installed.
    """
    return require(f"ai_edge_litert.{module}", "tflite", "TensorFlow Lite", WeightsError)


def export_tflite(path: str | Path, state: GANState, network: str = "generator") -> None:
    """Write a TensorFlow Lite model in inference mode, in float32; inputs and output as in `export_onnx`.

    Images are in NHWC. The batch may have any size: the shapes in the file have 1, and a runtime resizes the inputs,
    which the runner of the signature ``serving_default`` does by itself. That signature has the names.

    Args:
      path: the file.
      state: of the package's own networks.
      network: ``generator`` or ``discriminator``.

    Raises:
      WeightsError: if the package ai-edge-litert is not installed, or the network is another module.
      OSError: if the file cannot be written.
    """
    schema = require_litert("schema_py_generated")
    half = network_state(state, network)
    module = half.module
    variables = jax.device_get({"params": half.params, "batch_stats": half.batch_stats})
    shape = input_shape(state, network)
    if type(module) is Generator:
        nodes, inputs = generator_nodes(module, variables, "NCHW"), {"noise": shape}
    elif type(module) is Discriminator:
        nodes, inputs = discriminator_nodes(module, variables, shape, "NCHW"), {"images": shape}
    else:
        raise WeightsError(f"only the package's own networks are written for TensorFlow Lite, this {network} is not")
    if state.classes is not None:
        inputs["labels"] = ()
    model = _model(schema, lite_nodes(nodes, inputs), inputs, network)
    replace_file(Path(path), lambda partial: partial.write_bytes(_packed(model)))


def check_tflite(path: str | Path, state: GANState, network: str = "generator") -> Agreement:
    """Run a file of `export_tflite` in LiteRT on a CPU, and compare it with JAX on the same 8 inputs as `check_onnx`.

    The tolerance is 1e-5, times the largest output if that is above 1.

    Raises:
      WeightsError: if the package ai-edge-litert is not installed, or cannot run the file.
    """
    examples = make_examples(state, network)
    found = run_tflite(path, examples.inputs)
    runtime = f"LiteRT {package_version('ai-edge-litert')}"
    return agreement(path, found, examples.expected, runtime)


def run_tflite(path: str | Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The output of a model in LiteRT on a CPU, for ``inputs`` by name, of any batch size.

    Raises:
      WeightsError: if the package ai-edge-litert is not installed, or cannot run the file.
    """
    interpreter = require_litert("interpreter")
    try:
        runner = interpreter.Interpreter(str(path)).get_signature_runner()
        (found,) = runner(**inputs).values()
    except Exception as error:  # ValueError or RuntimeError, depending on the cause
        raise WeightsError(f"LiteRT cannot run {path} ({first_line(error)})") from error
    return found


def _model(schema: Any, nodes: Sequence[LiteNode], inputs: dict[str, tuple[int, ...]], network: str) -> Any:
    """The schema's ``ModelT`` of one graph."""
    index: dict[str, int] = {}
    tensors, buffers, operators, codes = [], [schema.BufferT()], [], []  # the first buffer is for computed tensors
    types = {"labels": schema.TensorType.INT32}

    def add(name: str, shape: tuple[int, ...], dtype: int, data: np.ndarray | None = None) -> None:
        index[name] = len(tensors)
        if data is None:
            sizes = {"shape": [1, *shape], "shapeSignature": [-1, *shape]}
            tensors.append(schema.TensorT(**sizes, type=dtype, buffer=0, name=name, hasRank=True))
        else:
            tensors.append(schema.TensorT(shape=shape, type=dtype, buffer=len(buffers), name=name, hasRank=True))
            content = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            buffers.append(schema.BufferT(data=content))

    for name, shape in inputs.items():
        add(name, shape, types.get(name, schema.TensorType.FLOAT32))
    for node in nodes:
        for key, array in node.constants.items():
            integers = np.issubdtype(array.dtype, np.integer)
            dtype = schema.TensorType.INT32 if integers else schema.TensorType.FLOAT32
            add(f"{node.name}.{key}", array.shape, dtype, array.astype(np.int32 if integers else np.float32))
        add(node.name, node.shape, schema.TensorType.FLOAT32)
        if node.op not in codes:
            codes.append(node.op)
        read = [index[f"{node.name}.{key}" if key in node.constants else key] for key in node.inputs]
        operators.append(_operator(schema, node, codes.index(node.op), read, index[node.name]))
    last = nodes[-1].name
    graph = schema.SubGraphT(tensors, [index[name] for name in inputs], [index[last]], operators, network)
    maps = [schema.TensorMapT(name, index[name]) for name in (*inputs, last)]
    signature = schema.SignatureDefT(maps[:-1], maps[-1:], "serving_default", 0)
    operator_codes = []
    for op in codes:
        code = getattr(schema.BuiltinOperator, op)
        operator_codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code))  # all below 127
    about = f"dcgan-jax {package_version('dcgan-jax') or ''}".strip()
    return schema.ModelT(_SCHEMA, operator_codes, [graph], about, buffers, signatureDefs=[signature])


def _operator(schema: Any, node: LiteNode, code: int, read: list[int], written: int) -> Any:
    operator = schema.OperatorT(opcodeIndex=code, inputs=read, outputs=[written])
    if node.op in _OPTIONS:
        kind = _OPTIONS[node.op]
        enums = {"padding": schema.Padding, "fusedActivationFunction": schema.ActivationFunctionType}
        fields = {key: getattr(enums[key], value) if key in enums else value for key, value in node.options.items()}
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")(**fields)
    return operator


def _packed(model: Any) -> bytes:
    import flatbuffers  # ai-edge-litert requires it

    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
