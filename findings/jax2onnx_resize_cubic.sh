#!/usr/bin/env bash
# jax2onnx exports jax.image.resize of method cubic without JAX's weights at the border.
#
# Versions: jax2onnx 0.17.1, jax 0.10.2, onnxruntime 1.32.0; Python 3.11, Linux, x86-64.
# Expected: what JAX computes. It leaves out the places outside the image and divides by the sum of the other weights,
#   which is exclude_outside=1 of ONNX's Resize.
# Observed: the file repeats the outer pixel, exclude_outside=0: the outer three pixels of twice the size differ, all
#   others are right. No message.
# A way around it: set the attribute in the file: the values are JAX's then.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax2onnx==0.17.1 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 \
    orbax-checkpoint==0.11.36 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/cubic.py" <<'PYTHON'
import sys

import jax
import numpy as np
import onnxruntime
from jax2onnx import to_onnx


def computed(function, x):
    """By ONNX Runtime, from the file of jax2onnx."""
    model = to_onnx(function, [jax.ShapeDtypeStruct(x.shape, x.dtype)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


import onnx  # noqa: E402


def resize(x):
    return jax.image.resize(x, (1, 24, 1, 1), "cubic", antialias=False)


x = np.random.default_rng(0).standard_normal((1, 12, 1, 1)).astype(np.float32)
expected = np.asarray(resize(x)).ravel()
wrong = np.abs(computed(resize, x).ravel() - expected)
print("differences:", wrong.round(4).tolist())
model = to_onnx(resize, [x.shape])
(node,) = [node for node in model.graph.node if node.op_type == "Resize"]
assert "exclude_outside" not in [attribute.name for attribute in node.attribute]
node.attribute.append(onnx.helper.make_attribute("exclude_outside", 1))
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
again = np.abs(session.run(None, {session.get_inputs()[0].name: x})[0].ravel() - expected)
print(f"with exclude_outside=1: {again.max():.2g} at most")
if (np.flatnonzero(wrong > 1e-4).tolist(), bool(again.max() < 1e-5)) != ([0, 1, 2, 21, 22, 23], True):
    sys.exit("not as observed before")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/cubic.py" "$folder"
