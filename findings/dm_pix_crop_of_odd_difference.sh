#!/usr/bin/env bash
# dm_pix.resize_with_crop_or_pad crops one pixel further down and right than TensorFlow's, which it is documented to equal.
#
# Versions: dm_pix 0.4.5, jax 0.10.2, tensorflow 2.21.0; Python 3.11, Linux, x86-64.
# Expected: the same rows and columns as tf.image.resize_with_crop_or_pad; "equivalent in functionality", says the
#   docstring.
# Observed: where an odd number of rows is cut, 8 to 5, dm_pix keeps rows 2 to 6, and TensorFlow rows 1 to 5. Even
#   differences and padding agree. So a data pipeline that is moved from TensorFlow to JAX shifts its pictures by a pixel.
# A way around it: image[(h - 5) // 2 :][:5], and the same for columns.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dm_pix==0.4.5 jax==0.10.2 tensorflow==2.21.0
cat > "$folder/crop.py" <<'PYTHON'
import sys

import dm_pix
import jax.numpy as jnp
import numpy as np
import tensorflow as tf

image = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((8, 4, 3), np.float32)  # each pixel is its row
rows = {}
for height in (4, 5, 6, 7, 11):
    ours = np.asarray(dm_pix.resize_with_crop_or_pad(jnp.asarray(image), height, 4))[:, 0, 0].astype(int).tolist()
    theirs = tf.image.resize_with_crop_or_pad(image, height, 4).numpy()[:, 0, 0].astype(int).tolist()
    print(f"8 rows to {height}: dm_pix {ours}, TensorFlow {theirs}")
    rows[height] = ours, theirs
if [height for height, (ours, theirs) in rows.items() if ours != theirs] != [5, 7]:
    sys.exit("not as observed before")
if rows[5] != ([2, 3, 4, 5, 6], [1, 2, 3, 4, 5]):
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/crop.py" 2> "$folder/log" || { tail -n 3 "$folder/log"; exit 1; }
