#!/usr/bin/env bash
# IREE's compiler takes ONNX's DepthToSpace with mode CRD and compiles something else, without a message.
#
# Versions: iree-base-compiler and iree-base-runtime 3.13.0, onnx 1.23.2, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: what ONNX's own reference implementation computes, which is what PyTorch's pixel_shuffle does: the maps of
#   mode DCR and CRD are moved values, so that a difference is 0.
# Observed: mode DCR is right for every number of channels. Mode CRD is right for 8 channels, which become 2, and wrong for
#   4, 16 and 64 channels: the shape is as it should be, the values are at other places. The same by a dynamic batch,
#   and in a whole network.
# A way around it: Reshape, Transpose and Reshape, which it compiles correctly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet iree-base-compiler==3.13.0 iree-base-runtime==3.13.0 onnx==1.23.2 numpy==2.4.6
cat > "$folder/crd.py" <<'PYTHON'
import subprocess
import sys

import iree.compiler
import iree.runtime
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def difference(folder, nodes, channels, constants=()):
    """The largest, of maps [2, channels, 3, 3], between IREE and ONNX's reference."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, channels, 3, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, channels // 4, 6, 6])
    tensors = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, f"{folder}/g.onnx")
    tool = [sys.executable, "-m", "iree.compiler.tools.import_onnx", f"{folder}/g.onnx", "-o", f"{folder}/g.mlir"]
    subprocess.run(tool, check=True)
    flags = ["--iree-llvmcpu-target-cpu=generic"]
    program = iree.compiler.compile_file(
        f"{folder}/g.mlir", input_type="onnx", target_backends=["llvm-cpu"], extra_args=flags
    )
    module = iree.runtime.load_vm_flatbuffer(program, driver="local-sync")
    maps = np.arange(2 * channels * 9, dtype=np.float32).reshape(2, channels, 3, 3)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": maps})
    found = module["g"](maps).to_host()
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


folder, found = sys.argv[1], {}
for channels in (4, 8, 16, 64):
    for mode in ("DCR", "CRD"):
        node = helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2, mode=mode)
        found[mode, channels] = difference(folder, [node], channels)
    by_hand = [
        helper.make_node("Reshape", ["x", "apart"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 1, 4, 2, 5, 3]),
        helper.make_node("Reshape", ["t", "together"], ["y"]),
    ]
    shapes = [("apart", [2, channels // 4, 2, 2, 3, 3]), ("together", [2, channels // 4, 6, 6])]
    found["by hand", channels] = difference(folder, by_hand, channels, shapes)
for (mode, channels), value in found.items():
    print(f"{mode:8} {channels:3} channels: largest difference {value:g}")
wrong = {case for case, value in found.items() if value}
if wrong != {("CRD", 4), ("CRD", 16), ("CRD", 64)}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/crd.py" "$folder"
