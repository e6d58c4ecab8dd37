#!/usr/bin/env bash
# MNN's Softplus stays at 87 for larger inputs.
#
# Versions: MNN 3.6.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: log(1 + exp(x)) is x in float32 above 20: softplus(100) is 100. A GAN's loss is the softplus of a logit.
# Observed: softplus(x) is 87 for every x from 88 on, without a message. Below, it is right.
# A way around it: max(x, 0) + log(1 + exp(-|x|)) by Relu, Abs, Neg, Exp, Add and Log.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MNN==3.6.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/softplus.py" <<'PYTHON'
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

one = {"one": np.ones((), np.float32)}
by_hand = [
    helper.make_node("Abs", ["x"], ["a"]),
    helper.make_node("Neg", ["a"], ["n"]),
    helper.make_node("Exp", ["n"], ["e"]),
    helper.make_node("Add", ["e", "one"], ["o"]),
    helper.make_node("Log", ["o"], ["l"]),
    helper.make_node("Relu", ["x"], ["r"]),
    helper.make_node("Add", ["r", "l"], ["y"]),
]
for x in (-10, 1, 20, 87, 90, 100, 1000):
    inputs = {"x": np.full((2, 3), x, np.float32)}
    found["Softplus", x] = difference([helper.make_node("Softplus", ["x"], ["y"])], inputs, {})
    found["by hand", x] = difference(by_hand, inputs, one)

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {("Softplus", 90), ("Softplus", 100), ("Softplus", 1000)}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/softplus.py" "$folder"
