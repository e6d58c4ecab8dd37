"""Archives and prepared data sets of TensorFlow Datasets (TFDS), read without TensorFlow."""

import contextlib
import gzip
import hashlib
import importlib.util
import io
import os
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dcgan_jax.console import print_line
from dcgan_jax.data.arrays import to_dataset
from dcgan_jax.data.common import (
    Dataset,
    DatasetError,
    LoadOptions,
    NoSplitError,
    UnknownNameError,
    path_of,
    with_labels,
)
from dcgan_jax.data.fitting import check_memory
from dcgan_jax.data.tfrecord import read_records
from dcgan_jax.errors import first_line
from dcgan_jax.files import read_verified
from dcgan_jax.paths import PathError, local_path

# SHA-256 of the decompressed archives of Fashion-MNIST. Debian's package dataset-fashion-mnist has them without the
# names and times that gzip stores, so its archives do not have the digests that TFDS records.
_CONTENT_SHA256 = {
    ("fashion_mnist", "train-images-idx3-ubyte.gz"): "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ("fashion_mnist", "train-labels-idx1-ubyte.gz"): "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ("fashion_mnist", "t10k-images-idx3-ubyte.gz"): "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ("fashion_mnist", "t10k-labels-idx1-ubyte.gz"): "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_CONNECT_SECONDS = 3.0  # TFDS itself retries for minutes


def fetch_archive(name: str, filename: str, data_dir: str | Path | None) -> tuple[Path, bytes]:
    """An archive of a data set: its path and its verified bytes.

    It is read from ``<data_dir>/downloads/manual``, where a user may have placed it, else from TFDS's downloads, else
    downloaded.

    Args:
      name: the data set's name in TFDS.
      filename: the name of the archive.
      data_dir: TFDS's directory; ``TFDS_DATA_DIR`` or ``~/tensorflow_datasets`` if None.

    Raises:
      DatasetError: if it cannot be downloaded or is damaged.
    """
    root = _data_root(data_dir)
    import tensorflow_datasets as tfds  # imported when used: it takes most of a second

    downloads = root / "downloads"
    manual = downloads / "manual"
    url_infos: dict[str, Any] = tfds.builder_cls(name).url_infos or {}
    url, info = next((url, info) for url, info in url_infos.items() if url.endswith("/" + filename))

    placed = manual / filename
    if placed.exists():
        content = _CONTENT_SHA256.get((name, filename))
        if content is not None and _content_digest(placed) == content:
            return placed, placed.read_bytes()
        remedy = f"replace it by {url}, or use another `data_dir` for an archive of another data set"
        return placed, read_verified(placed, info.checksum, DatasetError, remedy)

    _make_directory(downloads)
    manager = tfds.download.DownloadManager(
        download_dir=downloads, manual_dir=manual, url_infos=url_infos, dataset_name=name
    )
    downloaded = [*downloads.glob("*"), *downloads.glob(f"{name}/**/*")]
    if not any(path.is_file() and path.stat().st_size == info.size for path in downloaded):
        reason = _unreachable(url)
        if reason:
            raise DatasetError(
                f"cannot download {url} ({reason}): connect to the network, or place {filename} "
                f"({info.size:,} bytes) in {manual}, or use mnist, which needs no network"
            )
    try:
        path = Path(manager.download(url))
    except Exception as error:  # the manager lets through what requests, promise and the file system raise
        raise DatasetError(
            f"cannot download {url} ({first_line(error)}): try again, or place {filename} in {manual}"
        ) from error
    return path, read_verified(path, info.checksum, DatasetError, "delete it, and it will be downloaded again")


def _content_digest(path: Path) -> str | None:
    """The SHA-256 of the decompressed content of a gzip file, or None if it is not one."""
    try:
        return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    except (OSError, EOFError, zlib.error):
        return None


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"cannot write the data directory {path} ({error.strerror}): choose another `data_dir`"
        ) from error


def _unreachable(url: str) -> str | None:
    """Why the server does not send the file, or None if it does, within `_CONNECT_SECONDS`.

    It runs in a thread, because a name lookup has no timeout.
    """
    import requests

    reason: list[str | None] = [f"no answer within {_CONNECT_SECONDS:.0f} s"]

    def request() -> None:
        try:
            with requests.get(url, stream=True, timeout=_CONNECT_SECONDS) as response:
                reason[0] = None if response.ok else f"the server answered {response.status_code}"
        except requests.RequestException as error:
            reason[0] = type(error).__name__

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS)
    return reason[0]


def is_name(source: str | Path) -> bool:
    """Whether a source is a name rather than a path; whether TFDS knows it is only checked on loading."""
    return path_of(source) is None


def load_prepared(source: str | Path, options: LoadOptions) -> Dataset:
    """An image classification data set of TFDS, read without TensorFlow; it is prepared first if it is not on disk.

    A name without a configuration means TFDS's default one. Of several versions on disk the latest is read.

    Args:
      source: the name in TFDS, such as ``cifar10`` or ``emnist/letters``.
      options: ``data_dir`` is TFDS's directory, as `fetch_archive`'s.

    Raises:
      UnknownNameError: if TFDS does not know it.
      DatasetError: if it cannot be prepared or read, or does not hold images of one size.
    """
    name, root = str(source), _data_root(options.reading.data_dir)
    folder = root / name
    try:
        builder = _find(name, root) or _prepare(name, root)
        folder = builder.data_dir
        return _read(name, options, builder)
    except DatasetError:
        raise
    except Exception as error:  # whatever TFDS and its readers raise
        raise DatasetError(
            f"cannot read {name} in {folder} ({first_line(error)}): move that folder away and try again, or prepare it "
            "again with file_format='array_record'"
        ) from error


def _find(name: str, root: Path) -> Any:
    """The builder of a data set on disk, or None if it is not there.

    Raises:
      DatasetError: if several configurations are there, and TFDS does not know the set, nor thus its default one.
    """
    if not (root / name).is_dir():
        return None
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    try:
        return read_only_builder.builder_from_files(name, data_dir=root)
    except tfds.core.DatasetNotFoundError:
        configs = sorted({path.parent.parent.name for path in (root / name).glob("*/*/dataset_info.json")})
    with contextlib.suppress(tfds.core.DatasetNotFoundError):
        if not configs or tfds.builder_cls(name):
            return None
    if len(configs) > 1:
        choices = ", ".join(f"{name}/{config}" for config in configs)
        raise DatasetError(f"{name} has {len(configs)} configurations in {root}: choose from {choices}")
    return _find(f"{name}/{configs[0]}", root)


def _read(name: str, options: LoadOptions, builder: Any) -> Dataset:
    features, splits, split = builder.info.features, builder.info.splits, options.split
    if split not in splits:
        raise NoSplitError(f"{name} has no split {split}: it has {', '.join(splits)}")
    _check_features(name, features)
    count, shape = splits[split].num_examples, features["image"].shape
    check_memory(count, shape[:2], shape[2], name)
    if builder.info.file_format.value == "tfrecord":
        examples = map(features.deserialize_example_np, read_records(splits[split].filepaths))
    else:
        examples = builder.as_data_source(split)
    names = tuple(getattr(dict(features).get("label"), "names", ()))
    images, labels = np.empty((count, *shape), np.uint8), np.empty(count, np.int32)
    progress = tqdm(examples, f"reading {name}", count, disable=None, leave=False)
    for i, example in zip(range(count), progress, strict=True):
        images[i], labels[i] = example["image"], example["label"] if names else -1
    known = bool(np.all(labels >= 0))  # in TFDS, -1 marks a label that is not published
    dataset = to_dataset(images, name, options.in_order("NHWC"))
    return with_labels(dataset.images, labels, names, dataset.notes)._replace(found=dataset.found) if known else dataset


def _check_features(name: str, features: Any) -> None:
    image = dict(features).get("image")
    if image is None or None in image.shape or image.shape[2:] not in ((1,), (3,)) or image.np_dtype != np.uint8:
        raise DatasetError(
            f"{name} is no set of images of one size, grey or in colours, of 8 bits: save its images as pictures in a "
            "folder"
        )


def _prepare(name: str, root: Path) -> Any:
    """Download and prepare a data set with TFDS, in its random-access format, and return the builder of the result."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
        features = builder.info.features
    except Exception as error:  # of several classes, for a name or configuration unknown to TFDS
        raise UnknownNameError(f"unknown data set {name!r}") from error
    _check_features(name, features)
    for url in builder.url_infos or {}:
        if reason := _unreachable(url):
            raise DatasetError(
                f"cannot download {url} ({reason}): connect to the network, or copy {name} as TensorFlow Datasets has "
                f"prepared it elsewhere to {builder.data_dir}"
            )
    print_line(f"{name}: downloaded and prepared in {root}, once")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own report; its progress bars are on standard error
            builder.download_and_prepare()
    except Exception as error:  # whatever TFDS, its builders and the file system raise
        remedy = "try again"
        if importlib.util.find_spec("tensorflow") is None:
            remedy = "most data sets need TensorFlow for it, pip install 'dcgan-jax[tfds]'"
        raise DatasetError(f"cannot prepare {name} in {root} ({first_line(error)}): {remedy}") from error
    return tfds.builder_from_directory(builder.data_dir)


def _data_root(data_dir: str | Path | None) -> Path:
    try:
        return local_path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets", "the data directory")
    except PathError as error:
        raise DatasetError(f"{error} (choose one with `data_dir` or TFDS_DATA_DIR)") from error
