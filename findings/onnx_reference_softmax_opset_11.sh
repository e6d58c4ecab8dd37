#!/usr/bin/env bash
# ONNX's own reference implementation computes Softmax of opset 11 as that of opset 13.
#
# Versions: onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: before opset 13, Softmax flattens the axes from axis on, 1 unless given, and is over all of them together:
#   so says the operator's description of versions 1 and 11, and each example's numbers add up to 1.
# Observed: opset 11 gives what opset 13 gives: one axis alone, the last one unless given. Who takes it for the
#   expected result of an older file calls runtimes wrong that are right.
# A way around it: Flatten, Softmax and Reshape, which mean the same in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 numpy==2.4.6
cat > "$folder/softmax.py" <<'PYTHON'
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

x = random.standard_normal((2, 3, 4, 5)).astype(np.float32)
exponentials = np.exp(x)
for axis in (None, 1, 2, 3):
    node = helper.make_node("Softmax", ["x"], ["y"], **({} if axis is None else {"axis": axis}))
    y = computed([node], {"x": x}, opset=11)
    together = tuple(range(1 if axis is None else axis, 4))
    found[axis, "from opset 11's"] = float(np.abs(y - exponentials / exponentials.sum(together, keepdims=True)).max())
    found[axis, "from opset 13's"] = float(np.abs(y - computed([node], {"x": x}, opset=13)).max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {(axis, "from opset 11's") for axis in (None, 1, 2)}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/softmax.py" "$folder"
