"""``.npy`` files: opened, decompressed, and the messages for those that NumPy does not read."""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from dcgan_jax.data.array_names import Spec
from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.data.idx import MOST_EXPANSION
from dcgan_jax.errors import first_line


def open_npy(path: Path) -> np.ndarray:
    """An ``.npy``, memory-mapped. Raises: DatasetError if it is damaged, or OSError if it cannot be opened."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # the header's parser raises whatever Python's tokenizer raises
        raise DatasetError(not_an_array(path, error)) from error


def unpack_npy(path: Path) -> np.ndarray:
    """A gzipped ``.npy``. Raises: DatasetError if it is none or exceeds the memory; OSError, EOFError, zlib.error."""
    with gzip.open(path) as unpacked:
        file: Any = unpacked  # whose type is not that of a file in the stubs
        try:
            spec = read_spec(file)
            size = math.prod(spec.shape) * spec.dtype.itemsize
            if size > MOST_EXPANSION * path.stat().st_size:
                raise ValueError("its header counts more bytes than it can hold")
            what = f"{path}: {spec.dtype} of shape {list(spec.shape)}"
            check_bytes(size, what, "save fewer images, or as uint8")
            file.seek(0)
            array = np.lib.format.read_array(file, allow_pickle=False)
            file.read(1)  # the checksum at the end
        except (DatasetError, OSError, EOFError, zlib.error):
            raise
        except Exception as error:  # as in open_npy
            raise DatasetError(not_an_array(path, error)) from error
    return array


def of_objects(error: Exception) -> bool:
    """Whether NumPy refused an array because it holds Python objects."""
    return any(text in str(error) for text in ("Object arrays", "Python objects"))


def not_an_array(path: Path, error: Exception) -> str:
    """The message for a file that NumPy does not read."""
    if of_objects(error):
        return f"{path} holds Python objects, perhaps images of several shapes: save one array of numbers [N, H, W, C]"
    return f"{path} is no file of NumPy's, or is damaged ({first_line(error)})"


def read_spec(file: IO[bytes]) -> Spec:
    """The shape and the dtype of an ``.npy`` from its header. Raises: whatever NumPy's parser does."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return Spec(shape, dtype)
