"""The idx format of MNIST's archives."""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.fitting import check_bytes

_DIMENSIONS = 4  # at most
MOST_EXPANSION = 1032  # largest compression ratio of deflate
_CHUNK = 2**20  # bytes


def label_names(images: str) -> tuple[str, ...]:
    """The names that the file of labels may have beside a file of images, likeliest first; () if they are not known.

    They have ``labels`` and ``idx1`` in place of ``images`` and ``idx3``, in the file's name or in its folders' too,
    and are gzipped or not.
    """
    plain = images.removesuffix(".gz")
    folder, slash, file = plain.rpartition("/")
    names = dict.fromkeys((f"{folder}{slash}{_of_labels(file)}", _of_labels(plain)))
    ends = (".gz", "") if images.endswith(".gz") else ("", ".gz")
    return tuple(f"{name}{end}" for name in names if _of_labels(file) != file for end in ends)


def _of_labels(name: str) -> str:
    return name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")


def parse_idx(archive: bytes, path: Path, dimensions: int) -> np.ndarray:
    """Parse an idx file of unsigned bytes, gzipped or not.

    Args:
      archive: the content of the file.
      path: the name of the file, for the error.
      dimensions: the number of dimensions expected: 3 for images, 1 for labels.

    Returns:
      uint8, writable.

    Raises:
      DatasetError: if it is not such a file.

    References:
      http://yann.lecun.com/exdb/mnist
    """
    what = "labels" if dimensions == 1 else "images"
    try:
        array = read_idx(io.BytesIO(archive), path)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} is not a complete gzip file ({error})") from error
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{path} does not hold an idx file of {what}") from error
    if array.ndim != dimensions:
        raise DatasetError(f"{path} does not hold an idx file of {what}")
    return array


def read_idx(file: io.BufferedIOBase, path: Path) -> np.ndarray:
    """Parse an idx file of unsigned bytes, gzipped or not, of up to 4 dimensions: uint8, writable.

    The shape is read first, so that nothing is decompressed that does not fit into memory.

    Raises:
      ValueError: if it is not such a file.
      DatasetError: if it does not fit into memory.
      OSError, EOFError, zlib.error: if it is a gzip file that is damaged.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    content = gzip.GzipFile(fileobj=file) if packed else file
    start = content.read(4)
    if len(start) < 4 or start[:3] != b"\x00\x00\x08" or not 0 < start[3] <= _DIMENSIONS:
        raise ValueError("no header")
    lengths = content.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise ValueError("its header is cut off")
    shape = struct.unpack(f">{start[3]}I", lengths)
    if math.prod(shape) > MOST_EXPANSION * size:
        raise ValueError("its header counts more bytes than it can hold")
    check_bytes(math.prod(shape), f"{path}: bytes of shape {list(shape)}", "save fewer images")
    array = np.empty(shape, np.uint8)
    flat = array.reshape(-1)
    for first in range(0, len(flat), _CHUNK):  # gzip's reader makes a copy of each piece
        piece = flat[first : first + _CHUNK]
        if content.readinto(piece.data) < len(piece):
            raise ValueError("it is cut off")
    if content.read(1):
        raise ValueError("it is longer than its header says")
    return array
