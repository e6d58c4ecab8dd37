#!/usr/bin/env bash
# tract's Celu of ONNX lacks a factor alpha below 0.
#
# Versions: tract 0.23.9, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: max(0, x) + min(0, alpha (exp(x / alpha) - 1)), as in ONNX's reference. It has the slope 1 at 0 for every
#   alpha.
# Observed: below 0 it is exp(x / alpha) - 1, so that the slope left of 0 is 1 / alpha: with alpha=2 the values below
#   0 are half of what they should be. With alpha=1 nothing shows. No message.
# A way around it: Div, Elu with alpha=1 and Mul.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tract==0.23.9 onnx==1.23.2 numpy==2.4.6
cat > "$folder/celu.py" <<'PYTHON'
import sys

import numpy as np
import onnx
import tract
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def computed(folder, model, inputs):
    """By tract, from the ONNX file."""
    onnx.save(model, f"{folder}/g.onnx")
    runnable = tract.onnx().load(f"{folder}/g.onnx").into_model().into_runnable()
    return runnable.run(list(inputs.values()))[0].to_numpy()


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

inputs = {"x": 2 * normal(3, 24)}
for alpha in (1.0, 0.5, 2.0):
    node = helper.make_node("Celu", ["x"], ["y"], alpha=alpha)
    found["Celu", alpha] = difference([node], inputs, {})
    by_hand = [
        helper.make_node("Div", ["x", "alpha"], ["d"]),
        helper.make_node("Elu", ["d"], ["e"]),
        helper.make_node("Mul", ["e", "alpha"], ["y"]),
    ]
    found["by hand", alpha] = difference(by_hand, inputs, {"alpha": np.float32(alpha)})
    model, expected = graph([node], inputs, {})
    y, below = computed(folder, model, inputs), inputs["x"] < 0
    found["Celu below 0, times alpha", alpha] = float(np.abs(alpha * y - expected)[below].max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {("Celu", 0.5), ("Celu", 2.0)}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/celu.py" "$folder"
