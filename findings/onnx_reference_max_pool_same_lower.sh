#!/usr/bin/env bash
# ONNX's own reference implementation of MaxPool with auto_pad=SAME_LOWER has other values than the pads that it
#   means.
#
# Versions: onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: of 6x6, a window of 3x3 with stride 2 needs one row and column of padding, which SAME_LOWER has at the
#   beginning: the same as pads=[1, 1, 0, 0].
# Observed: other values, and of 7x8 another shape: [3, 4], where the specification's formula has [4, 4]. SAME_UPPER
#   is right, and so is SAME_LOWER of AveragePool. Who takes it for the expected result calls runtimes wrong that are
#   right.
# A way around it: explicit pads.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 numpy==2.4.6
cat > "$folder/pool.py" <<'PYTHON'
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def computed(nodes, inputs, opset):
    """By ONNX's reference, of a model that its checker takes."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in inputs.items()]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * inputs["x"].ndim)
    body = helper.make_graph(nodes, "g", values, [y])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return ReferenceEvaluator(model).run(None, inputs)[0]


random, found = np.random.default_rng(0), {}

for operator in ("MaxPool", "AveragePool"):
    for way, pads in {"SAME_UPPER": [0, 0, 1, 1], "SAME_LOWER": [1, 1, 0, 0]}.items():
        x = random.standard_normal((2, 3, 6, 6)).astype(np.float32)
        sizes = {"kernel_shape": [3, 3], "strides": [2, 2]}
        y, expected = (
            computed([helper.make_node(operator, ["x"], ["y"], **sizes, **attributes)], {"x": x}, opset=18)
            for attributes in ({"auto_pad": way}, {"pads": pads})
        )
        found[operator, way] = float(np.abs(y - expected).max())
x = random.standard_normal((1, 1, 7, 8)).astype(np.float32)
node = helper.make_node("MaxPool", ["x"], ["y"], auto_pad="SAME_LOWER", **sizes)
shape = computed([node], {"x": x}, opset=18).shape
print("of 7x8:", shape)
assert shape == (1, 1, 3, 4)

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {("MaxPool", "SAME_LOWER")}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/pool.py" "$folder"
