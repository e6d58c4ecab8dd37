#!/usr/bin/env bash
# MNN's Round of ONNX takes halves away from zero, where ONNX takes them to the even number.
#
# Versions: MNN 3.6.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: ONNX says that 0.5 becomes 0, 1.5 becomes 2, 2.5 becomes 2. Half-integers are common where pixels or
#   weights are quantised.
# Observed: -2.5, -1.5, -0.5, 0.5, 1.5, 2.5 become -3, -2, -1, 1, 2, 3. No message.
# A way around it: keep rounding outside the network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MNN==3.6.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/round.py" <<'PYTHON'
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

halves = {"x": np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]], np.float32)}
node = helper.make_node("Round", ["x"], ["y"])
print("Round:", computed(folder, graph([node], halves, {})[0], halves).tolist())
found["halves"] = difference([node], halves, {})
found["others"] = difference([node], {"x": normal(3, 8)}, {})

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {"halves"}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/round.py" "$folder"
