"""The package's ONNX graphs in the operators of TensorFlow Lite, whose feature maps are [B, H, W, C]."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.interop.onnx_graph import Node

_TO_NHWC, _TO_NCHW = np.array([0, 2, 3, 1], np.int32), np.array([0, 3, 1, 2], np.int32)
_FUSED = ("CONV_2D", "FULLY_CONNECTED")  # operators that can have a fused ReLU


class LiteNode(NamedTuple):
    """One operator, whose output is named after it.

    Attributes:
      op: the name of TensorFlow Lite's operator.
      name: unique in the graph.
      inputs: names of nodes, graph inputs and the node's own constants, in the operator's order.
      shape: of the output, without the batch: [H, W, C] or [n].
      constants: weights, shapes and the like, by name.
      options: the operator's options, by their names in TensorFlow Lite's schema.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    constants: dict[str, np.ndarray] = {}
    options: dict[str, Any] = {}


def lite_nodes(nodes: Sequence[Node], inputs: dict[str, tuple[int, ...]]) -> list[LiteNode]:
    """Translate nodes of `dcgan_jax.interop.onnx_graph`, with images in NCHW, to nodes with images in NHWC.

    Args:
      nodes: in order.
      inputs: the shapes of the graph's inputs without the batch, images as [H, W, C].
    """
    shapes, found = dict(inputs), []
    shuffled = {node.inputs[0] for node in nodes if node.op == "DepthToSpace"}
    for node in nodes:
        last = found[-1] if found else None
        if node.op == "Relu" and last and last.name == node.inputs[0] and last.op in _FUSED:
            found[-1] = last._replace(name=node.name, options={**last.options, "fusedActivationFunction": "RELU"})
            shapes[node.name] = last.shape
            continue
        for lite in _translated(node, shapes, node.name in shuffled):
            found.append(lite)
            shapes[lite.name] = lite.shape
    return found


def _translated(node: Node, shapes: dict[str, tuple[int, ...]], shuffled: bool) -> list[LiteNode]:
    """Translate one ONNX node; ``shuffled`` if a DepthToSpace follows."""
    x, constants, name = node.inputs[0], node.constants, node.name
    shape = shapes.get(x, ())
    match node.op:
        case "Gemm":
            return [LiteNode("FULLY_CONNECTED", name, node.inputs, constants["bias"].shape, constants)]
        case "Conv":
            return [_conv(node, shape, shuffled)]
        case "DepthToSpace":
            h, w, c = shape
            return [LiteNode("DEPTH_TO_SPACE", name, (x,), (2 * h, 2 * w, c // 4), options={"blockSize": 2})]
        case "Slice":
            h, w = map(int, constants["ends"])
            ends = {"begin": [0, 0, 0, 0], "end": [0, h, w, 0], "strides": [1, 1, 1, 1]}
            whole = {"beginMask": 0b1001, "endMask": 0b1001}  # all of the batch and the channels
            return [LiteNode("STRIDED_SLICE", name, (x, *ends), (h, w, shape[2]), _integers(ends), whole)]
        case "Reshape":
            c, h, w = map(int, constants["shape"][1:])
            planes = LiteNode("RESHAPE", f"{name}_planes", (x, "shape"), (c, h, w), _integers({"shape": [-1, c, h, w]}))
            return [planes, LiteNode("TRANSPOSE", name, (planes.name, "axes"), (h, w, c), {"axes": _TO_NHWC})]
        case "Flatten":
            h, w, c = shape
            planes = LiteNode("TRANSPOSE", f"{name}_planes", (x, "axes"), (c, h, w), {"axes": _TO_NCHW})
            n = h * w * c
            return [planes, LiteNode("RESHAPE", name, (planes.name, "shape"), (n,), _integers({"shape": [-1, n]}))]
        case "Gather":
            return [LiteNode("GATHER", name, node.inputs, constants["table"].shape[1:], constants)]
        case "Concat":
            width = sum(shapes[each][0] for each in node.inputs)
            return [LiteNode("CONCATENATION", name, node.inputs, (width,), options={"axis": 1})]
        case "GlobalAveragePool":
            axes = _integers({"axes": [1, 2]})
            return [LiteNode("MEAN", name, (x, "axes"), (1, 1, shape[2]), axes, {"keepDims": True})]
        case "ReduceSum":
            return [LiteNode("SUM", name, (x, "axes"), (1,), _integers({"axes": [1]}), {"keepDims": True})]
        case "LeakyRelu":
            return [LiteNode("LEAKY_RELU", name, (x,), shape, options={"alpha": node.attributes["alpha"]})]
        case _:
            op = {"Relu": "RELU", "Sigmoid": "LOGISTIC", "Add": "ADD", "Mul": "MUL"}[node.op]
            return [LiteNode(op, name, node.inputs, shape)]


def _conv(node: Node, shape: tuple[int, ...], shuffled: bool) -> LiteNode:
    """A 'same' convolution [B, H, W, in] -> [B, .., out], with a kernel [out, k, k, in].

    The models' padding is TensorFlow's SAME. If ``shuffled``, the output channels are reordered for TensorFlow's depth
    to space, in which the channels of one pixel are adjacent; in the ONNX graph the pixels of one channel are.
    """
    kernel, bias = node.constants["weight"].transpose(0, 2, 3, 1), node.constants["bias"]
    if shuffled:
        by_pixel = np.arange(bias.size).reshape(-1, 4).T.ravel()
        kernel, bias = kernel[by_pixel], bias[by_pixel]
    stride = node.attributes["strides"][0]
    h, w = (-(-n // stride) for n in shape[:2])
    options = {"padding": "SAME", "strideH": stride, "strideW": stride}
    return LiteNode("CONV_2D", node.name, node.inputs, (h, w, bias.size), {"weight": kernel, "bias": bias}, options)


def _integers(constants: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(values, np.int32) for name, values in constants.items()}
