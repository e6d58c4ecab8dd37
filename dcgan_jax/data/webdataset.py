"""WebDataset shards: tars in which members of the same name form a sample, its picture and its class."""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, path_of
from dcgan_jax.data.folders import Classes
from dcgan_jax.data.labels import number_labels
from dcgan_jax.data.members import TARS, File, is_tar, open_files, printable
from dcgan_jax.data.picture_files import SUFFIXES
from dcgan_jax.data.picture_folders import check_no_layout, load_listing
from dcgan_jax.data.pictures import list_records
from dcgan_jax.data.shards import shards_in, shards_of_split

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000
_CLASS, _JSON, _KEY = "cls", "json", "label"
_Samples = dict[str, dict[str, File]]  # files by the sample's key, and then by extension


def is_shards(source: str | Path) -> bool:
    """Whether a source is the path of a folder with tars and no pictures, or of tars numbered in braces."""
    path = path_of(source)
    if path is None:
        return False
    return bool(shards_in(path, TARS)) if path.is_dir() else is_tar(path) and bool(_RANGE.search(path.name))


def load_shards(source: str | Path, options: LoadOptions) -> Dataset:
    """`load_samples` for several tars.

    Args:
      source: a folder of tars, or numbered tars, such as ``train-{000..003}.tar``.
      options: the split is that in the shards' names.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a shard is missing or damaged, or as `load_samples`.
    """
    path = Path(path_of(source) or source)
    shards, notes = shards_of_split(path, shards_in(path, TARS) if path.is_dir() else _expand(path), options.split)
    if missing := [shard for shard in shards if not shard.is_file()]:
        raise DatasetError(f"there is no file {missing[0]}, one of {len(shards):,} shards")
    with contextlib.ExitStack() as stack:
        files = [
            File(f"{shard.name}/{file.name}", file.read)
            for shard in shards
            for file in stack.enter_context(open_files(shard))
        ]
        dataset = load_samples(path, files, options)
    return dataset._replace(notes=(*dataset.notes, *notes))


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


def has_samples(files: Sequence[File]) -> bool:
    """Whether a tar has pictures with members beside them that may give the class."""
    samples = _group(files)
    return any({_CLASS, _JSON} & set(each) and any(map(_is_picture, each)) for each in samples.values())


def load_samples(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    """The pictures of tars, with classes from members of the same name: ``.cls``, or ``label`` in ``.json``.

    Args:
      path: the source, for messages.
      files: the members.
      options: `Reading.images` and `Reading.labels` name other extensions, the latter also a key in ``.json``.

    Raises:
      DatasetError: if a sample has several pictures, or there are none.
    """
    check_no_layout(path, options)
    samples = _group(files)
    pictures = _choose_pictures(path, samples, options.reading.images)
    keys = {file.name: key for key, file in pictures.items()}

    def classes(names: list[str]) -> Classes:
        return _classes(path, [samples[keys[name]] for name in names], options.reading.labels)

    listing = list_records(path, list(pictures.values()), options.reading.frames)
    return load_listing(path, listing, options, classes if options.labels else lambda names: Classes())


def _group(files: Sequence[File]) -> _Samples:
    """Group files by their path up to the first dot of the name, and then by what follows it, in lower case."""
    samples: _Samples = {}
    for file in files:
        folder, name = PurePosixPath(file.name).parent, PurePosixPath(file.name).name
        key, _, extension = name.partition(".")
        samples.setdefault(str(folder / key), {})[extension.lower()] = file
    return samples


def _is_picture(extension: str) -> bool:
    return f".{extension}".endswith(SUFFIXES)


def _choose_pictures(path: Path, samples: _Samples, given: str | None) -> dict[str, File]:
    """The picture of each sample, by its key. Raises: DatasetError if a sample has several, or none has one."""
    pictures = {}
    for key, files in samples.items():
        found = [each for each in files if (each == given.lower() if given else _is_picture(each))]
        if len(found) > 1:
            raise DatasetError(
                f"{path}: {printable(key)} has {len(found)} pictures, {', '.join(map(printable, found))}: choose one "
                f"with `images={printable(found[0])}`"
            )
        if found:
            pictures[key] = files[found[0]]
    if not pictures:
        kinds = ", ".join(sorted({printable(each) for files in samples.values() for each in files})[:20])
        raise DatasetError(f"{path} holds no samples with pictures{f' named {given}' if given else ''}: it has {kinds}")
    return pictures


def _classes(path: Path, samples: Sequence[dict[str, File]], given: str | None) -> Classes:
    """The classes of samples; none unless each sample has one."""
    extension = given.lower() if given else _CLASS
    member = extension if any(extension in each for each in samples) else None
    name = member or given or _KEY
    found = [_text(each[member]) if member in each else "" for each in samples] if member else []
    found = found or [_value(each[_JSON], name) if _JSON in each else "" for each in samples]
    missing = sum(not each for each in found)
    if missing == len(found) and given:
        raise DatasetError(f"{path} holds nothing named {given} for `labels`: neither members nor keys of .json")
    if missing == len(found):
        return Classes()
    if missing:
        return Classes(notes=(f"{path}: {missing:,} of {len(found):,} samples have no {name}: none is used",))
    whole = all(re.fullmatch(r"-?\d{1,18}", each) for each in found)
    return Classes(*number_labels(np.array([int(each) for each in found] if whole else found), len(found), str(path)))


def _text(file: File) -> str:
    try:
        return printable(file.read().decode().strip())[:200]
    except (OSError, ValueError):
        return ""


def _value(file: File, key: str) -> str:
    try:
        value = json.loads(file.read())[key]
    except Exception:  # whatever the parser raises for another form
        return ""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return printable(str(value).strip())[:200] if isinstance(value, str | int) else ""
