#!/usr/bin/env bash
# tract's Softplus and ReduceLogSumExp of ONNX are infinite where the result is 89 or more.
#
# Versions: tract 0.23.9, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: log(1 + exp(x)) is x in float32 above 20: softplus(100) is 100, as in ONNX's reference. A GAN's loss is
#   the softplus of a logit.
# Observed: inf from 89 on, since exp(x) is computed first, without a message. ReduceLogSumExp, whose definition is
#   usually computed after the largest value is taken off, does the same. LogSoftmax is right.
# ReduceLogSumExp of 100 is infinite in IREE 3.13.0 too.
# A way around it: max(x, 0) + log(1 + exp(-|x|)) by Relu, Abs, Neg, Exp, Add and Log.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tract==0.23.9 onnx==1.23.2 numpy==2.4.6
cat > "$folder/softplus.py" <<'PYTHON'
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

one = {"one": np.ones((), np.float32)}
by_hand = [
    helper.make_node("Abs", ["x"], ["a"]),
    helper.make_node("Neg", ["a"], ["n"]),
    helper.make_node("Exp", ["n"], ["e"]),
    helper.make_node("Add", ["e", "one"], ["o"]),
    helper.make_node("Log", ["o"], ["l"]),
    helper.make_node("Relu", ["x"], ["r"]),
    helper.make_node("Add", ["r", "l"], ["y"]),
]
for x in (-100, 1, 20, 88, 89, 100):
    inputs = {"x": np.full((2, 3), x, np.float32)}
    found["Softplus", x] = difference([helper.make_node("Softplus", ["x"], ["y"])], inputs, {})
    found["by hand", x] = difference(by_hand, inputs, one)
    node = helper.make_node("ReduceLogSumExp", ["x", "axes"], ["y"])
    found["ReduceLogSumExp", x] = difference([node], inputs, {"axes": np.array([1])})
    found["LogSoftmax", x] = difference([helper.make_node("LogSoftmax", ["x"], ["y"])], inputs, {})

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {(name, x) for name in ("Softplus", "ReduceLogSumExp") for x in (89, 100)} | {
    ("ReduceLogSumExp", 88),
    ("ReduceLogSumExp", -100),
}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/softplus.py" "$folder"
