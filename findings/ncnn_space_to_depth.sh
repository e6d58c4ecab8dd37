#!/usr/bin/env bash
# pnnx converts ONNX's SpaceToDepth to PyTorch's pixel_unshuffle, whose channels are in another order.
#
# Versions: ncnn 1.0.20261020, pnnx 20261020, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: ONNX's order has the place in the block first and the channel second, pixel_unshuffle the other way round;
#   values are moved alone, so that a difference is 0. As ONNX's reference.
# Observed: of more than one channel the values are in the channels of pixel_unshuffle, in ncnn's file as in pnnx's
#   own. Of one channel both orders are the same and nothing shows. No message.
# A way around it: Reshape, Transpose and Reshape before export, or a Conv with stride and a kernel of ones and zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ncnn==1.0.20261020 onnx==1.23.2 numpy==2.4.6
# Its program needs no PyTorch, which the package asks for.
"$folder/venv/bin/pip" install --quiet --no-deps pnnx==20261020
cat > "$folder/depth.py" <<'PYTHON'
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

node = helper.make_node("SpaceToDepth", ["x"], ["y"], blocksize=2)
for channels in (1, 3, 4):
    inputs = {"x": normal(1, channels, 4, 6)}
    found["SpaceToDepth", channels] = difference([node], inputs, {})
    y = computed(folder, graph([node], inputs, {})[0], inputs)
    apart = inputs["x"].reshape(1, channels, 2, 2, 3, 2).transpose(0, 1, 3, 5, 2, 4).reshape(1, 4 * channels, 2, 3)
    found["it, from pixel_unshuffle's values", channels] = float(np.abs(y - apart).max())
    kernel = np.eye(4 * channels, dtype=np.float32).reshape(2, 2, channels, 4 * channels).transpose(3, 2, 0, 1)
    convolution = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2])
    found["Conv", channels] = difference([convolution], inputs, {"w": kernel})

for case, value in found.items():
    print(f"{case}: largest difference {value:.2g}")
wrong = {case for case, value in found.items() if not value < 1e-4}
if wrong != {("SpaceToDepth", 3), ("SpaceToDepth", 4)}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/depth.py" "$folder"
