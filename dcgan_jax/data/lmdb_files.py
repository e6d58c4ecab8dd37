"""LMDB environments of encoded pictures by key, the format of LSUN and of data sets of text recognition."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, check_split, path_of
from dcgan_jax.data.folders import Classes, classes_of, listed_classes
from dcgan_jax.data.listings import list_records
from dcgan_jax.data.members import File
from dcgan_jax.data.picture_folders import check_no_layout, load_listing
from dcgan_jax.errors import first_line
from dcgan_jax.versions import require

_DATA = "data.mdb"  # file name in an environment's folder
_MAGIC = (0xBEEFC0DE).to_bytes(4, "little")
_START = 16  # bytes of a page's header, before its content
# Keys of metadata that programs store beside the pictures.
_NOTES = {b"length", b"num-samples", b"num_samples", b"__len__", b"__keys__", b"keys", b"meta"}
# Keys of text recognition: the label of image-000000001 is label-000000001.
_IMAGE, _LABEL = "image-", "label-"


def is_lmdb(source: str | Path) -> bool:
    """Whether a source is the path of an LMDB environment: its folder or its file."""
    path = path_of(source)
    if path is None or not path.exists():
        return False
    file = path / _DATA if path.is_dir() else path
    if not file.is_file():
        return False
    return file.name == _DATA or file.suffix.lower() in (".lmdb", ".mdb") or _starts_as_one(file)


def _starts_as_one(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return content.read(_START + 4)[_START:] == _MAGIC
    except OSError as error:
        raise DatasetError(f"cannot read {file} ({error.strerror})") from error


def load_lmdb(source: str | Path, options: LoadOptions) -> Dataset:
    """The pictures of an LMDB environment, in the order of their keys; folders in the keys, or labels, are classes.

    Records that are neither are left out, with a note.
    It is opened read-only and without a lock, which would be a file beside it, so nothing may write to it meanwhile.

    Raises:
      NoSplitError: if another split than ``train`` is asked for.
      DatasetError: if lmdb is not installed, the file is truncated or damaged, or its values are not pictures.
    """
    path = Path(path_of(source) or source)
    lmdb = require("lmdb", "lmdb", f"reading {path}", DatasetError)
    check_split(path, options.split)
    check_no_layout(path, options)
    try:
        with lmdb.open(os.fspath(path), subdir=path.is_dir(), readonly=True, lock=False, create=False) as environment:
            _check_whole(path, environment)
            files = _files(environment)
            labels = _labels(files)
            used = {file.name for file in labels.values()}
            pictures = [file for file in files if file.name not in used]
            listing = list_records(path, pictures, options.reading.frames, mixed=True)
            return load_listing(path, listing, options, lambda names: _classes(names, labels))
    except lmdb.Error as error:
        raise DatasetError(f"cannot read {path} ({first_line(error)})") from error


def _labels(files: Sequence[File]) -> dict[str, File]:
    """The records of labels, by the name of their picture."""
    names = {file.name for file in files}
    found = {file.name.replace(_LABEL, _IMAGE, 1): file for file in files if file.name.startswith(_LABEL)}
    return {picture: file for picture, file in found.items() if picture in names}


def _classes(names: Sequence[str], labels: Mapping[str, File]) -> Classes:
    if not labels:
        return classes_of(names, [])
    texts = {name: labels[name].read().decode("utf-8", "replace").strip() for name in names if name in labels}
    return listed_classes(names, {name: text for name, text in texts.items() if text}, f"{_LABEL}...")


def _check_whole(path: Path, environment: Any) -> None:
    """Raises: DatasetError if the file ends before its last page, which LMDB does not check."""
    file = path / _DATA if path.is_dir() else path
    size, whole = file.stat().st_size, (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < whole:
        raise DatasetError(f"cannot read {file} (it is cut off: {size:,} of {whole:,} bytes): download it again")


def _files(environment: Any) -> list[File]:
    """The values of all keys except metadata, each read in a transaction of its own, as threads require."""

    def read(key: bytes) -> bytes:
        with environment.begin() as transaction:
            value = transaction.get(key)
        if value is None:
            raise OSError("it is gone")
        return value

    with environment.begin() as transaction:
        keys = [key for key in transaction.cursor().iternext(values=False) if key not in _NOTES]
    return [File(os.fsdecode(key), lambda key=key: read(key)) for key in keys]
