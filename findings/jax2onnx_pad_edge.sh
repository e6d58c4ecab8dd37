#!/usr/bin/env bash
# jax2onnx exports jnp.pad of mode edge, where an axis is not padded, as a file that ONNX Runtime does not load.
#
# Versions: jax2onnx 0.17.1, jax 0.10.2, onnxruntime 1.32.0; Python 3.11, Linux, x86-64.
# Expected: padding of height and width that repeats the outer pixels, and none of the batch and the channels, as a
#   file that computes what JAX does.
# Observed: to_onnx returns without an error. Where all axes are padded the file is right; where one has the width 0,
#   ONNX Runtime refuses it: a Concat has pieces whose recorded shapes do not fit. Modes reflect and symmetric are
#   right.
# A way around it: clip indices: x[:, jnp.clip(jnp.arange(-1, 7), 0, 5)] for each axis.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax2onnx==0.17.1 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 \
    orbax-checkpoint==0.11.36 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/pad.py" <<'PYTHON'
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


x = np.random.default_rng(0).standard_normal((2, 6, 7, 4)).astype(np.float32)
rows, columns = np.clip(np.arange(-1, 7), 0, 5), np.clip(np.arange(-1, 8), 0, 6)
ways = {
    "edge, all axes": lambda x: jnp.pad(x, ((1, 1), (1, 1), (1, 1), (1, 1)), mode="edge"),
    "edge, one axis": lambda x: jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge"),
    "edge, two axes": lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"),
    "reflect, two axes": lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"),
    "symmetric, two axes": lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric"),
    "by indices, two axes": lambda x: x[:, rows][:, :, columns],
}
refused = set()
for name, way in ways.items():
    to_onnx(way, [x.shape])
    try:
        found = computed(way, x)
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        print(f"{name}: {str(error).strip()[:150]}")
        refused.add(name)
    else:
        print(f"{name}: right")
        assert (found == np.asarray(way(jnp.asarray(x)))).all()
if refused != {"edge, one axis", "edge, two axes"}:
    sys.exit("not as observed before")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/pad.py" "$folder"
