"""Sibling folders of training and test images, and which files belong to a split."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dcgan_jax.data.common import LoadOptions, NoSplitError
from dcgan_jax.data.folders import SPLIT_FOLDER
from dcgan_jax.data.members import File, printable
from dcgan_jax.data.picture_files import SUFFIXES
from dcgan_jax.data.shards import split_of


class Part(NamedTuple):
    """The files of a split, the options to load them with, notes on the others, and the files of the other split."""

    files: Sequence[File]
    options: LoadOptions
    notes: tuple[str, ...] = ()
    beside: Sequence[File] = ()


def part_of_split(path: Path, files: Sequence[File], options: LoadOptions) -> Part:
    """The files of a split if folders of pictures or arrays are splits, such as ``train`` and ``test``; else all.

    Without a test folder, the validation folder is the test split. Files beside the folders belong to every split.

    Raises:
      NoSplitError: if there is no folder of the split.
    """
    suffixes = SUFFIXES if any(file.suffix in SUFFIXES for file in files) else (".npy",)
    folders = split_folders([file.name for file in files if file.suffix in suffixes])
    if "train" not in folders:
        return Part(files, options)
    names = {split: PurePosixPath(folder).name for split, folder in folders.items()}
    used = {"train": folders["train"], "test": folders.get("test", folders.get("validation", ""))}
    if not used[options.split]:
        raise NoSplitError(f"{path} has no split {options.split}: it has {', '.join(map(printable, names.values()))}")
    others = [f"{folder}/" for folder in folders.values() if folder != used[options.split]]
    unused = [printable(names[split]) for split, folder in folders.items() if folder not in used.values()]
    note = f"the {options.split} split is the folder {printable(used[options.split])}"
    note += f"; not used: {', '.join(unused)}" if unused else ""
    part = [file for file in files if not file.name.startswith(tuple(others))]
    beside = [f"{folder}/" for split, folder in used.items() if folder and split != options.split]
    return Part(
        part,
        options._replace(split="train"),
        (note,),
        [file for file in files if file.name.startswith(tuple(beside))],
    )


def split_folders(names: Sequence[str]) -> dict[str, str]:
    """The top-level folder of each split, below those that all share; empty if some are no splits, or two the same."""
    parents = [name.split("/")[:-1] for name in names]
    shared = len(os.path.commonprefix(parents))  # pyright: ignore[reportCallIssue, reportArgumentType]
    if not all(len(parts) > shared for parts in parents):
        return {}
    tops = list(dict.fromkeys("/".join(parts[: shared + 1]) for parts in parents))
    found = [SPLIT_FOLDER.fullmatch(PurePosixPath(top).name.lower()) for top in tops]
    splits = {split_of(each[2]) or each[2]: top for top, each in zip(tops, found, strict=True) if each}
    before = {each[1] for each in found if each}  # their common prefix, as in DIV2K_train_HR
    return splits if 1 < len(splits) == len(tops) and len(before) == 1 else {}
