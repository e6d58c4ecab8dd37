#!/usr/bin/env bash
# OpenVINO's ConvTranspose of ONNX with output_shape and auto_pad=SAME_UPPER cuts at the wrong end.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: a 3x3 kernel with stride 2 makes 11x15 of 5x7, of which output_shape=[10, 14] cuts one row and one column.
#   ONNX's formula has them at the end by SAME_UPPER, and its reference does it.
# Observed: by SAME_UPPER the first row and column are cut: exactly the values of SAME_LOWER. SAME_LOWER is right, and
#   so are explicit pads and SAME_UPPER without output_shape. No message.
# A way around it: explicit pads, [0, 0, 1, 1].
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/transposed.py" <<'PYTHON'
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

inputs, kernel = {"x": normal(2, 4, 5, 7)}, {"w": normal(4, 6, 3, 3)}
models = {}
for name, attributes in {
    "pads": {"pads": [0, 0, 1, 1]},
    "SAME_UPPER": {"auto_pad": "SAME_UPPER"},
    "SAME_LOWER, output_shape": {"auto_pad": "SAME_LOWER", "output_shape": [10, 14]},
    "SAME_UPPER, output_shape": {"auto_pad": "SAME_UPPER", "output_shape": [10, 14]},
}.items():
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], **attributes)
    found[name] = difference([node], inputs, kernel)
    models[name] = graph([node], inputs, kernel)
y = computed(folder, models["SAME_UPPER, output_shape"][0], inputs)
found["it, from SAME_LOWER's values"] = float(np.abs(y - models["SAME_LOWER, output_shape"][1]).max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {"SAME_UPPER, output_shape"}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/transposed.py" "$folder"
