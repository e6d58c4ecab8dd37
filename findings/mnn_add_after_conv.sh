#!/usr/bin/env bash
# MNN adds a constant along the width to the channels, if it follows a convolution with as many channels as columns.
#
# Versions: MNN 3.6.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: ONNX broadcasts [6] along the last axis of [batch, channels, 5, 6], whatever came before.
# Observed: after a Conv (with a bias of its own or without) or a ConvTranspose with 6 channels, the constant is taken
#   for the convolution's bias, without a message. With 4 channels it is right; Mul is right; so is the same Add
#   without a convolution before it.
# A way around it: a constant of the full shape, [1, 1, 5, 6].
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MNN==3.6.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/add.py" <<'PYTHON'
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

inputs, constant = {"x": normal(2, 4, 5, 6)}, normal(6)
for channels in (4, 6):
    kernels = {
        "Conv": (["x", "w"], normal(channels, 4, 3, 3)),
        "Conv, bias": (["x", "w", "b"], normal(channels, 4, 3, 3)),
        "ConvTranspose": (["x", "w"], normal(4, channels, 3, 3)),
    }
    for name, (names, kernel) in kernels.items():
        constants = {"w": kernel, "c": constant} | ({"b": normal(channels)} if "b" in names else {})
        convolution = helper.make_node(name.split(",")[0], names, ["h"], pads=[1, 1, 1, 1])
        for second in ("Add", "Mul"):
            nodes = [convolution, helper.make_node(second, ["h", "c"], ["y"])]
            found[name, channels, second] = difference(nodes, inputs, constants)
add = helper.make_node("Add", ["x", "c"], ["y"])
found["none", 6, "Add"] = difference([add], {"x": normal(2, 6, 5, 6)}, {"c": constant})
full = {"w": kernels["Conv"][1], "c": np.broadcast_to(constant, (1, 1, 5, 6))}
nodes = [helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]), helper.make_node("Add", ["h", "c"], ["y"])]
found["Conv", 6, "Add of the full shape"] = difference(nodes, inputs, full)

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {(name, 6, "Add") for name in kernels}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/add.py" "$folder"
