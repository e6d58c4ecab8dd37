#!/usr/bin/env bash
# OpenVINO ignores attributes of ONNX's Resize without a message: antialias and exclude_outside.
#
# Versions: openvino 2026.4.1, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: what ONNX's reference computes, or an error. Images for FID are made smaller with a filter, which
#   antialias=1 is; an Inception network with its preprocessing in the file has it.
# Observed: with antialias=1 (linear and cubic) and with exclude_outside=1 the values are exactly those without the
#   attribute. keep_aspect_ratio_policy is ignored as well: 4x6 with sizes [8, 8] and not_larger should become 5x8 and
#   becomes 8x8, although the file's output says 5x8.
# A way around it: make images smaller outside the network, or by a Conv with the filter's weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/attributes.py" <<'PYTHON'
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

scales = {scale: {"scales": np.array([1, 1, scale, scale], np.float32)} for scale in (0.5, 2)}
cases = {
    "linear, antialias": ({"mode": "linear"}, scales[0.5], {"antialias": 1}),
    "cubic, antialias": ({"mode": "cubic"}, scales[0.5], {"antialias": 1}),
    "cubic, exclude_outside": ({"mode": "cubic"}, scales[2], {"exclude_outside": 1}),
}
inputs = {"x": normal(2, 3, 4, 6)}
for name, (attributes, scale, ignored) in cases.items():
    plain = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    special = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes, **ignored)
    found["without", name] = difference([plain], inputs, scale)
    found["with", name] = difference([special], inputs, scale)
    model, _ = graph([special], inputs, scale)
    _, unfiltered = graph([plain], inputs, scale)
    found["with it, from the values without", name] = float(np.abs(computed(folder, model, inputs) - unfiltered).max())
kept = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], axes=[2, 3], keep_aspect_ratio_policy="not_larger")
model, expected = graph([kept], inputs, {"sizes": np.array([8, 8])})
shapes = expected.shape, computed(folder, model, inputs).shape
print("keep_aspect_ratio_policy: expected and found", *shapes)
assert shapes == ((2, 3, 5, 8), (2, 3, 8, 8))

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {("with", name) for name in cases}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/attributes.py" "$folder"
