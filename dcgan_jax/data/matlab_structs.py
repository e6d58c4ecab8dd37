"""The fields of structs in MATLAB's files before version 7.3, as SciPy gives them, under names like those of groups."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_ORDER, _FIRST = 126, 128  # bytes of the header: where it says its byte order, and its end
_COMPRESSED = 15  # type of a variable
_TAG = 8  # bytes: the type and the size of a variable
_LEAST = 1024  # compressed bytes that hold a tag, after the codes that they are compressed by


def unpacked_size(path: Path) -> int:
    """The bytes of all variables of a file, decompressed. Raises: OSError, struct.error, zlib.error if damaged."""
    total = 0
    with path.open("rb") as file:
        file.seek(_ORDER)
        tag = struct.Struct("<2I" if file.read(2) == b"IM" else ">2I")
        file.seek(_FIRST)
        while len(read := file.read(_TAG)) == _TAG:
            kind, size = tag.unpack(read)
            end = file.tell() + size
            if kind == _COMPRESSED:
                _, size = tag.unpack(zlib.decompressobj().decompress(file.read(_LEAST), _TAG))
            total += size
            file.seek(end)
    return total


def fields_of(value: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays within a struct ``name``, as ``name/field``, and ``name/field/field`` of structs within it.

    Structs in arrays, of one for each image, are left out.
    """
    if not isinstance(value, np.ndarray):
        return
    if value.dtype.names is None:
        yield name, value
    elif value.size == 1:
        for field in value.dtype.names:
            yield from fields_of(value[field].reshape(-1)[0], f"{name}/{field}")
