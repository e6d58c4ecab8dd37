"""Images in files, for data sets larger than memory: written by rows, memory-mapped, and read a few rows at a time."""

import math
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_PIECE = 2**18  # bytes read at a time
_ALIGNMENT = 64  # bytes; on a CPU, JAX shares the memory of NumPy arrays that are so aligned


def empty_images(shape: tuple[int, ...]) -> np.ndarray:
    """An uninitialised uint8 array of this shape, aligned so that JAX on a CPU takes it over without a copy."""
    size = math.prod(shape)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].reshape(shape)


def pieces(images: Any) -> Iterator[np.ndarray]:
    """Images [N, ...] in pieces of some rows; of memory-mapped images only one piece is resident at a time."""
    count = max(1, _PIECE // max(math.prod(images.shape[1:]) * images.dtype.itemsize, 1))
    for start in range(0, len(images), count):
        rows = slice(start, start + count)
        yield images[rows]
        release(images, rows)


def copy_images(images: Any, out: Any) -> Any:
    """Copy images into ``out``, of the same shape, in pieces; returns ``out``."""
    start = 0
    for some in pieces(images):
        out[start : start + len(some)] = some
        start += len(some)
    return out


def release(images: Any, rows: slice = slice(None)) -> None:
    """Release the pages of rows of a memory-mapped array from the process; the system may keep them cached."""
    while isinstance(images, Converted):
        images = images.base
    if isinstance(images, RowsOf):
        images, numbers = images.base, images.numbers[rows]
        rows = slice(int(numbers.min()), int(numbers.max()) + 1)
    if not isinstance(images, np.memmap) or not hasattr(mmap, "MADV_DONTNEED"):  # Windows has no madvise
        return
    some = mapping = images[rows]
    while isinstance(mapping, np.ndarray):
        mapping = mapping.base
    if isinstance(mapping, mmap.mmap):
        origin = np.frombuffer(mapping, np.uint8).ctypes.data
        low, high = (address - origin for address in np.lib.array_utils.byte_bounds(some))
        first = low - low % mmap.PAGESIZE
        mapping.madvise(mmap.MADV_DONTNEED, first, high - first)


def is_mapped(images: Any) -> bool:
    """Whether images are a memory-mapped array or rows of one, read on demand."""
    return isinstance(images, (np.memmap, RowsOf))


class Lazy:
    """Images uint8 [N, H, W, C], indexed like an array, that are computed on access.

    Args:
      base: the memory-mapped array that they are computed from.
      shape: their shape.
      get: computes the images of some rows, a slice or indices [n].
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, base: Any, shape: tuple[int, ...], get: Callable[[Any], np.ndarray]):
        self.base, self.shape, self._get = base, shape, get

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._get(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype)


class Converted(Lazy):
    """Rows of a memory-mapped array, converted on access, for `dcgan_jax.data.fitting.in_pieces`."""

    def __init__(self, images: Any, convert: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]):
        super().__init__(images, (len(images), *shape), lambda rows: convert(images[rows]))


class RowsOf(Lazy):
    """Some rows of a memory-mapped array, by their indices [N]."""

    def __init__(self, images: np.ndarray, numbers: np.ndarray):
        super().__init__(images, (len(numbers), *images.shape[1:]), lambda rows: images[numbers[rows]])
        self.numbers = numbers


class RowReader:
    """Reads rows of images uint8 [N, H, W, C], those of a memory-mapped array directly from its file.

    A file that is truncated meanwhile is thus an error, where access to a mapped page would end the process, and rows
    that were read do not count as memory of the process.
    """

    def __init__(self, images: Any):
        self._images, self._numbers, self._file, self._start = images, None, None, 0
        if isinstance(images, RowsOf):
            self._images, self._numbers = images.base, images.numbers
        root = self._images
        while isinstance(root, np.memmap) and isinstance(root.base, np.memmap):
            root = root.base
        if not isinstance(root, np.memmap) or root.mode != "r" or not hasattr(os, "preadv"):
            return
        if self._images.flags.c_contiguous and self._images.dtype == np.uint8:
            self._file = open(str(root.filename), "rb", buffering=0)  # noqa: SIM115  # until `close`
            self._start = root.offset + self._images.ctypes.data - root.ctypes.data

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The images at indices ``rows`` [B]: uint8 [B, H, W, C].

        Raises:
          OSError: if they cannot be read.
        """
        rows = rows if self._numbers is None else self._numbers[rows]
        if self._file is None:
            return self._images[rows]
        shape, descriptor = self._images.shape[1:], self._file.fileno()
        size, out = math.prod(shape), empty_images((len(rows), *shape))
        offsets = (self._start + rows.astype(np.int64) * size).tolist()
        if hasattr(os, "posix_fadvise"):  # all requests are queued before the first read
            for offset in offsets:
                os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)
        for offset, image in zip(offsets, out.reshape(len(rows), size), strict=True):
            if os.preadv(descriptor, [image.data], offset) != size:
                raise OSError(f"{self._file.name} has changed while it was read")
        return out

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class WriteError(OSError):
    """A `NewArray` cannot be written, for example because the disk is full."""


class NewArray:
    """An ``.npy`` of uint8 [N, H, W, C] that is being written; rows are set and read by indexing.

    It is not memory-mapped, so that a full disk is a `WriteError` and not a signal that ends the process. Threads may
    set rows at the same time.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.shape = shape
        self._file, self._lock = path.open("w+b"), threading.Lock()
        self._start = self._write_header()

    def _write_header(self) -> int:
        self._file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        size = math.prod(self.shape[1:])
        with self._lock:
            self._file.seek(self._start + start * size)
            content = self._file.read(max(stop - start, 0) * size)
        return np.frombuffer(content, np.uint8).reshape(-1, *self.shape[1:])

    def __setitem__(self, rows: int | slice, images: np.ndarray) -> None:
        self._write(rows if isinstance(rows, int) else rows.start or 0, images, math.prod(self.shape[1:]))

    def _write(self, first: int, images: np.ndarray, size: int) -> None:
        try:
            with self._lock:
                self._file.seek(self._start + first * size)
                self._file.write(np.ascontiguousarray(images).data)
        except OSError as error:
            raise WriteError(error.errno, error.strerror) from error

    def cut(self, count: int, channels: int) -> None:
        """Keep only the first ``count`` images, and the first ``channels`` of each."""
        shape = (count, *self.shape[1:3], channels)
        if shape == self.shape:
            return
        before, after = math.prod(self.shape[1:]), math.prod(shape[1:])
        rows = max(1, _PIECE // before)
        for start in range(0, count, rows):  # rows shrink: writes never pass what was read
            self._write(start, self[start : min(start + rows, count)][..., :channels], after)
        self.shape = shape
        assert self._write_header() == self._start  # NumPy pads the header, which keeps its length
        self._file.flush()

    def close(self) -> None:
        """Flush and close the file, cut to the size of its shape."""
        with self._file:
            self._file.truncate(self._start + math.prod(self.shape))


def kept(images: Any, count: int, channels: int) -> Any:
    """The first ``count`` images of [N, H, W, C], and the first ``channels`` of each; a `NewArray` is cut in place."""
    if isinstance(images, NewArray):
        images.cut(count, channels)
        return images
    return images[:count] if channels == images.shape[3] else np.ascontiguousarray(images[:count, ..., :channels])
