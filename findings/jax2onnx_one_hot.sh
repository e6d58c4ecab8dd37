#!/usr/bin/env bash
# jax2onnx exports jax.nn.one_hot so that the label -1 is the last class.
#
# Versions: jax2onnx 0.17.1, jax 0.10.2, onnxruntime 1.32.0; Python 3.11, Linux, x86-64.
# Expected: JAX's one_hot has zeros alone for a number that is no class, -1 as well as 4 of four classes. A network
#   with classes can mean none of them by it.
# Observed: in the file -1 is the last class and -4 the first, as ONNX's OneHot counts them; 4 and -5 are zeros. No
#   message.
# A way around it: (labels[:, None] == jnp.arange(4)).astype(jnp.float32).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax2onnx==0.17.1 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 \
    orbax-checkpoint==0.11.36 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/one_hot.py" <<'PYTHON'
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


labels = np.array([0, 3, 4, -1, -4, -5], np.int32)
ways = {
    "one_hot": lambda labels: jax.nn.one_hot(labels, 4),
    "by comparison": lambda labels: (labels[:, None] == jnp.arange(4)).astype(jnp.float32),
}
wrong = {}
for name, way in ways.items():
    expected, found = np.asarray(way(jnp.asarray(labels))), computed(way, labels)
    for label, one, other in zip(labels.tolist(), expected.tolist(), found.tolist(), strict=True):
        print(f"{name} of {label:2}: JAX {one}, file {other}")
    wrong[name] = labels[(expected != found).any(1)].tolist()
if wrong != {"one_hot": [-1, -4], "by comparison": []}:
    sys.exit("not as observed before")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/one_hot.py" "$folder"
