#!/usr/bin/env bash
# safetensors.numpy saves a transposed NumPy array with its values in another order.
#
# Versions: safetensors 0.8.0, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: the array that is loaded is the one that was saved, or an error: the PyTorch side of the package refuses a
#   tensor that is not contiguous.
# Observed: of a transposed array, or one in Fortran's order, the file has the right shape and the numbers as they lie
#   in memory: kernels that are transposed from [height, width, in, out] to PyTorch's layout are scrambled. No
#   message. safetensors 0.7.0 is right; the package's issue 825 has it.
# A way around it: np.ascontiguousarray(array) before save_file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cat > "$folder/transposed.py" <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

x = np.arange(6, dtype=np.float32).reshape(2, 3)
kernel = np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2)
arrays = {
    "plain": x,
    "transposed": x.T,
    "Fortran": np.asfortranarray(x),
    "kernel": kernel.transpose(3, 2, 0, 1),
    "contiguous": np.ascontiguousarray(x.T),
}
save_file(arrays, f"{sys.argv[1]}/arrays.safetensors")
loaded = load_file(f"{sys.argv[1]}/arrays.safetensors")
wrong = set()
for name, array in arrays.items():
    same = loaded[name].shape == array.shape and bool((loaded[name] == array).all())
    print(f"{name}: {'the same' if same else 'not the same'}")
    if not same:
        assert loaded[name].shape == array.shape
        wrong.add(name)
print("transposed", arrays["transposed"].tolist(), "is loaded as", loaded["transposed"].tolist())
if wrong != {"transposed", "Fortran", "kernel"}:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/transposed.py" "$folder"
