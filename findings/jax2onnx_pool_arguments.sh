#!/usr/bin/env bash
# jax2onnx does not export flax.linen.avg_pool and max_pool whose window is not given by its name.
#
# Versions: jax2onnx 0.17.1, jax 0.10.2, flax 0.12.8, onnxruntime 1.32.0; Python 3.11, Linux, x86-64.
# Expected: nn.avg_pool(x, (2, 2), (2, 2)), a valid call of Flax, is exported.
# Observed: while to_onnx runs, these functions are replaced by others that take one positional argument alone:
#   TypeError, patched() takes 1 positional argument but 3 were given. With window_shape= and strides= it is exported,
#   and right.
# A way around it: name the arguments.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax2onnx==0.17.1 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 \
    orbax-checkpoint==0.11.36 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > "$folder/pool.py" <<'PYTHON'
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


import flax.linen as nn  # noqa: E402

x = np.random.default_rng(0).standard_normal((2, 6, 8, 4)).astype(np.float32)
seen = {}
for pool in (nn.avg_pool, nn.max_pool):
    name = pool.__name__
    ways = {
        "positions": lambda x, name=name: getattr(nn, name)(x, (2, 2), (2, 2)),
        "names": lambda x, name=name: getattr(nn, name)(x, window_shape=(2, 2), strides=(2, 2)),
    }
    for kind, way in ways.items():
        expected = np.asarray(way(jnp.asarray(x)))
        try:
            seen[name, kind] = float(np.abs(computed(way, x) - expected).max())
        except TypeError as error:
            seen[name, kind] = str(error)
        print(name, "by", kind, "gives", seen[name, kind])
for name in ("avg_pool", "max_pool"):
    if "takes 1 positional argument but 3 were given" not in str(seen[name, "positions"]) or seen[name, "names"] > 1e-5:
        sys.exit("not as observed before")
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/pool.py" "$folder"
