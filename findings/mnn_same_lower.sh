#!/usr/bin/env bash
# MNN's converter takes auto_pad=SAME_LOWER of ONNX for SAME_UPPER.
#
# Versions: MNN 3.6.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: where the padding is odd, the extra row and column are at the beginning by SAME_LOWER and at the end by
#   SAME_UPPER, so that the results differ by a shift of one pixel. What ONNX's reference computes.
# Observed: SAME_UPPER is right and SAME_LOWER gives exactly the values of SAME_UPPER, by Conv, ConvTranspose and
#   AveragePool, without a message. With an even padding, a 3x3 convolution of stride 1, nothing shows.
# A way around it: explicit pads, which it converts correctly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MNN==3.6.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/same.py" <<'PYTHON'
import subprocess
import sys

import MNN.expr as expr
import MNN.nn as nn
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

# What the command mnnconvert calls; the command itself imports MNN.tools, which calls pip.
CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"


def computed(folder, model, inputs):
    """By MNN on a CPU, from the ONNX file."""
    onnx.save(model, f"{folder}/g.onnx")
    names = ["-f", "ONNX", "--modelFile", f"{folder}/g.onnx", "--MNNModel", f"{folder}/g.mnn", "--bizCode", "x"]
    done = subprocess.run([sys.executable, "-c", CONVERT, *names], check=True, capture_output=True, text=True)
    assert "Converted Success!" in done.stdout, done.stdout
    net = nn.load_module_from_file(f"{folder}/g.mnn", list(inputs), ["y"], backend=0, precision=1, thread_num=1)
    (found,) = net.forward([expr.const(x, x.shape, expr.NCHW, expr.float) for x in inputs.values()])
    return np.array((expr.convert(found, expr.NCHW) if len(found.shape) == 4 else found).read())


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

maps, kernel = normal(2, 4, 8, 8), normal(4, 4, 4, 4)
operators = {
    "Conv": (["x", "w"], {"strides": [1, 1]}, [2, 2, 1, 1]),
    "ConvTranspose": (["x", "w"], {"strides": [1, 1]}, [2, 2, 1, 1]),
    "AveragePool": (["x"], {"kernel_shape": [3, 3], "strides": [2, 2]}, [1, 1, 0, 0]),
}
for operator, (names, attributes, pads) in operators.items():
    constants = {"w": kernel} if "w" in names else {}
    node = helper.make_node(operator, names, ["y"], pads=pads, **attributes)
    found[operator, "pads"] = difference([node], {"x": maps}, constants)
    nodes = {
        way: helper.make_node(operator, names, ["y"], auto_pad=way, **attributes)
        for way in ("SAME_UPPER", "SAME_LOWER")
    }
    for way, node in nodes.items():
        found[operator, way] = difference([node], {"x": maps}, constants)
    model, _ = graph([nodes["SAME_LOWER"]], {"x": maps}, constants)
    _, upper = graph([nodes["SAME_UPPER"]], {"x": maps}, constants)
    found[operator, "SAME_LOWER, from the other's values"] = float(
        np.abs(computed(folder, model, {"x": maps}) - upper).max()
    )

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {(operator, "SAME_LOWER") for operator in operators}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/same.py" "$folder"
