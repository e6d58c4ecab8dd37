"""Data sets in several files, and which of the files belong to a split."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from dcgan_jax.data.common import SPLITS, DatasetError, NoSplitError
from dcgan_jax.data.members import printable, some

# Words in names that give the split, as on the Hugging Face Hub.
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
_OF = re.compile(r"(.*)-(\d{5,})-of-(\d{5,})(.*)")


def shards_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files with these suffixes in a folder, recursively, sorted by path, without hidden files and folders."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if name.lower().endswith(suffixes) and not name.startswith(".")]
    return sorted(found)


def shards_of_split(path: Path, shards: Sequence[Path], split: str) -> tuple[list[Path], tuple[str, ...]]:
    """The files of a data set that belong to a split, and notes on those that are not used.

    Words in the names of files or folders give the split, such as ``train-00000-of-00002.parquet``; where some do,
    files without one are not used. If none does, or no folder is given and all are of one split, they are for training.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a file is missing by the numbers in the names.
    """
    splits = {shard: split_of(_name_in(path, shard)) for shard in shards}
    named, notes = set(filter(None, splits.values())), []
    if not path.is_dir() and len(set(splits.values())) == 1 and named - {"train"}:
        notes.append(f"{printable(path.name)} is the training data, as it is given by itself, and not {named.pop()}")
    if not named:
        splits = dict.fromkeys(shards, "train")
    chosen = [shard for shard, each in splits.items() if each == split]
    if not chosen:
        raise NoSplitError(f"{path} has no split {split}: it has {', '.join(sorted(named or {'train'}))}")
    _check_whole(chosen)
    if others := sorted(named - set(SPLITS)):
        notes.append(f"splits that are not used: {', '.join(others)}")
    if without := [shard.name for shard, each in splits.items() if each is None]:
        notes.append(f"files of no known split by name, which are not used: {some(without)}")
    return chosen, tuple(notes)


def shards_of_other_split(path: Path, shards: Sequence[Path], split: str) -> list[Path]:
    """The files of the other one of `SPLITS` than ``split``; none if there is no such split, or files are missing."""
    try:
        return shards_of_split(path, shards, next(each for each in SPLITS if each != split))[0]
    except DatasetError:
        return []


def folders_of_same_names(path: Path, shards: Sequence[Path]) -> list[str]:
    """The folders that hold ``shards``, neither splits nor partitions, if files in two have the same name; else none.

    They may be several data sets. Shards of a set have the same name, whatever their numbers are.
    """
    folders: dict[str, set[str]] = {}
    for shard in shards if path.is_dir() else ():
        parts = [part for part in shard.relative_to(path).parts[:-1] if "=" not in part and split_of(part) is None]
        folders.setdefault("/".join(parts), set()).add(without_number(shard.name))
    several = sum(map(len, folders.values())) > len(set().union(*folders.values()))
    return sorted(folders) if several else []


def partitions(path: Path, shard: Path) -> dict[str, str]:
    """The columns and values that the folders of a partitioned data set give, such as ``label=cat``."""
    folders = shard.relative_to(path).parts[:-1] if path.is_dir() else ()
    return {
        unquote(name): unquote(value) for name, is_one, value in (each.partition("=") for each in folders) if is_one
    }


def _name_in(path: Path, shard: Path) -> Path | str:
    """The part of a path that may give the split: the values of partitions do not, but for one named ``split``."""
    if not path.is_dir():
        return shard.stem
    parts = shard.relative_to(path).parts
    return Path(*(part for part in parts if "=" not in part or part.lower().startswith("split=")))


def split_of(name: Path | str) -> str | None:
    """The split that the last such word in a path gives, or None."""
    words = re.split(r"[^a-zA-Z]+", str(name).lower())
    return next((_WORDS[word] for word in reversed(words) if word in _WORDS), None)


def without_split(name: str) -> list[str]:
    """The words and numbers of a path but for those that give the split."""
    return [word for word in re.findall(r"[a-z]+|\d+", name.lower()) if word not in _WORDS]


def without_number(name: str) -> str:
    """The name that a set's files share: of ``train-00000-of-00002.parquet``, ``train.parquet``."""
    found = _OF.fullmatch(name)
    return found[1] + found[4] if found else name


def _check_whole(shards: Sequence[Path]) -> None:
    """Raises: DatasetError if numbered files are incomplete, such as train-00000-of-00002 alone."""
    sets: dict[tuple[Path, str, str, int], set[int]] = {}
    for shard in shards:
        if found := _OF.fullmatch(shard.name):
            key = (shard.parent, found[1], found[4], int(found[3]))
            sets.setdefault(key, set()).add(int(found[2]))
    for (folder, start, _, count), numbers in sets.items():
        if missing := [i for i in range(min(count, len(numbers) + 1)) if i not in numbers]:
            raise DatasetError(
                f"{folder / printable(start)}: {len(numbers):,} of {count:,} files are there, number {missing[0]} is "
                "missing: download it too, or rename the others"
            )
