#!/usr/bin/env bash
# ncnn by pnnx: padding that wraps around becomes padding with zeros.
#
# Versions: ncnn 1.0.20261020, pnnx 20261020, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: Pad with mode=wrap, which circular convolutions of seamless textures and panoramas have, as ONNX's
#   reference computes it, or an error.
# Observed: pnnx's own file says circular, the file for ncnn has the padding of a constant, 0, without a message.
#   reflect and edge are right.
# A way around it: Slice and Concat, which it converts correctly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ncnn==1.0.20261020 onnx==1.23.2 numpy==2.4.6
# Its program needs no PyTorch, which the package asks for.
"$folder/venv/bin/pip" install --quiet --no-deps pnnx==20261020
cat > "$folder/wrap.py" <<'PYTHON'
import re
import subprocess
import sys
from pathlib import Path

import ncnn
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def computed(folder, model, inputs):
    """By ncnn in float32, from the ONNX file by pnnx, of the one example in the inputs."""
    onnx.save(model, f"{folder}/g.onnx")
    shapes = ",".join(str(list(x.shape)).replace(" ", "") + "f32" for x in inputs.values())
    program = Path(onnx.__file__).parents[1] / "pnnx" / "pnnx"
    command = [program, "g.onnx", f"inputshape={shapes}", "fp16=0"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    example = Path(folder, "g_ncnn.py").read_text()  # pnnx's own, which says whether arrays have an axis of the batch
    (batch,) = set(re.findall(r"batch_index=(\d+)", example))
    assert net.load_param(f"{folder}/g.ncnn.param") == 0 and net.load_model(f"{folder}/g.ncnn.bin") == 0
    with net.create_extractor() as extractor:
        for i, x in enumerate(inputs.values()):
            extractor.input(f"in{i}", ncnn.Mat(x, batch_index=int(batch)).clone())
        status, found = extractor.extract("out0")
        assert status == 0
        return found.numpy(batch_index=int(batch)).copy()


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

inputs = {"x": normal(1, 3, 6, 6)}
kernel = {"w": normal(4, 3, 3, 3)}
pads = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
convolution = helper.make_node("Conv", ["h", "w"], ["y"])
for mode in ("constant", "reflect", "edge", "wrap"):
    pad = helper.make_node("Pad", ["x", "pads"], ["h"], mode=mode)
    found[mode] = difference([pad, convolution], inputs, kernel | pads, opset=19)
model, _ = graph([pad, convolution], inputs, kernel | pads, opset=19)
_, zeros = graph([helper.make_node("Pad", ["x", "pads"], ["h"]), convolution], inputs, kernel | pads, opset=19)
found["wrap, from the values of zeros"] = float(np.abs(computed(folder, model, inputs) - zeros).max())
ends = {"axis2": np.array([2]), "axis3": np.array([3]), "first": np.array([0]), "one": np.array([1])}
ends |= {"last": np.array([5]), "end": np.array([6])}
by_hand = []
for axis, x, out in ((2, "x", "rows"), (3, "rows", "h")):
    by_hand += [
        helper.make_node("Slice", [x, "last", "end", f"axis{axis}"], [f"a{axis}"]),
        helper.make_node("Slice", [x, "first", "one", f"axis{axis}"], [f"b{axis}"]),
        helper.make_node("Concat", [f"a{axis}", x, f"b{axis}"], [out], axis=axis),
    ]
found["Slice and Concat"] = difference([*by_hand, convolution], inputs, kernel | ends)

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {"wrap"}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/wrap.py" "$folder"
