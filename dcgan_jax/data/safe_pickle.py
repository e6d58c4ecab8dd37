"""Loading of pickles of numbers, text and arrays without executing code that they refer to.

A pickle is a program that can import and call anything. Here it can build only lists, dictionaries, text, numbers and
NumPy arrays, the latter through stand-ins; every other name is refused.
"""

import io
import pickle
from typing import Any

import numpy as np

_KINDS = "biufSU?"  # dtype kinds of numbers and text, not of objects


class _DType:
    """Stand-in for ``numpy.dtype``: made from its text, such as ``u1``; its state has the byte order."""

    def __init__(self, text: Any = "", *_: Any):
        self.text = text.decode("ascii") if isinstance(text, bytes) else str(text)

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.text = f"{order if order in '<>' else ''}{self.text.lstrip('<>|=')}"

    def dtype(self) -> np.dtype:
        found = np.dtype(self.text)
        if found.kind not in _KINDS or found.itemsize == 0:
            raise pickle.UnpicklingError(f"an array of {self.text[:20]}")
        return found


class _Array:
    """Stand-in for ``numpy.ndarray``, whose state is a version, shape, dtype, whether in Fortran order, and bytes."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        if isinstance(content, str):  # pickled by Python 2
            content = content.encode("latin-1")
        self.value = _array(content, kind, shape, "F" if fortran else "C")


def _array(content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(content, kind.dtype()).reshape(shape, order=order)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
    array = _Array()
    array.value = _array(content, kind, shape, "C" if order == "K" else order)
    if axes is not None and order == "K":
        array.value = array.value.transpose(axes)
    return array


def _scalar(kind: Any, content: Any) -> Any:
    return _array(content, kind, (), "C").item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding!r}")
    return text.encode("latin-1")


_NAMES = {("numpy", "dtype"): _DType, ("numpy", "ndarray"): _Array, ("_codecs", "encode"): _encode}
for _core in ("numpy.core", "numpy._core"):
    _NAMES |= {(f"{_core}.multiarray", "_reconstruct"): _reconstruct, (f"{_core}.multiarray", "scalar"): _scalar}
    _NAMES |= {(f"{_core}.numeric", "_frombuffer"): _from_buffer}


# The implementation in Python: that in C allocates any size that a damaged pickle gives.
class _Unpickler(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue]
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it names {module[:40]}.{name[:40]}, which could run code: not loaded")
        return _NAMES[module, name]

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], _DType | _Array):  # pyright: ignore
            raise pickle.UnpicklingError("it sets attributes of what is no array")
        super().load_build()  # pyright: ignore

    dispatch = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}  # pyright: ignore


def load_pickle(content: bytes) -> Any:
    """The content of a pickle: text, bytes, numbers, lists, dictionaries and arrays; Python 2's ``str`` as bytes.

    Raises:
      Exception: of many kinds if it is damaged; `pickle.UnpicklingError` if it refers to anything else.
    """
    return _plain(_Unpickler(io.BytesIO(content), encoding="bytes").load())


def _plain(value: Any) -> Any:
    """The value with arrays in place of stand-ins, tuples as lists, and keys as text."""
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array without numbers")
        return value.value
    if isinstance(value, dict):
        return {_text(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _text(key: Any) -> Any:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key
