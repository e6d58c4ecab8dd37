"""A cache of images that are slow to read: an ``.npy`` that can be memory-mapped, and a JSON file of metadata."""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import platformdirs
import portalocker

from dcgan_jax.console import print_line
from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.mapped import NewArray, copy_images, empty_images, pieces
from dcgan_jax.errors import first_line
from dcgan_jax.files import PARTIAL, errors_name, flush, replace_text

_LOCK = ".lock"
_REMEDY = "name another folder with `cache_dir`, or keep them in memory with `stream=False`"


class Cached(NamedTuple):
    """Images in a cache.

    Attributes:
      images: uint8 [N, H, W, C], in memory or memory-mapped.
      about: the metadata that `save_cached` stored.
    """

    images: np.ndarray
    about: dict[str, Any]


def load_cached(key: str, folder: str | Path | None = None, mapped: bool = False) -> Cached | None:
    """What `save_cached` stored in a folder (the user's cache if None), or None if it is missing or damaged.

    The images are read once, to verify their digest.
    """
    try:
        path = _path(key, folder)
        kept = json.loads(path.with_suffix(".json").read_text())
        images = np.lib.format.open_memmap(path, mode="r")
        if images.dtype != np.uint8 or not images.flags.c_contiguous or digest_of(images) != kept["digest"]:
            return None
        return Cached(images if mapped else copy_images(images, empty_images(images.shape)), kept["about"])
    except Exception:  # whatever damaged files make their parsers raise
        return None


def save_cached(key: str, write: Callable[[Path], Any], folder: str | Path | None = None) -> Cached:
    """Store images atomically: no reader ever sees part of them, even after a crash. Returns them memory-mapped.

    If another process is writing the same images, this waits and uses its file.

    Args:
      key: identifies the content.
      write: writes the ``.npy`` to the path it is given, and returns metadata that JSON can hold.
      folder: the folder; the user's cache if None.

    Raises:
      OSError: if they cannot be written. No partial file is left, also if ``write`` raises.
    """
    path = _path(key, folder)
    partial, said = path.with_name(path.name + PARTIAL), path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path.parent)
    with _lock(path), errors_name(path):
        cached = load_cached(key, folder, mapped=True)
        if cached is not None:
            return cached
        try:
            about = write(partial)
            images = np.lib.format.open_memmap(partial, mode="r")
            text = json.dumps({"digest": digest_of(images), "about": about})
            flush(partial)
            said.unlink(missing_ok=True)  # may describe a damaged file; written again below
            partial.replace(path)
            replace_text(said, text)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    return Cached(np.lib.format.open_memmap(path, mode="r"), about)


def map_in_cache(images: Any, key: str, source: object, folder: str | Path | None) -> np.ndarray:
    """Images [N, H, W, C] memory-mapped from the cache, to which they are written if missing.

    Raises:
      DatasetError: if it cannot be written.
    """
    if cached := load_cached(key, folder, mapped=True):
        return cached.images
    with writing(key, images.shape, source, folder):
        return save_cached(key, lambda partial: write_images(partial, images), folder).images


def write_images(path: Path, images: Any) -> None:
    """Write images to an ``.npy``, in pieces. Raises: OSError."""
    with contextlib.closing(NewArray(path, images.shape)) as array:
        copy_images(images, array)


@contextlib.contextmanager
def writing(key: str, shape: tuple[int, ...], source: object, folder: str | Path | None) -> Iterator[None]:
    """A context for writing images of ``shape`` to the cache: checks the disk space, and prints the size and the path.

    Raises:
      DatasetError: if they cannot be written, or do not fit on the disk.
    """
    try:
        path, size = _path(key, folder), math.prod(shape)
        print_line(f"{source}: {shape[0]:,} images are written once, {size / 2**30:.2f} GiB, to {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if size > free:
            reason = f"{free / 2**30:.2f} GiB are free in {path.parent}"
            raise DatasetError(f"the images of {source} take {size / 2**30:.2f} GiB, and {reason}: {_REMEDY}")
        yield
    except (OSError, RuntimeError, KeyError, portalocker.LockException) as error:  # also without a home directory
        reason = getattr(error, "strerror", None) or first_line(error)
        where = folder or "the user's cache"
        raise DatasetError(f"the images of {source} cannot be written to {where} ({reason}): {_REMEDY}") from error


def digest_of(images: Any) -> str:
    """The SHA-256 of images and their shape, in hexadecimal; reads them in pieces."""
    sha256 = hashlib.sha256(repr(images.shape).encode())
    for some in pieces(images):
        sha256.update(np.ascontiguousarray(some).data)
    return sha256.hexdigest()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """A context in which no other process writes the file ``path``: they wait."""
    lock = path.with_suffix(_LOCK)
    while True:
        with lock.open("ab") as file:
            portalocker.lock(file, portalocker.LOCK_EX)
            if not _is_there(lock, file.fileno()):  # the previous holder has removed it
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows cannot remove an open file
                    lock.unlink()
            return


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_left(folder: Path) -> None:
    """Remove partial files left by processes that were killed."""
    for partial in folder.glob(f"*.npy{PARTIAL}"):
        lock = partial.with_suffix("").with_suffix(_LOCK)
        with contextlib.suppress(OSError, portalocker.LockException), lock.open("ab") as file:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
            if _is_there(lock, file.fileno()):
                partial.unlink(missing_ok=True)
                lock.unlink()


def _path(key: str, folder: str | Path | None) -> Path:
    return (Path(folder) if folder else platformdirs.user_cache_path("dcgan-jax") / "data") / f"{key}.npy"
