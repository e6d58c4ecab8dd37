#!/usr/bin/env bash
# jax2onnx exports jax.image.resize of method nearest with another rounding, so that other pixels are taken.
#
# Versions: jax2onnx 0.17.1, jax 0.10.2, onnxruntime 1.32.0; Python 3.11, Linux, x86-64.
# Expected: the pixels that JAX takes: of eight in a row, reduced to four, the second, fourth, sixth and eighth.
# Observed: the file takes the first, third, fifth and seventh: its Resize has nearest_mode=round_prefer_floor, and
#   JAX takes the floor of (i + 0.5) times the ratio. Two and three times the size are right; half of it, three
#   quarters and one and a half times are wrong. No message.
# A way around it: x[:, 1::2, 1::2] and jnp.repeat, for ratios of integers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax2onnx==0.17.1 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 \
    orbax-checkpoint==0.11.36 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/nearest.py" <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax2onnx import to_onnx


def computed(function, x):
    """By ONNX Runtime, from the file of jax2onnx."""
    model = to_onnx(function, [jax.ShapeDtypeStruct(x.shape, x.dtype)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


x = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)
wrong = []
for size in (4, 6, 12, 16, 24):

    def resize(x, size=size):
        return jax.image.resize(x, (1, size, 1, 1), "nearest")

    expected, found = np.asarray(resize(x)).ravel(), computed(resize, x).ravel()
    print(f"8 to {size}: JAX {expected.astype(int).tolist()}, file {found.astype(int).tolist()}")
    if (expected != found).any():
        wrong.append(size)
by_hand = [computed(lambda x: x[:, 1::2], x).ravel().tolist(), np.asarray(jnp.asarray(x)[:, 1::2]).ravel().tolist()]
if wrong != [4, 6, 12] or by_hand[0] != by_hand[1]:
    sys.exit("not as observed before")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/nearest.py" "$folder"
