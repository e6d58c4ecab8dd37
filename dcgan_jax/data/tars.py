"""Several tars, or a folder with one or more: shards of one set, or one tar for each class or split."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from dcgan_jax.data.batches import has_batches
from dcgan_jax.data.beside import are_many, note_on_pictures, pictures_among
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, path_of
from dcgan_jax.data.contents import load_files, load_members
from dcgan_jax.data.idx_folders import has_idx
from dcgan_jax.data.members import TARS, File, by_path, is_tar, open_files, some
from dcgan_jax.data.picture_files import count_kinds, may_hold_images, name_kinds
from dcgan_jax.data.shards import folders_of_same_names, shards_in, shards_of_other_split, shards_of_split, split_of
from dcgan_jax.data.webdataset import has_samples, load_samples

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000
_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")


def is_tars(source: str | Path) -> bool:
    """Whether a source is the path of a folder with tars, or of tars numbered in braces.

    A folder with a single tar and many pictures, or with batches or idx files, is one into which it was unpacked.
    """
    path = path_of(source)
    if path is None or not path.is_dir():
        return path is not None and is_tar(path) and bool(_RANGE.search(path.name))
    tars = shards_in(path, TARS)
    if not tars:
        return False
    with open_files(path) as files:
        unpacked = has_batches(files) or has_idx(files) or (len(tars) == 1 and are_many(pictures_among(files)))
    return not unpacked


def load_tars(source: str | Path, options: LoadOptions) -> Dataset:
    """The images of tars: samples of WebDataset, or the files that the tars hold together.

    Args:
      source: a folder of tars, or numbered tars, such as ``train-{000..003}.tar``. A single tar is read as if it were
        given; several without samples are a class each, unless their names give splits or number them, or one of them
        holds several folders.
      options: the split is that in the names of the tars, if there is one.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a tar is missing or damaged, many pictures lie beside them, or as the loader of their files.
    """
    path = Path(path_of(source) or source)
    if not path.is_dir():
        return _load_several(path, _expand(path), options)
    tars = shards_in(path, TARS)
    notes = _notes_on_others(path, tars)
    dataset = load_files(tars[0], options) if len(tars) == 1 else _load_several(path, tars, options)
    return dataset._replace(notes=(*dataset.notes, *notes))


def _notes_on_others(path: Path, tars: Sequence[Path]) -> tuple[str, ...]:
    """Notes on other files beside tars that may hold images. Raises: DatasetError if they are many pictures."""
    with open_files(path) as files:
        pictures = pictures_among(files)
        others = [file for file in files if may_hold_images(file) and not file.name.lower().endswith(TARS)]
    notes = note_on_pictures(path, pictures, tars[0].relative_to(path).as_posix())
    return (*notes, f"left out {name_kinds(count_kinds(others))} beside the tars") if others else notes


def _load_several(path: Path, tars: Sequence[Path], options: LoadOptions) -> Dataset:
    of_splits = any(split_of(_name_in(path, tar)) for tar in tars)
    chosen, notes = shards_of_split(path, tars, options.split) if of_splits else (list(tars), ())
    if missing := [tar for tar in chosen if not tar.is_file()]:
        raise DatasetError(f"there is no file {missing[0]}, one of {len(chosen):,} shards")
    with contextlib.ExitStack() as stack:

        def beside() -> list[File]:
            others = shards_of_other_split(path, tars, options.split) if of_splits else []
            return _below_tars({_name_in(path, tar): stack.enter_context(open_files(tar)) for tar in others})

        members = {_name_in(path, tar): stack.enter_context(open_files(tar)) for tar in chosen}
        if has_samples([file for files in members.values() for file in files], options.reading):
            shards_of_split(path, tars, options.split)
            dataset = load_samples(path, _below_tars(members), options, beside)
            if folders := folders_of_same_names(path, chosen):
                notes = (*notes, f"the samples of {len(folders):,} folders are read together: {some(folders)}")
        elif not of_splits and _are_classes(members):
            dataset = load_members(path, _below_tars(members), options)
            dataset = dataset._replace(classes=tuple(map(_without_suffix, dataset.classes)))
            notes = (*notes, f"each of the {len(chosen):,} tars is read as a folder of its name")
        else:
            options = options._replace(split="train") if of_splits else options
            dataset = load_members(path, _together(members), options, beside)
            if len(chosen) > 1:
                notes = (*notes, f"the files of {len(chosen):,} tars are read as those of one folder")
    return dataset._replace(notes=(*dataset.notes, *notes))


def _name_in(path: Path, tar: Path) -> str:
    """The name of a tar within a folder, by which tars of equal name in its folders differ."""
    return tar.relative_to(path).as_posix() if path.is_dir() else tar.name


def _are_classes(members: Mapping[str, Sequence[File]]) -> bool:
    """Whether each tar may be a class: they are not numbered as shards, and none has pictures in several folders."""
    folders = [{PurePosixPath(name).parent for name in pictures_among(files)} for files in members.values()]
    folders = [each for each in folders if each]
    return len(folders) > 1 and all(len(each) == 1 for each in folders) and not _are_numbered(list(members))


def _are_numbered(tars: Sequence[str]) -> bool:
    """Whether names differ only in their last number, and most numbers from the first to the last are there.

    Those of ImageNet's classes, such as n01440764 and n01443537, are far apart.
    """
    found = [_LAST_NUMBER.fullmatch(_without_suffix(PurePosixPath(tar).name)) for tar in tars]
    if not all(found):
        return False
    numbers = {int(each[2]) for each in found if each}
    same = len({(each[1], each[3]) for each in found if each}) == 1
    return same and 2 * len(numbers) > max(numbers) - min(numbers)


def _without_suffix(name: str) -> str:
    suffix = max((each for each in TARS if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(suffix)]


def _below_tars(members: Mapping[str, Sequence[File]]) -> list[File]:
    """The files of tars, each below a folder of its tar's name."""
    return [File(f"{tar}/{file.name}", file.read) for tar, files in members.items() for file in files]


def _together(members: Mapping[str, Sequence[File]]) -> list[File]:
    """The files of tars as those of one folder; where names occur twice, each has its tar's name before its own."""
    every = [(tar, file) for tar, files in members.items() for file in files]
    if len({file.name for _, file in every}) < len(every):
        every = [(tar, File(_beside(tar, PurePosixPath(file.name)), file.read)) for tar, file in every]
    return sorted((file for _, file in every), key=by_path)


def _beside(tar: str, name: PurePosixPath) -> str:
    return str(name.with_name(f"{tar.replace('/', ':')}:{name.name}"))


def _expand(path: Path) -> list[Path]:
    """The paths that a path with a range of numbers in braces stands for, in order."""
    found = _RANGE.search(path.name)
    if found is None:
        return [path]
    first, last, width = int(found[1]), int(found[2]), len(found[1])
    if not first <= last < first + _MOST_SHARDS:
        raise DatasetError(f"{path} stands for no shards, or more than {_MOST_SHARDS:,}: number them as {{000..003}}")
    names = (f"{path.name[: found.start()]}{i:0{width}d}{path.name[found.end() :]}" for i in range(first, last + 1))
    return [each for name in names for each in _expand(path.with_name(name))]
