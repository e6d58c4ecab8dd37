"""Read tensors from a file saved by PyTorch, without PyTorch and without executing anything.

The format is that of PyTorch before 1.6: five pickles with the names, types and shapes of the tensors, followed by the
length and bytes of each storage.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]


class _Tensor(NamedTuple):
    """A tensor as described in a pickle, with offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Resolves only the names that a dictionary of tensors consists of."""

    def find_class(self, module: str, name: str) -> Callable[..., Any] | np.dtype[Any]:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _described
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise ValueError(f"it names {module}.{name}, which no dictionary of tensors does")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid  # then a device, a length and a view
        return _Storage(key, dtype)


def read_tensors(content: bytes) -> dict[str, np.ndarray]:
    """The float32 and int64 tensors, by name, of a dictionary written by ``torch.save`` before PyTorch 1.6.

    Raises:
      ValueError: if the content is anything else; nothing that it names is imported or called.
    """
    file = io.BytesIO(content)
    try:
        magic, protocol, _, tensors, keys = (_Unpickler(file).load() for _ in range(5))
        if (magic, protocol) != (_MAGIC, _PROTOCOL):
            raise ValueError("it is not of PyTorch's format before 1.6")
        storages = {}
        for key in keys:
            length = int.from_bytes(file.read(8), "little")
            dtype = next(tensor.storage.dtype for tensor in tensors.values() if tensor.storage.key == key)
            storages[key] = file.read(length * dtype.itemsize)
        return {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}
    except ValueError:
        raise
    except Exception as error:  # whatever pickle raises for damaged content
        raise ValueError(f"it is no dictionary of tensors ({type(error).__name__})") from error


def _described(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Replaces ``_rebuild_tensor_v2`` of PyTorch; whether a gradient is required, and hooks, are ignored."""
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _array(tensor: _Tensor, content: bytes) -> np.ndarray:
    size = tensor.storage.dtype.itemsize
    strides = tuple(stride * size for stride in tensor.strides)
    # NumPy raises an error if this would reach beyond the storage.
    return np.ndarray(tensor.shape, tensor.storage.dtype, content, tensor.offset * size, strides)
