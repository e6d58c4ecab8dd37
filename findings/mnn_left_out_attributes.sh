#!/usr/bin/env bash
# MNN's converter takes other values than ONNX says for attributes that a file leaves out.
#
# Versions: MNN 3.6.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: a file without an attribute computes what a file computes that names the value of ONNX's specification.
# Observed: Resize without mode is linear and not nearest. ReduceL2 of opset 13 without keepdims drops the axis, so
#   that a square x divided by the norms of its rows is divided by them as if they were the columns'. Softmax of opset
#   11 without axis is over the last axis alone, and not over all but the first. Each has the right shape, no message,
#   and is right with the attribute.
# A way around it: name these attributes in the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MNN==3.6.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/left_out.py" <<'PYTHON'
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

divide = helper.make_node("Div", ["x", "n"], ["y"])
resize, scales = (["x", "", "scales"], ["y"]), {"scales": np.array([1, 1, 2, 2], np.float32)}
maps, square = {"x": normal(2, 3, 4, 6)}, {"x": normal(5, 5)}
cases = {
    ("Resize", "named"): ([helper.make_node("Resize", *resize, mode="nearest")], maps, scales),
    ("Resize", "left out"): ([helper.make_node("Resize", *resize)], maps, scales),
    ("ReduceL2", "named"): ([helper.make_node("ReduceL2", ["x"], ["n"], axes=[1], keepdims=1), divide], square, {}, 13),
    ("ReduceL2", "left out"): ([helper.make_node("ReduceL2", ["x"], ["n"], axes=[1]), divide], square, {}, 13),
}
for case, arguments in cases.items():
    found[case] = difference(*arguments)
# ONNX's reference computes opset 13's softmax for a file of opset 11: the expected is the latter's by hand.
exponentials = np.exp(maps["x"])
expected = exponentials / exponentials.sum((1, 2, 3), keepdims=True)
for name, attributes in (("named", {"axis": 1}), ("left out", {})):
    model, _ = graph([helper.make_node("Softmax", ["x"], ["y"], **attributes)], maps, {}, opset=11)
    found["Softmax", name] = float(np.abs(computed(folder, model, maps) - expected).max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {(operator, "left out") for operator in ("Resize", "ReduceL2", "Softmax")}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/left_out.py" "$folder"
