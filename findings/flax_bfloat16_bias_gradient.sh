#!/usr/bin/env bash
# Flax's layers with dtype=bfloat16, on a CPU: the gradient of a bias is a small part of what it should be.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, flax 0.12.8; Python 3.11, Linux, x86-64.
# Expected: a bias that is added at 50,176 places (64 images of 28x28), each with a gradient of 1, has the gradient
#   50,176, which bfloat16 holds exactly. So has the kernel's entry beside it.
# Observed: 512 by nn.Conv and by nn.Dense, under jax.jit or not. Sums over the batch and the pixels are added up in
#   bfloat16, whose 8 digits lose a 1 beside 256; XLA adds a few such sums side by side. The parameters are float32, so
#   nothing in the tree of gradients shows it.
# Also with jax 0.12.0.1 and flax 0.12.12 (Python 3.13): the same numbers.
# A way around it: add the bias in float32, y.astype(float32) + bias, and convert the sum.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 flax==0.12.8
cat > "$folder/bias.py" <<'PYTHON'
import flax.linen as nn
import jax
import jax.numpy as jnp

images = jnp.ones((64, 28, 28, 8))
places = 64 * 28 * 28


def bias_gradient(layer, x, compiled):
    variables = layer.init(jax.random.key(0), x)
    gradient = jax.grad(lambda v: layer.apply(v, x).astype(jnp.float32).sum())
    return float((jax.jit(gradient) if compiled else gradient)(variables)["params"]["bias"][0])


found = {}
for dtype in (jnp.float32, jnp.bfloat16):
    for compiled in (False, True):
        name = f"{jnp.dtype(dtype).name}, {'jit' if compiled else 'no jit'}"
        found["Conv", name] = bias_gradient(nn.Conv(4, (3, 3), dtype=dtype), images, compiled)
        found["Dense", name] = bias_gradient(nn.Dense(4, dtype=dtype), images, compiled)
for (layer, name), value in found.items():
    print(f"{layer:5} {name:16} bias gradient {value:8.0f} of {places}")

assert all(value == places for (_, name), value in found.items() if name.startswith("float32"))
# How many sums run side by side depends on the processor; all but a small part is lost anyway.
assert all(value < places / 4 for (_, name), value in found.items() if name.startswith("bfloat16"))
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/bias.py"
