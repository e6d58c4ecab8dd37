"""TFRecord files, the default format of TensorFlow Datasets, read without TensorFlow."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

_BLOCK = 4096  # bytes per look-up of the checksum, in a table of 4 MiB


def read_records(paths: Iterable[Path]) -> Iterator[bytes]:
    """The records of TFRecord files, in order.

    A record is its length (uint64), the checksum of the length (uint32), its bytes, and their checksum, little-endian.

    Raises:
      ValueError: if a file is damaged.
      OSError: if one cannot be read.
    """
    for path in paths:
        with open(path, "rb") as file:
            while header := file.read(12):
                length = _checked(header[:8], header[8:], path)
                yield _checked(file.read(int.from_bytes(length, "little")), file.read(4), path)


def _checked(data: bytes, checksum: bytes, path: Path) -> bytes:
    if _masked_crc(data).to_bytes(4, "little") != checksum:
        raise ValueError(f"{Path(path).name} is damaged")
    return data


def _masked_crc(data: bytes) -> int:
    """The CRC-32C of at least four bytes, masked as in TFRecord: rotated, plus a constant."""
    table, places = _crc_table()
    values = np.frombuffer(data, np.uint8).copy()
    values[:4] ^= 255
    crc = 0
    for block in np.split(values, range(len(values) % _BLOCK, len(values), _BLOCK)):
        block[:4] ^= np.array([crc], "<u4").view(np.uint8)[: len(block)]  # only the first block may be shorter
        crc = int(np.bitwise_xor.reduce(table[places[_BLOCK - len(block) :] + block]))
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _crc_table() -> tuple[np.ndarray, np.ndarray]:
    """The CRC of each byte in its block, uint32 [_BLOCK * 256] by position and value, and the offset of each position.

    A CRC is linear: that of a block is the XOR of those of its bytes.
    """
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = last >> 1 ^ (last & 1) * np.uint32(0x82F63B78)
    rows = [last]
    for _ in range(_BLOCK - 1):
        rows.append(rows[-1] >> 8 ^ last[rows[-1] & 255])
    return np.concatenate(rows[::-1]), np.arange(_BLOCK) * 256
