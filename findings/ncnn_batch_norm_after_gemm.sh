#!/usr/bin/env bash
# ncnn by pnnx: batch normalisation after a dense layer without bias takes the first unit's numbers for all units.
#
# Versions: ncnn 1.0.20261020, pnnx 20261020, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: Gemm and BatchNormalization of [1, 8], the beginning of a DCGAN's generator, as ONNX's reference computes
#   them.
# Observed: the first of the 8 is right, all others are normalised by the first one's scale, bias, mean and variance.
#   pnnx writes the Gemm without bias as one whose result has two axes, of which ncnn takes the first, of length 1,
#   for the channels. With a bias it is right, and so is the batch normalisation alone. No message.
# A way around it: give Gemm a bias of zeros, or fold the normalisation into its kernel.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ncnn==1.0.20261020 onnx==1.23.2 numpy==2.4.6
# Its program needs no PyTorch, which the package asks for.
"$folder/venv/bin/pip" install --quiet --no-deps pnnx==20261020
cat > "$folder/normalisation.py" <<'PYTHON'
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
    y = computed(folder, model, inputs).reshape(expected.shape)  # [1, 1, 8]: ncnn's has an axis more
    return float(np.abs(y - expected).max())


folder, random, found = sys.argv[1], np.random.default_rng(0), {}

inputs, kernel = {"x": normal(1, 5)}, normal(5, 8)
statistics = {"s": normal(8), "b": normal(8), "m": normal(8), "v": np.abs(normal(8)) + 0.1}
normalise = helper.make_node("BatchNormalization", ["h", "s", "b", "m", "v"], ["y"])
plain = [helper.make_node("Gemm", ["x", "w"], ["h"]), normalise]
biased = [helper.make_node("Gemm", ["x", "w", "c"], ["h"]), normalise]
found["no bias"] = difference(plain, inputs, {"w": kernel, **statistics})
found["bias of zeros"] = difference(biased, inputs, {"w": kernel, "c": np.zeros(8, np.float32), **statistics})
alone = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"])
found["alone"] = difference([alone], {"x": normal(1, 8)}, statistics)
model, _ = graph(plain, inputs, {"w": kernel, **statistics})
first = {name: np.repeat(values[:1], 8) for name, values in statistics.items()}
_, expected = graph(plain, inputs, {"w": kernel, **first})
found["no bias, from the first one's numbers"] = float(np.abs(computed(folder, model, inputs)[0] - expected).max())

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {"no bias"}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/normalisation.py" "$folder"
