#!/usr/bin/env bash
# ONNX's own reference implementation of LpNormalization with p=1 divides by a sum without absolute values.
#
# Versions: onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: p=1 divides by the sum of the absolute values, so that those of the result add up to 1.
# Observed: the numbers are divided by their sum, which can be close to 0 or negative: the signs turn. Of positive
#   numbers, and with p=2, it is right.
# A way around it: Abs, ReduceSum and Div.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 numpy==2.4.6
cat > "$folder/normalization.py" <<'PYTHON'
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

x = np.array([[3, -1, 2], [1, -2, -3]], np.float32)
for p in (1, 2):
    for name, numbers in {"mixed signs": x, "positive": np.abs(x)}.items():
        y = computed([helper.make_node("LpNormalization", ["x"], ["y"], axis=1, p=p)], {"x": numbers}, opset=18)
        norm = (np.abs(numbers) ** p).sum(1, keepdims=True) ** (1 / p)
        print(f"p={p}, {name}:", y.round(3).tolist())
        found[p, name] = float(np.abs(y - numbers / norm).max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {(1, "mixed signs")}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/normalization.py" "$folder"
