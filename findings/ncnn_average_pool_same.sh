#!/usr/bin/env bash
# ncnn by pnnx: average pooling with auto_pad of ONNX counts the padding.
#
# Versions: ncnn 1.0.20261020, pnnx 20261020, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: AveragePool with SAME_UPPER or SAME_LOWER and stride 1 divides by the pixels inside, unless
#   count_include_pad says otherwise, as ONNX's reference does.
# Observed: pnnx writes a padding with zeros and a pooling of the larger image, whose windows are divided by their
#   whole size: 2/3 of what it should be at an edge and 4/9 in a corner of a window of 3x3. Explicit pads are right,
#   and so is count_include_pad=1. No message (with a larger stride there is one).
# A way around it: explicit pads.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ncnn==1.0.20261020 onnx==1.23.2 numpy==2.4.6
# Its program needs no PyTorch, which the package asks for.
"$folder/venv/bin/pip" install --quiet --no-deps pnnx==20261020
cat > "$folder/pool.py" <<'PYTHON'
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

inputs = {"x": normal(1, 3, 8, 8)}
ways = {
    "pads": {"pads": [1, 1, 1, 1]},
    "SAME_UPPER": {"auto_pad": "SAME_UPPER"},
    "SAME_LOWER": {"auto_pad": "SAME_LOWER"},
}
for name, way in ways.items():
    for counted in (1, 0):
        node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], count_include_pad=counted, **way)
        found[name, f"count_include_pad={counted}"] = difference([node], inputs, {}, opset=19)
model, expected = graph([node], inputs, {}, opset=19)
print("ratio to the expected, first row:", (computed(folder, model, inputs) / expected)[0, 0, 0].round(3).tolist())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {(way, "count_include_pad=0") for way in ("SAME_UPPER", "SAME_LOWER")}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/pool.py" "$folder"
