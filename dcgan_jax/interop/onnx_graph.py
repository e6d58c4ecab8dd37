"""The package's two networks as ONNX graphs of few, common operators, in inference mode.

Written layer by layer and not converted from a traced program, so that every runtime and converter accepts them: all
weights are constants, batch normalisation is folded into the layer before it, and no array has more than four axes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.interop.common import WeightsError, require
from dcgan_jax.layers import upsampling_phases
from dcgan_jax.models import Discriminator, Generator, doublings

OPSETS = range(13, 26)  # ReduceSum has its present form since 13; opsets after 25 are untested
_EPSILON = 1e-3  # of the generator's batch normalisation
_SLOPE = 0.2  # of the discriminator's leaky ReLU
Shape = tuple[int | str, ...]
_NCHW = (0, 3, 1, 2)
_NHWC = (0, 2, 3, 1)


class Node(NamedTuple):
    """One operator, whose output is named after it.

    Attributes:
      op: the name of ONNX's operator.
      name: unique in the graph.
      inputs: names of nodes, graph inputs and the node's own constants, in the operator's order.
      constants: weights, shapes and the like, by name.
      attributes: the operator's attributes.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    constants: dict[str, np.ndarray] = {}
    attributes: dict[str, Any] = {}


def generator_nodes(module: Generator, variables: dict[str, Any], layout: str) -> list[Node]:
    """The generator's layers, from the inputs ``noise`` and, with classes, ``labels`` to the node ``images``.

    Args:
      module: gives the sizes.
      variables: ``params`` and ``batch_stats``, in NumPy.
      layout: of the images, ``NHWC`` or ``NCHW``.
    """
    params, stats = variables["params"], variables["batch_stats"]
    height, width, _ = module.image_shape
    stages = doublings(height, width)

    def weights(layer: str, norm: str | None) -> tuple[np.ndarray, np.ndarray]:
        kernel, bias = _wide(params[layer]["kernel"]), _wide(params[layer]["bias"])
        if norm is None:
            return kernel, bias
        gain = _wide(params[norm]["scale"]) / np.sqrt(_wide(stats[norm]["var"]) + _EPSILON)
        return kernel * gain, (bias - stats[norm]["mean"]) * gain + params[norm]["bias"]

    nodes, x = [], "noise"
    if module.classes is not None:
        nodes += _vectors("embedding", params["embedding"]["embedding"])  # [B, 50]
        nodes.append(Node("Concat", "noise_and_class", ("noise", "embedding"), attributes={"axis": 1}))
        x = "noise_and_class"
    h, w = -(-height // 2**stages), -(-width // 2**stages)
    kernel, bias = weights("dense", "norm_0")
    units = np.arange(bias.size).reshape(h, w, -1).transpose(2, 0, 1)  # by channel, row, column
    nodes += [
        _gemm("dense", x, kernel[:, units.ravel()], bias[units.ravel()]),
        Node("Relu", "relu_0", ("dense",)),
        Node("Reshape", "map", ("relu_0", "shape"), {"shape": np.array([-1, *units.shape])}),  # [B, 256, 7, 7]
    ]
    x = "map"
    for i in range(1, stages + 1):
        h, w = (-(-size // 2 ** (stages - i)) for size in (height, width))
        nodes += _upsampling_conv(f"conv_{i}", x, *weights(f"conv_{i}", f"norm_{i}"), (h, w))
        nodes.append(Node("Relu", f"relu_{i}", (nodes[-1].name,)))
        x = f"relu_{i}"  # [B, 128, 14, 14], [B, 64, 28, 28]
    last, to_image = stages + 1, stages + 2
    nodes += [
        _conv(f"conv_{last}", x, *weights(f"conv_{last}", f"norm_{last}"), (height, width)),
        Node("Relu", f"relu_{last}", (f"conv_{last}",)),
        _conv(f"conv_{to_image}", f"relu_{last}", *weights(f"conv_{to_image}", None), (height, width)),
    ]
    if layout == "NCHW":
        return [*nodes, Node("Sigmoid", "images", (nodes[-1].name,))]
    sigmoid = Node("Sigmoid", "sigmoid", (nodes[-1].name,))
    return [*nodes, sigmoid, Node("Transpose", "images", ("sigmoid",), attributes={"perm": _NHWC})]


def discriminator_nodes(
    module: Discriminator, variables: dict[str, Any], image_shape: tuple[int, ...], layout: str
) -> list[Node]:
    """The discriminator's layers, from the inputs ``images`` and, with classes, ``labels`` to the node ``logits``.

    Args:
      module: gives the sizes.
      variables: ``params``, in NumPy.
      image_shape: [H, W, C].
      layout: of the images, ``NHWC`` or ``NCHW``.
    """
    params = variables["params"]
    nodes, x = [], "images"
    if layout == "NHWC":
        nodes.append(Node("Transpose", "channels_first", ("images",), attributes={"perm": _NCHW}))
        x = "channels_first"
    h, w, _ = image_shape
    halvings = doublings(h, w) + 1
    for i in range(1, halvings + 2):
        stride = 2 if i <= halvings else 1
        kernel, bias = (_wide(params[f"conv_{i}"][name]) for name in ("kernel", "bias"))
        nodes.append(_conv(f"conv_{i}", x, kernel, bias, (h, w), stride))
        x = f"leaky_relu_{i}"
        nodes.append(Node("LeakyRelu", x, (f"conv_{i}",), attributes={"alpha": _SLOPE}))
        h, w = -(-h // stride), -(-w // stride)  # [B, 64, 14, 14], [B, 128, 7, 7], [B, 256, 4, 4], [B, 512, 4, 4]
    kernel, bias = (_wide(params["dense"][name]) for name in ("kernel", "bias"))
    units = np.arange(len(kernel)).reshape(h, w, -1).transpose(2, 0, 1)  # the rows of the kernel by channel
    nodes.append(Node("Flatten", "flat", (x,), attributes={"axis": 1}))
    if module.classes is None:
        return [*nodes, _gemm("logits", "flat", kernel[units.ravel()], bias)]
    return [
        *nodes,
        _gemm("dense", "flat", kernel[units.ravel()], bias),
        *_vectors("class_vectors", params["class_vectors"]["embedding"]),
        Node("GlobalAveragePool", "mean_pixel", (x,)),
        Node("Flatten", "mean", ("mean_pixel",), attributes={"axis": 1}),
        Node("Mul", "products", ("class_vectors", "mean")),
        Node("ReduceSum", "projection", ("products", "axes"), {"axes": np.array([1])}, {"keepdims": 1}),
        Node("Add", "logits", ("dense", "projection")),
    ]


def build_model(nodes: Sequence[Node], name: str, inputs: dict[str, Shape], output: Shape, opset: int) -> Any:
    """The ``onnx.ModelProto`` of nodes in order; the output of the last one is that of the graph.

    Args:
      nodes: as the functions above return them.
      name: of the graph.
      inputs: the shapes of the inputs; all are float32 except ``labels``, int32.
      output: the shape of the output, float32.
      opset: one of `OPSETS`. The model has the lowest IR version that allows it, for older runtimes.

    Raises:
      WeightsError: if the package onnx is not installed, or older than the opset.
    """
    onnx = require("onnx")
    make, types = onnx.helper, onnx.TensorProto
    if opset > onnx.defs.onnx_opset_version():
        raise WeightsError(f"opset {opset} needs a newer onnx than {onnx.__version__}: upgrade that package")
    protos, tensors = [], []
    for node in nodes:
        tensors += [onnx.numpy_helper.from_array(array, f"{node.name}.{key}") for key, array in node.constants.items()]
        names = [f"{node.name}.{key}" if key in node.constants else key for key in node.inputs]
        protos.append(make.make_node(node.op, names, [node.name], node.name, **node.attributes))
    ports = [
        make.make_tensor_value_info(key, types.INT32 if key == "labels" else types.FLOAT, shape)
        for key, shape in (*inputs.items(), (nodes[-1].name, output))
    ]
    graph = make.make_graph(protos, name, ports[:-1], ports[-1:], tensors)
    versions = [make.make_opsetid("", opset)]
    return make.make_model(graph, opset_imports=versions, ir_version=make.find_min_ir_version_for(versions))


def with_half_weights(model: Any) -> Any:
    """The ``onnx.ModelProto`` with its float32 kernels and tables stored in float16, and cast to float32 for use.

    The model still computes in float32, because not every runtime has convolutions in float16. Biases stay float32.

    Raises:
      WeightsError: if a weight is out of float16's range.
    """
    onnx = require("onnx")
    half = type(model)()
    half.CopyFrom(model)
    casts = []
    for tensor in half.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values, name = onnx.numpy_helper.to_array(tensor), tensor.name
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise WeightsError(f"{name} has weights beyond float16's {np.finfo(np.float16).max:,.0f}: use float32")
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    return half


def _wide(array: np.ndarray) -> np.ndarray:
    """To float64, in which weights are folded before they are rounded once."""
    return np.asarray(array, np.float64)


def _vectors(name: str, table: np.ndarray) -> list[Node]:
    """The rows of a table [classes, n] at the indices ``labels`` [B]: [B, n]."""
    return [Node("Gather", name, ("table", "labels"), {"table": _stored(table)}, {"axis": 0})]


def _gemm(name: str, x: str, kernel: np.ndarray, bias: np.ndarray) -> Node:
    """[B, in] -> [B, out] with a kernel [in, out], which is stored as in PyTorch: [out, in]."""
    constants = {"weight": _stored(kernel.T), "bias": _stored(bias)}
    return Node("Gemm", name, (x, "weight", "bias"), constants, {"transB": 1})


def _conv(name: str, x: str, kernel: np.ndarray, bias: np.ndarray, size: tuple[int, int], stride: int = 1) -> Node:
    """A 'same' convolution of maps of ``size`` [H, W] with a kernel [k, k, in, out]: [B, in, H, W] -> [B, out, ..]."""
    k = kernel.shape[0]
    missing = [max((-(-n // stride) - 1) * stride + k - n, 0) for n in size]
    before = [n // 2 for n in missing]
    after = [n - n // 2 for n in missing]
    attributes = {"kernel_shape": [k, k], "strides": [stride, stride], "pads": [*before, *after]}
    constants = {"weight": _stored(kernel.transpose(3, 2, 0, 1)), "bias": _stored(bias)}
    return Node("Conv", name, (x, "weight", "bias"), constants, attributes)


def _upsampling_conv(name: str, x: str, kernel: np.ndarray, bias: np.ndarray, size: tuple[int, int]) -> list[Node]:
    """As `dcgan_jax.layers.upsample_conv2d`, cropped to ``size`` [H, W]: [B, in, h, w] -> [B, out, H, W].

    The four phases of 2x2 pixels are channels, which takes half the time of upsampling and a 5x5 convolution. The
    phases of a channel are adjacent, as in PyTorch's pixel shuffle: converters to runtimes with only that operator
    support no other order.
    """
    phases = _wide(upsampling_phases(kernel.shape[0]))  # [2, m, k]
    small = np.einsum("aut,bvs,tsio->uvioab", phases, phases, kernel)  # [m, m, in, out, 2, 2]
    small = small.reshape(*small.shape[:3], -1)
    h, w = (-(-n // 2) for n in size)
    nodes = [
        _conv(name, x, small, np.repeat(bias, 4), (h, w)),
        Node("DepthToSpace", f"{name}_pixels", (name,), attributes={"blocksize": 2, "mode": "CRD"}),
    ]
    if (2 * h, 2 * w) != size:
        ends = {"starts": np.array([0, 0]), "ends": np.array(size), "axes": np.array([2, 3])}
        nodes.append(Node("Slice", f"{name}_cut", (f"{name}_pixels", *ends), ends))
    return nodes


def _stored(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)
