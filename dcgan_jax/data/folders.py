"""What folders, and lists of labels beside pictures, say: classes, parts of one set, or sets that are no classes."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.picture_files import File, printable
from dcgan_jax.errors import first_line

_SPLITS = (
    "train",
    "training",
    "test",
    "testing",
    "val",
    "valid",
    "validation",
    "dev",
    "eval",
    "unlabeled",
    "unlabelled",
)
_TRAIN = ("train", "training")
# With what data sets add: trainA, train2017, train_images, and before it, as in DIV2K_train_HR.
_SPLIT = re.compile(rf"(.*[_\-. ])?({'|'.join(_SPLITS)})(?:[_\-. ]?(?:[a-z]|\d+|hr|lr|images|imgs|set|data|split))?")
_PICTURES = {"image", "images", "img", "imgs", "jpegimages", "photos", "pictures", "inputs", "input", "frames", "rgb"}
_MAPS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmentations", "gt", "target"),
    *(
        "output",
        "outputs",
        "targets",
        "groundtruth",
        "ground_truth",
        "trimaps",
        "segmentationclass",
        "segmentationobject",
        "depth",
        "edges",
    ),
}
_MAP = re.compile(
    r"(.+?)[_\- .]*(?:mask|masks|seg|segmentation|label|labels|gt|groundtruth|depth)(?:[_\- ]?\d+)?", re.I
)
_LEAST_MAPS = 0.1  # share of the pictures; fewer are no habit
_NAMED = 3  # classes that are named
_LEAST_DIGITS = 4  # of the names of parts that a program numbers


class Classes(NamedTuple):
    """The class of each picture int32 [N] or None, the names of the classes, and what is said of them."""

    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_folders(path: Path, names: Sequence[str]) -> None:
    """Whether folders at any depth can be classes, and pictures beside each other be of one kind.

    Raises:
      DatasetError: if folders beside each other are splits, or pictures and their masks; or pictures are, by name.
    """
    _check_maps(path, names)
    inside: dict[str, dict[str, None]] = {}
    for name in names:
        parts = name.split("/")[:-1]
        for depth, part in enumerate(parts):
            inside.setdefault("/".join(parts[:depth]), {})[part] = None
    for parent, folders in inside.items():
        what, one = _not_classes(list(folders))
        if what:
            named, where = ", ".join(map(printable, folders)), path / printable(parent)
            one = printable(f"{parent}/{one}" if parent else one)
            give = (
                f"give one of them, such as {path / one}"
                if path.is_dir()
                else f"unpack it, and give one, such as {one}"
            )
            raise DatasetError(f"the folders {named} in {where} are {what}, not classes: {give}")


def _check_maps(path: Path, names: Sequence[str]) -> None:
    """Raises: DatasetError if pictures lie beside their masks, as a_mask.png beside a.png."""
    stems = {str(PurePosixPath(name).with_suffix("")).lower(): name for name in names}
    maps = {
        name: stems[found[1]] for stem, name in stems.items() if (found := _MAP.fullmatch(stem)) and found[1] in stems
    }
    if len(maps) > 1 and len(maps) >= _LEAST_MAPS * len(names):
        one, of = (printable(name) for name in next(iter(maps.items())))
        raise DatasetError(
            f"{len(maps):,} of the {len(names):,} pictures in {path} belong to others by their names, such as {one} to "
            f"{of}: move them out of the folder"
        )


def _not_classes(folders: Sequence[str]) -> tuple[str, str]:
    """What folders beside each other are if they are no classes, and the likely one; nothing if they may be."""
    splits = {folder: found for folder in folders if (found := _SPLIT.fullmatch(folder.lower()))}
    several = len({found[2] for found in splits.values()}) > 1
    # Such as trainA and trainB, and not as steam_train and express_train.
    parts = len(splits) > 1 and len(splits) == len(folders) and not any(found[1] for found in splits.values())
    if several or parts:
        return "splits or parts of a data set", min(splits, key=lambda folder: splits[folder][2] not in _TRAIN)
    pictures = [folder for folder in folders if folder.lower() in _PICTURES]
    if pictures and any(folder.lower() in _MAPS for folder in folders):
        return "pictures and what belongs to each of them", pictures[0]
    return "", ""


def classes_of(names: Sequence[str], lists: Sequence[File]) -> Classes:
    """The classes of pictures.

    They are those of a list, ``dataset.json`` of StyleGAN's data sets or ``metadata.csv`` or ``metadata.jsonl`` of
    Hugging Face's, or else the folders at the top, if there are several and every picture is in one.

    Args:
      names: of the pictures, with slashes.
      lists: the files of which `is_list` is true; one of another form is not used.
    """
    found: dict[str, Any] = {}
    used, notes = [], []
    for file in lists:
        labels, problem = _read_list(file)
        notes += [f"{printable(file.name)} {problem}"] if problem else []
        if labels is not None:
            found |= labels
            used.append(file.name)
    if not used:
        by_folder = _by_folder(names)
        return by_folder._replace(notes=(*by_folder.notes, *notes))
    missing = sum(name not in found for name in names)
    if missing:
        if found:
            notes.append(f"{_some(used)}: labels of {len(names) - missing:,} of {len(names):,} pictures: none is used")
        return Classes(notes=tuple(notes))
    values = [found[name] for name in names]
    whole = all(re.fullmatch(r"-?\d{1,18}", str(value)) for value in values)
    distinct, numbers = np.unique([int(value) if whole else str(value) for value in values], return_inverse=True)
    classes = tuple(printable(str(value)) for value in distinct)
    note = f"{_count(classes)}, as {_some(used)} says: {_some(classes)}"
    return Classes(numbers.astype(np.int32), classes, (note, *notes))


def is_list(file: File) -> bool:
    """Whether a file lists the labels of pictures."""
    return file.name.split("/")[-1] in _LISTS


def _by_folder(names: Sequence[str]) -> Classes:
    tops = _tops(names)
    folders = list(dict.fromkeys(tops))  # in the order of the names
    if not folders:
        return Classes()
    last = [folder.split("/")[-1] for folder in folders]
    if _are_numbered(names, tops):
        return Classes(
            notes=(f"the {len(folders):,} folders {_some(last)} number one set of pictures, and are no classes",)
        )
    numbers = {folder: i for i, folder in enumerate(folders)}
    classes = tuple(map(printable, last))
    notes = (f"{_count(classes)}, one for each folder: {_some(classes)}",)
    return Classes(np.array([numbers[top] for top in tops], np.int32), classes, notes)


def _tops(names: Sequence[str]) -> list[str]:
    """The folder at the top, below those that all share, of each picture; none if a picture is in none."""
    folders = [name.split("/")[:-1] for name in names]
    shared = len(os.path.commonprefix(folders))  # pyright: ignore[reportCallIssue, reportArgumentType]
    return ["/".join(parts[: shared + 1]) for parts in folders] if all(len(parts) > shared for parts in folders) else []


def _are_numbered(names: Sequence[str], tops: Sequence[str]) -> bool:
    """Whether folders named by numbers of one length hold pictures whose numbers go on from folder to folder."""
    folders = [top.split("/")[-1] for top in tops]
    length = len(folders[0])
    if length < _LEAST_DIGITS or not all(folder.isdigit() and len(folder) == length for folder in folders):
        return False
    stems = [re.findall(r"\d+", PurePosixPath(name).stem) for name in names]
    if not all(stems):
        return False
    numbers = [(int(folder), int(stem[-1])) for folder, stem in zip(folders, stems, strict=True)]
    in_order = sorted(numbers)
    return all(before[1] < after[1] for before, after in zip(in_order, in_order[1:], strict=False))


def _count(classes: Sequence[str]) -> str:
    return f"{len(classes):,} classes" if len(classes) != 1 else "1 class"


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")


def _read_list(file: File) -> tuple[dict[str, Any] | None, str]:
    """The labels of a list by the name of the picture, or None if it is of another form; and what is wrong with it."""
    name = file.name.split("/")[-1]
    folder = file.name.removesuffix(name)
    try:
        rows = [(picture, label) for picture, label in _LISTS[name](file.read().decode("utf-8-sig"))]
    except Exception as error:  # whatever the parsers, or the file system, raise
        return None, f"lists no labels ({first_line(error)})"
    labels = {
        folder + str(picture).removeprefix("./"): label for picture, label in rows if isinstance(label, str | int)
    }
    return labels, "" if labels else "lists no labels, each a number or a word"


def _of_stylegan(text: str) -> Iterator[tuple[str, Any]]:
    """``{"labels": [[name, label], ...]}``, or null or nothing in place of the list."""
    labels = json.loads(text)["labels"] or []
    yield from labels.items() if isinstance(labels, dict) else labels


def _of_csv(text: str) -> Iterator[tuple[str, Any]]:
    """Rows with the columns ``file_name`` and ``label``."""
    for row in csv.DictReader(io.StringIO(text)):
        yield row["file_name"], row.get("label")


def _of_jsonl(text: str) -> Iterator[tuple[str, Any]]:
    """A JSON object in each line, with the same names."""
    for line in filter(str.strip, text.splitlines()):
        row = json.loads(line)
        yield row["file_name"], row.get("label")


_LISTS: dict[str, Callable[[str], Iterator[tuple[str, Any]]]] = {
    "dataset.json": _of_stylegan,
    "metadata.csv": _of_csv,
    "metadata.jsonl": _of_jsonl,
}
