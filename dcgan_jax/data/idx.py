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
    start = 4 + 4 * dimensions
    if len(content) >= start:
        magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:start])
        if magic == 0x00000800 + dimensions and len(content) - start == math.prod(shape):
            return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
    raise DatasetError(f"{path} does not hold an idx file of {'labels' if dimensions == 1 else 'images'}")
