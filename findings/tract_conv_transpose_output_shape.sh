#!/usr/bin/env bash
# tract's ConvTranspose of ONNX with output_shape cuts all at the end.
#
# Versions: tract 0.23.9, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: a 3x3 kernel with stride 2 makes 11x15 of 5x7. output_shape=[9, 13] cuts two rows and columns, by ONNX's
#   formula one at each side; [10, 14] cuts one, at the beginning unless auto_pad is SAME_UPPER. The same as pads=[1,
#   1, 1, 1] and pads=[1, 1, 0, 0].
# Observed: all of it is cut at the end, as by pads=[0, 0, 2, 2] and pads=[0, 0, 1, 1]: the image is shifted. The
#   explicit pads are right. No message.
# A way around it: explicit pads.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tract==0.23.9 onnx==1.23.2 numpy==2.4.6
cat > "$folder/transposed.py" <<'PYTHON'
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

inputs, kernel = {"x": normal(2, 4, 5, 7)}, {"w": normal(4, 6, 3, 3)}
expected = {}
for pads in ([1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 2, 2]):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=pads)
    found[f"pads={pads}"] = difference([node], inputs, kernel)
    model, expected[tuple(pads)] = graph([node], inputs, kernel)
# ONNX's reference takes no output_shape here, so that the expected values are those of the pads in ONNX's formula.
for pads in expected:
    shape = list(expected[pads].shape[2:])
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], output_shape=shape)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.node[0].CopyFrom(node)
    for axis, size in zip((2, 3), shape, strict=True):
        changed.graph.output[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.checker.check_model(changed, full_check=True)
    y = computed(folder, changed, inputs)
    found[f"output_shape={shape}, from pads={list(pads)}"] = float(np.abs(y - expected[pads]).max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {
    f"output_shape={shape}" for shape in ("[9, 13], from pads=[1, 1, 1, 1]", "[10, 14], from pads=[1, 1, 0, 0]")
}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/transposed.py" "$folder"
