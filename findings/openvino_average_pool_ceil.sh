#!/usr/bin/env bash
# OpenVINO's AveragePool of ONNX with ceil_mode=1 and count_include_pad=1 divides by pixels that are not there.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: a window that ceil_mode adds reaches beyond the padding. What lies beyond is not counted, by ONNX's
#   reference as by PyTorch's avg_pool2d, only the padding is.
# Observed: windows at the far border are divided by the whole window's 9 pixels, 2/3 of what it should be at an edge
#   and 4/9 in the corner. Either attribute alone is right. No message.
# The same in ncnn 1.0.20261020 by pnnx 20261020, and in IREE 3.13.0.
# A way around it: Pad with zeros and then AveragePool with ceil_mode=1, which is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/pool.py" <<'PYTHON'
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

inputs, window = {"x": normal(2, 3, 6, 6)}, {"kernel_shape": [3, 3], "strides": [2, 2]}
for ceil in (0, 1):
    for counted in (0, 1):
        node = helper.make_node(
            "AveragePool", ["x"], ["y"], pads=[1, 1, 1, 1], ceil_mode=ceil, count_include_pad=counted, **window
        )
        found[f"ceil_mode={ceil} count_include_pad={counted}"] = difference([node], inputs, {}, opset=19)
model, expected = graph([node], inputs, {}, opset=19)
print("ratio to the expected, one map:", (computed(folder, model, inputs) / expected)[0, 0].round(3).tolist())
nodes = [
    helper.make_node("Pad", ["x", "pads"], ["h"]),
    helper.make_node("AveragePool", ["h"], ["y"], ceil_mode=1, **window),
]
found["Pad before"] = difference(nodes, inputs, {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, opset=19)

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {"ceil_mode=1 count_include_pad=1"}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/pool.py" "$folder"
