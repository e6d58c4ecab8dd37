#!/usr/bin/env bash
# tensorboardX's add_image wraps around where a pixel is a little outside 0 to 1, and multiplies int64 by 255.
#
# Versions: tensorboardX 2.6.5, pillow 13.0.0, numpy 2.4.6; Python 3.11, Linux, x86-64.
# Expected: images of floats are in 0 to 1; what a generator or an interpolation has slightly outside is cut there,
#   white stays white. Integers of 0 to 255 are what they are.
# Observed: 1.01 is written as 1 and -0.01 as 254: white turns black and black white. uint8 is right; the same numbers
#   as int64 are multiplied by 255 as floats are, and wrap around: 200 is written as 56. No message.
# A way around it: convert to uint8 first: (255 * np.clip(x, 0, 1)).round().astype(np.uint8).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorboardX==2.6.5 pillow==13.0.0 numpy==2.4.6
cat > "$folder/image.py" <<'PYTHON'
import io
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event


def written(folder, image):
    """The one pixel in the event file of an image of one value."""
    with SummaryWriter(folder) as writer:
        writer.add_image("image", image, 0)
    (path,) = Path(folder).iterdir()
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        for value in Event.FromString(data[at + 12 : at + 12 + length]).summary.value:
            pixels = np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
            assert (pixels == pixels.flat[0]).all()
            return int(pixels.flat[0])
        at += 16 + length


cases = [(1.0, "float32"), (1.01, "float32"), (0.0, "float32"), (-0.01, "float32"), (200, "uint8"), (200, "int64")]
found = []
for i, (value, dtype) in enumerate(cases):
    found.append(written(f"{sys.argv[1]}/{i}", np.full((3, 4, 4), value, dtype)))
    print(f"{dtype} {value}: written as {found[-1]}")
if found != [255, 1, 0, 254, 200, 56]:
    sys.exit("not as observed before")
PYTHON
"$folder/venv/bin/python" "$folder/image.py" "$folder"
