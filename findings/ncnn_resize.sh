#!/usr/bin/env bash
# ncnn by pnnx: ONNX's Resize loses the way to count coordinates, the rounding, antialias and the cubic coefficient.
#
# Versions: ncnn 1.0.20261020, pnnx 20261020, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: what ONNX's reference computes, or an error.
# Observed: pnnx writes one of PyTorch's interpolations, which are linear and cubic with half_pixel or align_corners,
#   nearest with asymmetric and floor, and nothing else. Another Resize becomes the one of its mode, without a
#   message: linear or cubic with asymmetric, nearest with half_pixel and floor, antialias, cubic_coeff_a and
#   exclude_outside.
# A way around it: export with half_pixel (linear, cubic) or asymmetric and floor (nearest).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ncnn==1.0.20261020 onnx==1.23.2 numpy==2.4.6
# Its program needs no PyTorch, which the package asks for.
"$folder/venv/bin/pip" install --quiet --no-deps pnnx==20261020
cat > "$folder/resize.py" <<'PYTHON'
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

way = "coordinate_transformation_mode"
cases = {
    "linear half_pixel": (2, {"mode": "linear"}),
    "linear align_corners": (2, {"mode": "linear", way: "align_corners"}),
    "linear asymmetric": (2, {"mode": "linear", way: "asymmetric"}),
    "linear half_pixel antialias": (0.5, {"mode": "linear", "antialias": 1}),
    "cubic half_pixel": (2, {"mode": "cubic"}),
    "cubic asymmetric": (2, {"mode": "cubic", way: "asymmetric"}),
    "cubic half_pixel cubic_coeff_a": (2, {"mode": "cubic", "cubic_coeff_a": -0.5}),
    "cubic half_pixel exclude_outside": (2, {"mode": "cubic", "exclude_outside": 1}),
    "nearest asymmetric floor": (2, {"mode": "nearest", way: "asymmetric", "nearest_mode": "floor"}),
    "nearest half_pixel floor": (2, {"mode": "nearest", "nearest_mode": "floor"}),
}
inputs = {"x": normal(1, 3, 4, 6)}
for name, (scale, attributes) in cases.items():
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    found[name] = difference([node], inputs, {"scales": np.array([1, 1, scale, scale], np.float32)})

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {
    name for name in cases if name.split(" ", 1)[1] not in ("half_pixel", "align_corners", "asymmetric floor")
}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/resize.py" "$folder"
