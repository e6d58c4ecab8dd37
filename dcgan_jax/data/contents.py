"""Folders and archives, of pictures or of files of arrays."""

from collections.abc import Callable, Sequence
from pathlib import Path

from dcgan_jax.data.array_folders import has_arrays, has_idx, load_arrays, load_idx
from dcgan_jax.data.batches import has_batches, load_batches
from dcgan_jax.data.common import Dataset, LoadOptions, check_no_names, path_of, starts_with
from dcgan_jax.data.csv_files import has_csv, load_csvs
from dcgan_jax.data.members import File, is_tar, open_files
from dcgan_jax.data.picture_files import SUFFIXES
from dcgan_jax.data.picture_folders import load_pictures
from dcgan_jax.data.shards import shards_of_split
from dcgan_jax.data.split_folders import part_of_split
from dcgan_jax.data.webdataset import has_samples, load_samples

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the latter for an empty archive

_Has = Callable[[Sequence[File]], bool]
_LoadFiles = Callable[[Path, Sequence[File], LoadOptions], Dataset]
# Formats of files without pictures among them, in the order in which they are tried.
_CONTENTS: tuple[tuple[_Has, _LoadFiles], ...] = (
    (has_idx, load_idx),
    (has_batches, load_batches),
    (has_arrays, load_arrays),
    (has_csv, load_csvs),
)


def holds_files(source: str | Path) -> bool:
    """Whether a source is the path of a folder, tar or zip; an ``.npz`` is not one."""
    path = path_of(source)
    if path is None or not path.exists():
        return False
    return path.is_dir() or is_tar(path) or (path.suffix.lower() != ".npz" and starts_with(path, *_ZIP))


def load_files(source: str | Path, options: LoadOptions) -> Dataset:
    """The images of a folder or an archive.

    Raises:
      NoSplitError: if it has no such split.
      DatasetError: if it cannot be read, or as the loader of its files.
    """
    path = Path(path_of(source) or source)
    with open_files(path) as files:
        if is_tar(path) and has_samples(files):
            shards_of_split(path, [path], options.split)
            return load_samples(path, files, options)
        part = part_of_split(path, files, options)
        dataset = _load(path, part.files, part.options)
        return dataset._replace(notes=(*dataset.notes, *part.notes))


def _load(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    pictures = any(file.suffix in SUFFIXES for file in files)
    for has, load in _CONTENTS:
        if not pictures and has(files):
            return load(path, files, options)
    check_no_names(path, options)
    return load_pictures(path, files, options)
