#!/usr/bin/env bash
# OpenVINO applies slopes of ONNX's PRelu along the width to the channels, if there are as many channels as columns.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: ONNX broadcasts slopes [4] along the last axis of [batch, 4, 5, 4], as its reference does: in a network of
#   layout NHWC these are the channels.
# Observed: with 4 channels and 6 columns, slopes [6] are right. With 4 channels and 4 columns, slopes [4] go to the
#   channels, without a message. Slopes [4, 1, 1] are right.
# A way around it: slopes of the shape [1, 1, 1, 4], or Relu, Sub, Mul and Add.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/prelu.py" <<'PYTHON'
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

by_hand = [
    helper.make_node("Relu", ["x"], ["p"]),
    helper.make_node("Sub", ["x", "p"], ["n"]),
    helper.make_node("Mul", ["n", "slope"], ["s"]),
    helper.make_node("Add", ["p", "s"], ["y"]),
]

for channels, columns in ((4, 6), (4, 4)):
    inputs = {"x": normal(2, channels, 5, columns)}
    node = helper.make_node("PRelu", ["x", "slope"], ["y"])
    name = f"{channels} channels, {columns} columns"
    found[name, "along the width"] = difference([node], inputs, {"slope": normal(columns)})
    found[name, "along the width, four axes"] = difference([node], inputs, {"slope": normal(1, 1, 1, columns)})
    slopes = {"slope": normal(channels, 1, 1)}
    found[name, "along the channels"] = difference([node], inputs, slopes)
    slopes = {"slope": np.broadcast_to(normal(columns), (1, 1, 5, columns))}
    found[name, "along the width, by hand"] = difference(by_hand, inputs, slopes)

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {("4 channels, 4 columns", "along the width")}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/prelu.py" "$folder"
