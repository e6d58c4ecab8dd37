"""The idx format of MNIST's archives."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from dcgan_jax.data.common import DatasetError


def parse_idx(archive: bytes, path: Path, dimensions: int) -> np.ndarray:
    """Parse a gzipped idx file of unsigned bytes.

    Args:
      archive: the file's content.
      path: the file's name, for the error.
      dimensions: the number of dimensions expected: 3 for images, 1 for labels.

    Returns:
      uint8, writable.

    Raises:
      DatasetError: if it is not such a file.

    References:
      http://yann.lecun.com/exdb/mnist
    """
    try:
        content = gzip.decompress(archive)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} is not a complete gzip file ({error})") from error
    what = "labels" if dimensions == 1 else "images"
    try:
        array = read_idx(content, path)
    except DatasetError as error:
        raise DatasetError(f"{path} does not hold an idx file of {what}") from error
    if array.ndim != dimensions:
        raise DatasetError(f"{path} does not hold an idx file of {what}")
    return array


def read_idx(content: bytes, path: Path) -> np.ndarray:
    """Parse an idx file of unsigned bytes, of any number of dimensions: uint8, writable.

    Raises:
      DatasetError: if it is not such a file.
    """
    if len(content) >= 4 and content[:3] == b"\x00\x00\x08" and content[3] > 0:
        start = 4 + 4 * content[3]
        if len(content) >= start:
            shape = struct.unpack(f">{content[3]}I", content[4:start])
            if len(content) - start == math.prod(shape):
                return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
    raise DatasetError(f"{path} is neither an .npy, an .npz, a zip of pictures nor an idx file of bytes, or is damaged")
