"""Folders and archives, of pictures or of files of arrays."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from dcgan_jax.console import counted
from dcgan_jax.data.array_folders import as_arrays, has_arrays, load_arrays
from dcgan_jax.data.batches import has_batches, load_batches
from dcgan_jax.data.beside import are_many, either_of, note_on_pictures, pictures_among
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, check_no_names, path_of, starts_with
from dcgan_jax.data.csv_files import has_pixels, is_table, load_csvs
from dcgan_jax.data.idx_folders import has_idx, load_idx
from dcgan_jax.data.members import TARS, File, FindFiles, is_tar, no_files, open_files, printable, some
from dcgan_jax.data.picture_files import may_hold_images
from dcgan_jax.data.picture_folders import load_pictures
from dcgan_jax.data.shards import shards_of_split
from dcgan_jax.data.split_folders import part_of_split
from dcgan_jax.data.stl10 import has_stl10, load_stl10
from dcgan_jax.data.webdataset import has_samples, load_samples

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the latter for an empty archive
_ALONE = (".npz", ".h5", ".hdf5")  # containers that are read by themselves, and not in a folder
_SINGLE = (*_ALONE, ".hdf", ".mat", ".pkl", ".pickle", ".p", ".mdb")

_Has = Callable[[Sequence[File]], bool]
_LoadFiles = Callable[[Path, Sequence[File], LoadOptions, FindFiles], Dataset]


def _load_csvs(path: Path, files: Sequence[File], options: LoadOptions, _: FindFiles) -> Dataset:
    return load_csvs(path, files, options)


# Formats of files without pictures among them, in the order in which they are tried.
_CONTENTS: tuple[tuple[_Has, _LoadFiles], ...] = (
    (has_idx, lambda path, files, options, _: load_idx(path, files, options)),  # of bytes, as all batches
    (has_batches, lambda path, files, options, _: load_batches(path, files, options)),
    (has_stl10, lambda path, files, options, _: load_stl10(path, files, options)),
    (has_arrays, load_arrays),
    (has_pixels, _load_csvs),
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
        if is_tar(path) and has_samples(files, options.reading):
            _, notes = shards_of_split(path, [path], options.split)
            dataset = load_samples(path, files, options)
            return dataset._replace(notes=(*dataset.notes, *notes))
        return load_members(path, files, options)


def load_members(path: Path, files: Sequence[File], options: LoadOptions, beside: FindFiles = no_files) -> Dataset:
    """The images of the files of a folder or an archive, without the few pictures beside another container.

    ``beside`` finds the files of another split, if they are elsewhere, for the value range.

    Raises: as `load_files`.
    """
    container, pictures = _container(files), pictures_among(files)
    files = files if pictures else as_arrays(files)
    alone = [file.name for file in files if file.suffix in _ALONE]
    if pictures and alone and not container and not are_many(pictures):
        raise either_of(path, pictures, alone[0])
    _check_single(path, files)
    left_out = pictures if container else []
    notes = note_on_pictures(path, left_out, container)
    part = part_of_split(path, [file for file in files if file.name not in set(left_out)], options)
    dataset = _load(path, part.files, part.options, lambda: part.beside or beside())
    return dataset._replace(notes=(*dataset.notes, *part.notes, *notes))


def _check_single(path: Path, files: Sequence[File]) -> None:
    """Raises: DatasetError if only containers that are read by themselves may hold images."""
    single = [file.name for file in files if file.suffix in _SINGLE and PurePosixPath(file.name).name != "lock.mdb"]
    if not single or pictures_among(files) or any(not file.suffix for file in files):
        return
    if any(has(files) for has, _ in _CONTENTS):
        return
    which = "which is" if len(single) == 1 else "each of which is"
    give = f"give {path / printable(single[0])}" if path.is_dir() else f"unpack it, and give {printable(single[0])}"
    raise DatasetError(f"{path} holds {some(single)}, {which} read by itself: {give}")


def _container(files: Sequence[File]) -> str:
    """The name of the first file beside pictures that is read without them, if there are both; else empty.

    An array of a picture's name is an annotation of it, and a CSV file without pixels a list.
    """
    pictures = pictures_among(files)
    stems, names = {os.path.splitext(name)[0] for name in pictures}, set(pictures)
    others = [file for file in files if file.name not in names and os.path.splitext(file.name)[0] not in stems]
    if not pictures:
        return ""
    for has, _ in _CONTENTS:
        if found := [file for file in others if has([file])] or others * has(others):
            return found[0].name
    return ""


def _loader(files: Sequence[File]) -> _LoadFiles | None:
    """The loader of these files without pictures, or None; of a CSV file also if nothing else may hold images."""
    tables = [file for file in files if is_table(file)]
    rest = [file for file in files if file not in tables]
    only_tables = tables and not any(map(may_hold_images, rest))
    return next((load for has, load in _CONTENTS if has(files)), _load_csvs if only_tables else None)


def _load(path: Path, files: Sequence[File], options: LoadOptions, beside: FindFiles) -> Dataset:
    load = None if pictures_among(files) else _loader(files)
    if load is None:
        check_no_names(path, options)
        return load_pictures(path, files, options, beside)
    dataset = load(path, files, options, beside)
    archives = [file.name for file in files if file.name.lower().endswith(TARS)]
    note = f"left out {counted(len(archives), 'archive')} beside unpacked files: {some(archives)}"
    return dataset._replace(notes=(*dataset.notes, note)) if archives else dataset
