#!/usr/bin/env bash
# OpenVINO computes ONNX's Softmax of opset 11 over one axis, where it is over all axes from that one on.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: before opset 13, Softmax flattens the axes from axis on (1 unless given) and is over all of them together:
#   for [2, 3, 4, 5] and axis=1 each example's 60 numbers add up to 1.
# Observed: with opset 11 and axis=1, each example's numbers add up to 20: the softmax is over the 3 channels alone,
#   as by opset 13. The last axis is right. LogSoftmax and Hardmax were not tried. No message.
# A way around it: Flatten, Softmax and Reshape, or opset 13, whose Softmax is over one axis.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/softmax.py" <<'PYTHON'
import sys

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def computed(folder, model, inputs):
    """By OpenVINO on a CPU in float32, from the ONNX file."""
    onnx.save(model, f"{folder}/g.onnx")
    compiled = openvino.Core().compile_model(f"{folder}/g.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(inputs)[0])


def graph(nodes, inputs, constants, opset=18):
    """A checked model with the output "y", and what ONNX's reference computes of the inputs."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in inputs.items()]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]

    def model(shape):
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
        body = helper.make_graph(nodes, "g", values, [y], tensors)
        return helper.make_model(
            body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset <= 18 else 10
        )

    (expected,) = ReferenceEvaluator(model(None)).run(None, inputs)
    checked = model(expected.shape)
    onnx.checker.check_model(checked, full_check=True)
    return checked, expected


def normal(*shape):
    return random.standard_normal(shape).astype(np.float32)


def difference(nodes, inputs, constants, opset=18):
    """The largest between the runtime and ONNX's reference."""
    model, expected = graph(nodes, inputs, constants, opset)
    y = computed(folder, model, inputs)
    assert y.shape == expected.shape, (y.shape, expected.shape)
    return float(np.abs(y - expected).max())


folder, random, found = sys.argv[1], np.random.default_rng(0), {}

# ONNX's reference computes opset 13's softmax for a file of opset 11: the expected is the latter's by hand.
inputs = {"x": normal(2, 3, 4, 5)}
exponentials = np.exp(inputs["x"])
for axis in (1, 2, 3):
    node = helper.make_node("Softmax", ["x"], ["y"], axis=axis)
    expected = exponentials / exponentials.sum(tuple(range(axis, 4)), keepdims=True)
    y = computed(folder, graph([node], inputs, {}, opset=11)[0], inputs)
    print(f"axis={axis}: the first example's numbers add up to {y[0].sum():.4g}, expected {expected[0].sum():.4g}")
    found["opset 11", axis] = float(np.abs(y - expected).max())
    found["opset 13", axis] = difference([node], inputs, {}, opset=13)
flat = [
    helper.make_node("Flatten", ["x"], ["f"], axis=1),
    helper.make_node("Softmax", ["f"], ["s"], axis=1),
    helper.make_node("Reshape", ["s", "shape"], ["y"]),
]
model, _ = graph(flat, inputs, {"shape": np.array([2, 3, 4, 5])}, opset=11)
expected = exponentials / exponentials.sum((1, 2, 3), keepdims=True)
found["Flatten and Reshape", 1] = float(np.abs(computed(folder, model, inputs) - expected).max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {("opset 11", 1), ("opset 11", 2)}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/softmax.py" "$folder"
