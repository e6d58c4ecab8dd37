"""Data sets in several files, and which of the files belong to a split."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from dcgan_jax.data.common import SPLITS, DatasetError, NoSplitError
from dcgan_jax.data.members import printable
from dcgan_jax.data.picture_files import SUFFIXES

# Words in names that give the split, as on the Hugging Face Hub.
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
_OF = re.compile(r"(.*)-(\d{5,})-of-(\d{5,})(.*)")
_NAMED = 3  # files listed in a message


def shards_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files with these suffixes in a folder, recursively, sorted by path; empty if it holds pictures too.

    Hidden files and folders are left out.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.startswith("."):
                continue
            if name.lower().endswith(SUFFIXES):
                return []
            if name.lower().endswith(suffixes):
                found.append(Path(parent, name))
    return sorted(found)


def shards_of_split(path: Path, shards: Sequence[Path], split: str) -> tuple[list[Path], tuple[str, ...]]:
    """The files of a data set that belong to a split, and a note on splits that are not used.

    Words in the names of files or folders give the split, such as ``train-00000-of-00002.parquet``. If none does, all
    files are for training.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if a file is missing by the numbers in the names, or only some of the names give a split.
    """
    splits = {shard: split_of(shard.relative_to(path) if path.is_dir() else shard.stem) for shard in shards}
    named = set(filter(None, splits.values()))
    if not named:
        splits = dict.fromkeys(shards, "train")
    elif None in splits.values():
        without = [shard for shard, each in splits.items() if each is None]
        raise DatasetError(
            f"{path}: {_some(without)} of no split by name, beside others of {', '.join(sorted(named))}: name all with "
            "train or test"
        )
    chosen = [shard for shard, each in splits.items() if each == split]
    if not chosen:
        raise NoSplitError(f"{path} has no split {split}: it has {', '.join(sorted(named or {'train'}))}")
    _check_whole(chosen)
    others = sorted(named - set(SPLITS))
    return chosen, (f"splits that are not used: {', '.join(others)}",) if others else ()


def split_of(name: Path | str) -> str | None:
    """The split that the last such word in a path gives, or None."""
    words = re.split(r"[^a-zA-Z]+", str(name).lower())
    return next((_WORDS[word] for word in reversed(words) if word in _WORDS), None)


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


def _some(paths: Sequence[Path]) -> str:
    names = ", ".join(printable(path.name) for path in paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
    return f"{names} is" if len(paths) == 1 else f"{names} are"
