#!/usr/bin/env bash
# Measures one NVIDIA GPU within nine minutes; see benchmarks/gpu.py for details and flags. Installs nothing.
#
#   benchmarks/gpu.sh              # results in benchmarks/results/gpu.json, written as it goes; a table at the end
#   benchmarks/gpu.sh --resume     # what was left out, when the time was up
#   benchmarks/gpu.sh --small      # a trial with small numbers, without a GPU too
set -euo pipefail
began=$(date +%s) # importing JAX counts, too
cd "$(dirname "$0")/.."
python=$(command -v python || command -v python3) || { echo "error: no python" >&2; exit 2; }
"$python" -c 'import jax, flax, optax, lazy_loader' || { echo "error: pip install -e . and, for a GPU, 'jax[cuda13]'" >&2; exit 2; }
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0} # one GPU, as the other systems use one
exec "$python" -m benchmarks.gpu --began "$began" "$@"
