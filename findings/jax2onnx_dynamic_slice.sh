#!/usr/bin/env bash
# jax2onnx exports jax.lax.dynamic_slice so that a slice beyond the end is smaller.
#
# Versions: jax2onnx 0.17.1, jax 0.10.2, onnxruntime 1.32.0; Python 3.11, Linux, x86-64.
# Expected: JAX moves the start back so that the slice has its size: of four rows, two rows from row 3 on (counted
#   from 0) are the last two. A random crop can rely on it.
# Observed: the file returns one row, of the shape [1, 5] and not [2, 5]. So does -1, which JAX counts from the end.
#   Where the slice fits it is right. The file says [2, 5]; ONNX Runtime warns and goes on.
# A way around it: jnp.clip(start, 0, rows - size) before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax2onnx==0.17.1 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 \
    orbax-checkpoint==0.11.36 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/slice.py" <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax2onnx import to_onnx

ROWS = np.arange(20, dtype=np.float32).reshape(4, 5)


def computed(function, x):
    """By ONNX Runtime, from the file of jax2onnx."""
    model = to_onnx(function, [jax.ShapeDtypeStruct(x.shape, x.dtype)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


ways = {
    "plain": lambda start: jax.lax.dynamic_slice(jnp.asarray(ROWS), (start[0], jnp.int32(0)), (2, 5)),
    "clipped": lambda start: jax.lax.dynamic_slice(jnp.asarray(ROWS), (jnp.clip(start[0], 0, 2), jnp.int32(0)), (2, 5)),
}
wrong = {}
for name, way in ways.items():
    wrong[name] = []
    for start in (0, 2, 3, -1):
        at = np.array([start], np.int32)
        expected, found = np.asarray(way(jnp.asarray(at))), computed(way, at)
        print(f"{name}, start {start}: JAX {list(expected.shape)}, file {list(found.shape)}")
        if expected.shape != found.shape or (expected != found).any():
            wrong[name].append(start)
if wrong != {"plain": [3, -1], "clipped": []}:
    sys.exit("not as observed before")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/slice.py" "$folder"
