#!/usr/bin/env bash
# MNN's cubic Resize of ONNX is wrong in the first row and column, where the coordinate is below zero.
#
# Versions: MNN 3.6.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: what ONNX's reference computes. By half_pixel and twice the size the first output lies at -0.25: the pixel
#   -1 (which is the pixel 0 again) has a weight as well as the pixels 0, 1 and 2.
# Observed: the whole first row and the whole first column are wrong, by up to the size of the values; all else is
#   right. They have the values of the third row and column, at 0.75: as if -0.25 were rounded to 0 and not to -1. By
#   asymmetric and by align_corners, whose first coordinate is 0, all is right, and so is half the size, whose first
#   one is 0.5. There is no message.
# A way around it: mode linear, or a ConvTranspose with the cubic filter.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MNN==3.6.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/cubic.py" <<'PYTHON'
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

maps = normal(2, 3, 5, 6)
for coordinates in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
    for scale in (2, 0.5):
        if scale < 1 and coordinates == "align_corners":
            continue
        node = helper.make_node(
            "Resize", ["x", "", "scales"], ["y"], mode="cubic", coordinate_transformation_mode=coordinates
        )
        inputs, scales = {"x": maps[:, :, :4]}, {"scales": np.array([1, 1, scale, scale], np.float32)}
        model, expected = graph([node], inputs, scales)
        wrong = np.abs(computed(folder, model, inputs) - expected)
        if scale == 2 and coordinates.endswith("half_pixel"):
            y, third = computed(folder, model, inputs), "first column, from the third's values"
            found[coordinates, scale, third] = float(np.abs(y[..., 1:, 0] - y[..., 1:, 2]).max())
        found[coordinates, scale, "first row"] = float(wrong[:, :, 0].max())
        found[coordinates, scale, "first column"] = float(wrong[:, :, :, 0].max())
        found[coordinates, scale, "all else"] = float(wrong[:, :, 1:, 1:].max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {(way, 2, f"first {part}") for way in ("half_pixel", "pytorch_half_pixel") for part in ("row", "column")}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/cubic.py" "$folder"
