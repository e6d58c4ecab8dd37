"""Data sets as NumPy arrays: MNIST from inside the package, Fashion-MNIST and KMNIST through TFDS."""

import gzip
import hashlib
import math
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np

DATASETS = ("mnist", "fashion_mnist", "kmnist")
SPLITS = ("train", "test")

_IMAGES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
_LABELS = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}

# As recorded by TFDS in url_checksums/mnist.txt.
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}

_CONNECT_SECONDS = 3.0  # TFDS itself goes on trying for minutes


class DatasetError(ValueError):
    """A data set cannot be had as asked for; the message is one line that says why and what to do."""


def load_dataset(name: str = "mnist", split: str = "train", data_dir: str | Path | None = None) -> np.ndarray:
    """Load the images of one split of a data set.

    Args:
      name: ``mnist`` (embedded in the package, no network), ``fashion_mnist`` or ``kmnist`` (downloaded
        once by TFDS, without TensorFlow; archives placed by hand in ``<data_dir>/downloads/manual`` are
        taken from there).
      split: ``train`` (60,000 images) or ``test`` (10,000).
      data_dir: the TFDS folder, ``~/tensorflow_datasets`` if None. ``mnist`` does not use it.

    Returns:
      uint8 [N, 28, 28, 1], 0 black to 255 white, in the archive's order.

    Raises:
      DatasetError: for an unknown name or split, a damaged archive, or (within seconds) no network.
    """
    return _load(name, split, data_dir, _IMAGES, 3)[..., None]


def load_labels(name: str = "mnist", split: str = "train", data_dir: str | Path | None = None) -> np.ndarray:
    """The classes of `load_dataset`'s images, in the same order: uint8 [N], 0 to 9. Args, raises: as there."""
    return _load(name, split, data_dir, _LABELS, 1)


def _load(name: str, split: str, data_dir: str | Path | None, archives: dict[str, str], dimensions: int) -> np.ndarray:
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}: choose from {', '.join(DATASETS)}")
    if split not in SPLITS:
        raise DatasetError(f"unknown split {split!r} of {name}: choose from {', '.join(SPLITS)}")
    if name == "mnist":
        path = Path(__file__).parent / "mnist_archives" / archives[split]
        archive = _read_verified(path, _MNIST_SHA256[path.name], "reinstall dcgan-jax")
    else:
        path, archive = _fetch(name, archives[split], data_dir)
    return _parse_idx(archive, path, dimensions)


def _read_verified(path: Path, sha256: str, remedy: str) -> bytes:
    """The bytes of a file, once their digest is the expected one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read the archive {path} ({error.strerror}): {remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DatasetError(
            f"the archive {path} is damaged or another one "
            f"(SHA-256 {found[:12]}..., expected {sha256[:12]}...): {remedy}"
        )
    return content


def _parse_idx(archive: bytes, path: Path, dimensions: int) -> np.ndarray:
    """An idx archive of unsigned bytes with so many dimensions. The format: http://yann.lecun.com/exdb/mnist."""
    try:
        content = gzip.decompress(archive)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"the archive {path} is not a whole gzip file ({error})") from error
    start = 4 + 4 * dimensions
    if len(content) >= start:
        magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:start])
        if magic == 0x00000800 + dimensions and len(content) - start == math.prod(shape):
            return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()  # writable
    raise DatasetError(f"the archive {path} does not hold an idx file of {'labels' if dimensions == 1 else 'images'}")


def _fetch(name: str, filename: str, data_dir: str | Path | None) -> tuple[Path, bytes]:
    """An archive known to TFDS: from its folder, else by its download manager. Path and verified bytes."""
    import tensorflow_datasets as tfds  # imported when used: it takes most of a second

    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()  # TFDS's
    downloads = root / "downloads"
    manual = downloads / "manual"
    url_infos: dict[str, Any] = tfds.builder_cls(name).url_infos or {}
    url, info = next((url, info) for url, info in url_infos.items() if url.endswith("/" + filename))

    by_hand = manual / filename
    if by_hand.exists():
        remedy = f"replace it by {url}, or give another data set's archive a --data-dir of its own"
        return by_hand, _read_verified(by_hand, info.checksum, remedy)

    _check_folder(downloads)
    manager = tfds.download.DownloadManager(
        download_dir=downloads, manual_dir=manual, url_infos=url_infos, dataset_name=name
    )
    downloaded = [*downloads.glob("*"), *downloads.glob(f"{name}/**/*")]
    if not any(path.is_file() and path.stat().st_size == info.size for path in downloaded):
        reason = _unreachable(url)
        if reason:
            raise DatasetError(
                f"cannot download {url} ({reason}): connect to the network, or place {filename} "
                f"({info.size:,} bytes) in {manual} by hand, or use mnist, which needs no network"
            )
    try:
        path = Path(manager.download(url))
    except Exception as error:  # the manager lets through what requests, promise and the file system raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"cannot download {url} ({reason}): try again, or place {filename} in {manual}") from error
    return path, _read_verified(path, info.checksum, "delete it, and it will be downloaded again")


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"cannot write the data folder {folder} ({error.strerror}): choose another --data-dir"
        ) from error


def _unreachable(url: str) -> str | None:
    """Why the server does not send the file, or None if it does, within `_CONNECT_SECONDS`.

    A thread, because looking a name up cannot be given a time limit.
    """
    import requests

    reason: list[str | None] = [f"no answer within {_CONNECT_SECONDS:.0f} s"]

    def ask() -> None:
        try:
            with requests.get(url, stream=True, timeout=_CONNECT_SECONDS) as response:
                reason[0] = None if response.ok else f"the server answered {response.status_code}"
        except requests.RequestException as error:
            reason[0] = type(error).__name__

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS)
    return reason[0]
