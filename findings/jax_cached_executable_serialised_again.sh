#!/usr/bin/env bash
# jax.experimental.serialize_executable on a CPU: a program that came from JAX's persistent cache is serialised and loaded
# without an error, and lacks its functions when it is called.
#
# Versions: jax 0.10.2, jaxlib 0.10.2; Python 3.11, Linux, x86-64.
# Expected: serialize(compiled) does not depend on whether compile() compiled or read the persistent cache: the second
#   process writes a file that is as good as the first one's.
# Observed: the first process's file loads and computes. The second process computes with its own program too, and
#   writes a file that loads; its call raises "Error dispatching computation: Function wrapped_sine not found". So
#   whether a saved program works depends on whether a cache was warm when it was saved, and a program that is saved to
#   start quickly fails in the process that relies on it.
# With jax 0.12.0.1 (Python 3.13) both files compute.
# A way around it: listen to the event /jax/compilation_cache/cache_hits of jax.monitoring, and serialise only what was
#   compiled.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
cat > "$folder/save.py" <<'PYTHON'
import pickle
import sys

import jax
import jax.numpy as jnp
from jax.experimental.serialize_executable import serialize

jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
x = jnp.ones((64, 64))
hits.clear()
program = jax.jit(lambda x: jnp.sin(x).sum(0) * jnp.cos(x.T @ x)).lower(x).compile()
with open(sys.argv[2], "wb") as file:
    pickle.dump(serialize(program), file)
print("read from the cache" if hits else "compiled", "sum", float(program(x).sum()))
PYTHON
cat > "$folder/load.py" <<'PYTHON'
import pickle
import sys

import jax
import jax.numpy as jnp
from jax.experimental.serialize_executable import deserialize_and_load

with open(sys.argv[1], "rb") as file:
    program = deserialize_and_load(*pickle.load(file))
try:
    print("loaded, sum", float(program(jnp.ones((64, 64))).sum()))
except jax.errors.JaxRuntimeError as error:
    print("loaded, call raises", str(error).splitlines()[0])
PYTHON
export JAX_PLATFORMS=cpu
python="$folder/venv/bin/python"
for run in first second; do
    echo "$run: $("$python" "$folder/save.py" "$folder/cache" "$folder/$run")"
    echo "$run: $("$python" "$folder/load.py" "$folder/$run")"
done | tee "$folder/seen"
grep -q '^first: compiled' "$folder/seen"
grep -q '^first: loaded, sum' "$folder/seen"
grep -q '^second: read from the cache' "$folder/seen"
grep -q '^second: loaded, call raises .*not found' "$folder/seen"
