#!/usr/bin/env bash
# MNN ignores attributes of ONNX's Resize without a message: antialias and cubic_coeff_a.
#
# Versions: MNN 3.6.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: what ONNX's reference computes, or an error. Images for FID are made smaller with a filter (antialias),
#   and Pillow's cubic filter has the coefficient -0.5, not ONNX's -0.75.
# Observed: with antialias=1 and with cubic_coeff_a=-0.5 the values are exactly those without the attribute.
# A way around it: make images smaller outside the network, or by a Conv with the filter's weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MNN==3.6.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/attributes.py" <<'PYTHON'
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

cases = {
    "antialias": ({"mode": "linear"}, 0.5, {"antialias": 1}),
    "cubic_coeff_a": ({"mode": "cubic", "coordinate_transformation_mode": "asymmetric"}, 2, {"cubic_coeff_a": -0.5}),
}
inputs = {"x": normal(2, 3, 4, 6)}
for name, (attributes, scale, ignored) in cases.items():
    scales = {"scales": np.array([1, 1, scale, scale], np.float32)}
    plain = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    special = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes, **ignored)
    found["without", name] = difference([plain], inputs, scales)
    found["with", name] = difference([special], inputs, scales)
    model, _ = graph([special], inputs, scales)
    _, unfiltered = graph([plain], inputs, scales)
    found["with it, from the values without", name] = float(np.abs(computed(folder, model, inputs) - unfiltered).max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {("with", name) for name in cases}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/attributes.py" "$folder"
