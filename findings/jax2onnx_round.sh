#!/usr/bin/env bash
# jax2onnx exports jax.lax.round as ONNX's Round, which takes halves to the even number.
#
# Versions: jax2onnx 0.17.1, jax 0.10.2, onnxruntime 1.32.0; Python 3.11, Linux, x86-64.
# Expected: jax.lax.round takes halves away from zero unless told otherwise: 0.5 becomes 1 and 2.5 becomes 3.
# Observed: in the file 0.5 becomes 0 and 2.5 becomes 2; the rounding method is not looked at. jnp.round, which takes
#   halves to the even number, is right. No message.
# A way around it: jnp.sign(x) * jnp.floor(jnp.abs(x) + 0.5).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax2onnx==0.17.1 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 \
    orbax-checkpoint==0.11.36 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/round.py" <<'PYTHON'
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


x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
ways = {
    "lax.round": jax.lax.round,
    "lax.round to even": lambda x: jax.lax.round(x, jax.lax.RoundingMethod.TO_NEAREST_EVEN),
    "jnp.round": jnp.round,
    "by floor": lambda x: jnp.sign(x) * jnp.floor(jnp.abs(x) + 0.5),
}
wrong = set()
for name, way in ways.items():
    expected, found = np.asarray(way(jnp.asarray(x))), computed(way, x)
    print(f"{name}: JAX {expected.tolist()}, file {found.tolist()}")
    if (expected != found).any():
        wrong.add(name)
if wrong != {"lax.round"}:
    sys.exit("not as observed before")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/round.py" "$folder"
