"""Images that take long to read, kept in the user's cache: an ``.npy`` that can be mapped, and what is said of it."""

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
      images: uint8 [N, H, W, C], in memory or mapped.
      about: what `save_cached` was told of them.
    """

    images: np.ndarray
    about: dict[str, Any]


def load_cached(key: str, folder: str | Path | None = None, mapped: bool = False) -> Cached | None:
    """What `save_cached` kept in a folder (the user's cache if None), or None if there is none that is whole.

    The images are read once, to compare their digest.
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
    """Keep images so that no reader, and no crash, ever sees part of them; they are mapped then.

    Another process that writes the same ones is waited for, and they are not written again.

    Args:
      key: names them; another content has another key.
      write: writes the ``.npy`` to the path that it is given, and returns what is to be kept of it as JSON.
      folder: where; the user's cache if None.

    Raises:
      OSError: if they cannot be written. Nothing is left of them then, as when ``write`` raises.
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
            said.unlink(missing_ok=True)  # of a damaged file: until it is written again there is none
            partial.replace(path)
            replace_text(said, text)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    return Cached(np.lib.format.open_memmap(path, mode="r"), about)


def map_in_cache(images: Any, key: str, source: object, folder: str | Path | None) -> np.ndarray:
    """Images [N, H, W, C] as a mapped file of the cache, which is written if it is not there.

    Raises:
      DatasetError: if it cannot be written.
    """
    if cached := load_cached(key, folder, mapped=True):
        return cached.images
    with writing(key, images.shape, source, folder):
        return save_cached(key, lambda partial: write_images(partial, images), folder).images


def write_images(path: Path, images: Any) -> None:
    """Write an ``.npy`` of images, some at a time. Raises: OSError."""
    with contextlib.closing(NewArray(path, images.shape)) as array:
        copy_images(images, array)


@contextlib.contextmanager
def writing(key: str, shape: tuple[int, ...], source: object, folder: str | Path | None) -> Iterator[None]:
    """Within, images of this shape are written to the cache, which is said before.

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
    except (OSError, RuntimeError, KeyError, portalocker.LockException) as error:  # without a home directory, too
        reason = getattr(error, "strerror", None) or first_line(error)
        where = folder or "the user's cache"
        raise DatasetError(f"the images of {source} cannot be written to {where} ({reason}): {_REMEDY}") from error


def digest_of(images: Any) -> str:
    """The SHA-256 of images and their shape, read some at a time."""
    sha256 = hashlib.sha256(repr(images.shape).encode())
    for some in pieces(images):
        sha256.update(np.ascontiguousarray(some).data)
    return sha256.hexdigest()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Within, no other process writes the file ``path``: they wait."""
    lock = path.with_suffix(_LOCK)
    while True:
        with lock.open("ab") as file:
            portalocker.lock(file, portalocker.LOCK_EX)
            if not _is_there(lock, file.fileno()):  # whoever had the lock has removed it
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows removes no file that is open
                    lock.unlink()
            return


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_left(folder: Path) -> None:
    """Remove what processes that were killed have left half written."""
    for partial in folder.glob(f"*.npy{PARTIAL}"):
        lock = partial.with_suffix("").with_suffix(_LOCK)
        with contextlib.suppress(OSError, portalocker.LockException), lock.open("ab") as file:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
            if _is_there(lock, file.fileno()):
                partial.unlink(missing_ok=True)
                lock.unlink()


def _path(key: str, folder: str | Path | None) -> Path:
    return (Path(folder) if folder else platformdirs.user_cache_path("dcgan-jax") / "data") / f"{key}.npy"
