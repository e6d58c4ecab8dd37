"""Classes of pictures by their folders or by lists of labels, and checks for folders that are not classes."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.label_lists import is_list, lists_of_all, read_list
from dcgan_jax.data.labels import number_texts
from dcgan_jax.data.members import File, printable, some

_SPLITS = (
    *("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "unlabeled"),
    "unlabelled",
)
_TRAIN = ("train", "training")
# Data sets add to these words: trainA, train2017, train_images, and before them, as in DIV2K_train_HR.
_ADDED = r"(?:[_\-. ]?(?:[a-z]|\d+|hr|lr|images|imgs|set|data|split))?"
SPLIT_FOLDER = re.compile(rf"(.*[_\-. ])?({'|'.join(_SPLITS)}){_ADDED}")
# Words in names of masks and other per-pixel annotations of pictures.
_MAPS = {
    *("mask", "masks", "label", "labels", "labelids", "labelstr", "labelsts", "annotation", "annotations"),
    *("anno", "gt", "gtfine", "groundtruth", "ground_truth", "truth", "trimap", "trimaps", "seg"),
    *("segmentation", "segmentations", "segmentationclass", "segmentationobject", "semantic", "manual"),
    *("manual1", "lesion", "target", "targets", "depth", "output", "outputs", "matte", "alpha", "maskcrop"),
    "depthcrop",
}
# Those that also name classes, such as lesion beside healthy, or alpha beside beta.
_UNSURE = {"label", "truth", "manual", "lesion", "target", "targets", "depth", "output", "outputs", "alpha"}
_LEAST_MAPS = 0.1  # share of the pictures; fewer may be a coincidence
_PICTURES = {
    *("image", "images", "img", "imgs", "im", "jpegimages", "photos", "pictures", "inputs", "input", "frames"),
    *("rgb", "original", "original_images", "imagestr", "imagests", "png", "jpg", "leftimg8bit"),
}
_LEAST_DIGITS = 4  # of folder names that number the parts of one set


class Classes(NamedTuple):
    """The class number of each picture, int32 [N] or None, the names of the classes, and notes."""

    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_folders(path: Path, names: Sequence[str]) -> None:
    """Check that sibling folders at every depth can be classes, and that no pictures are masks of others.

    Raises:
      DatasetError: if sibling folders are splits, or pictures and their masks, or pictures lie beside their masks.
    """
    _check_maps(path, names)
    inside: dict[str, dict[str, set[str]]] = {}
    for name in names:
        *parts, file = name.split("/")
        for depth, part in enumerate(parts):
            inside.setdefault("/".join(parts[:depth]), {}).setdefault(part, set()).add(file)
    for parent, folders in inside.items():
        what, one = _not_classes(folders)
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
    """Raises: DatasetError if pictures lie beside their masks, such as a_mask.png or mask_a.png beside a.png."""
    words = {name: _words(PurePosixPath(name).stem) for name in names}
    is_map = {name: _without_maps(each) != each for name, each in words.items()}
    bases = {(_folder(name), base): name for name, each in words.items() if not is_map[name] for base in _bases(each)}
    keys = {name: (_folder(name), _without_maps(words[name])) for name in names if is_map[name]}
    maps = {name: bases[key] for name, key in keys.items() if key in bases}
    if len(maps) > 1 and len(maps) >= _LEAST_MAPS * len(names):
        one, of = (printable(name) for name in next(iter(maps.items())))
        raise DatasetError(
            f"{len(maps):,} of the {len(names):,} pictures in {path} belong to others by their names, such as {one} to "
            f"{of}: move them out of the folder"
        )


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _bases(words: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The words of a picture's name without the first or the last one, and all of them."""
    return words[1:], words[:-1], words


def _words(name: str) -> tuple[str, ...]:
    """The words of the name of a file or folder, in lower case."""
    return tuple(filter(None, re.split(r"[_\-. ]+", name.lower())))


def _without_maps(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words without those at either end of the name that mark a mask; at least one word stays."""
    while len(words) > 1 and words[-1] in _MAPS:
        words = words[:-1]
    while len(words) > 1 and words[0] in _MAPS:
        words = words[1:]
    return words


def _not_classes(inside: Mapping[str, set[str]]) -> tuple[str, str]:
    """What sibling folders are if not classes, and which one to load instead; empty strings if they may be classes.

    Args:
      inside: the names of the files in each folder, by its name.
    """
    splits = {folder: found for folder in inside if (found := SPLIT_FOLDER.fullmatch(folder.lower()))}
    several = len({found[2] for found in splits.values()}) > 1
    # Such as trainA and trainB, but not steam_train and express_train.
    parts = len(splits) > 1 and len(splits) == len(inside) and not any(found[1] for found in splits.values())
    if several or parts:
        return "splits or parts of a data set", min(splits, key=lambda folder: splits[folder][2] not in _TRAIN)
    words = {folder: {*_words(folder), folder.lower().replace(" ", "_")} for folder in inside}
    maps = [folder for folder in inside if words[folder] & _MAPS]
    pictures = [folder for folder in inside if folder not in maps]
    named = [folder for folder in pictures if _PICTURES & words[folder]]
    bases = {_words(folder) for folder in pictures}
    sure = [each for each in maps if words[each] & (_MAPS - _UNSURE) or _without_maps(_words(each)) in bases]
    paired = all(any(_are_paired(inside[folder], inside[each]) for each in sure) for folder in pictures)
    if maps and len(pictures) in (1, 2) and (paired or named == pictures):
        return "pictures and what belongs to each of them", pictures[0]
    return "", ""


def _are_paired(pictures: set[str], maps: set[str]) -> bool:
    """Whether at least half of the maps are named like the pictures, apart from words such as mask."""
    stems, of = ({_without_maps(_words(PurePosixPath(name).stem)) for name in names} for names in (pictures, maps))
    return len(maps) > 1 and 2 * len(stems & of) >= len(of)


def find_lists(names: Sequence[str], files: Sequence[File]) -> tuple[File, ...]:
    """The files that list labels of pictures: those of known names, or else those of `lists_of_all`.

    The latter are not needed where folders are classes.
    """
    known = tuple(file for file in files if is_list(file))
    return known if known or not names or _by_folder(names).names else lists_of_all(files, names)


def classes_of(names: Sequence[str], lists: Sequence[File]) -> Classes:
    """The classes of pictures, from lists of labels or from folders.

    A list is a ``dataset.json`` (StyleGAN), ``metadata.csv`` or ``metadata.jsonl`` (Hugging Face), or ``labels.csv``,
    or another CSV file with a label for each picture, such as Kaggle's ``trainLabels.csv``. Without one, the top-level
    folders are the classes, if there are several and every picture is in one.

    Args:
      names: the paths of the pictures, with slashes.
      lists: the files of `find_lists`; those in another form are ignored, with a note.
    """
    found: dict[str, str] = {}
    used, notes = [], []
    for file in lists:
        read = read_list(file, names)
        notes += [f"{printable(file.name)} {read.problem}"] if read.problem else []
        if read.any_labels:
            found |= read.labels
            used.append(file.name)
    if not used:
        by_folder = _by_folder(names)
        return by_folder._replace(notes=(*by_folder.notes, *notes))
    classes = listed_classes(names, found, some(used), "says" if len(used) == 1 else "say")
    return classes._replace(notes=(*classes.notes, *notes) if classes.names else (*notes, *classes.notes))


def listed_classes(names: Sequence[str], found: Mapping[str, str], where: str, say: str = "says") -> Classes:
    """The classes of pictures by their labels, if each has one; ``where`` and ``say`` are for the note."""
    missing = sum(name not in found for name in names)
    if missing:
        return Classes(notes=(f"{where}: labels of {len(names) - missing:,} of {len(names):,} pictures: none is used",))
    numbers, distinct = number_texts([found[name] for name in names])
    classes = tuple(map(printable, distinct))
    return Classes(numbers, classes, (f"{_count(classes)}, as {where} {say}: {some(classes)}",))


def _by_folder(names: Sequence[str]) -> Classes:
    tops = _tops(names)
    folders = list(dict.fromkeys(tops))  # in the order of the names
    if not folders:
        return Classes(notes=_stray(names))
    last = [folder.split("/")[-1] for folder in folders]
    if _are_numbered(names, tops):
        return Classes(
            notes=(f"the {len(folders):,} folders {some(last)} number one set of pictures, and are no classes",)
        )
    numbers = {folder: i for i, folder in enumerate(folders)}
    classes = tuple(map(printable, last))
    notes = (f"{_count(classes)}, one for each folder: {some(classes)}",)
    return Classes(np.array([numbers[top] for top in tops], np.int32), classes, notes)


def _stray(names: Sequence[str]) -> tuple[str, ...]:
    """A note if pictures lie beside several folders, which are then not classes; else ()."""
    depth = min(name.count("/") for name in names)
    beside = [name for name in names if name.count("/") == depth]
    if len({name.split("/")[depth] for name in names if name.count("/") > depth}) < 2:
        return ()
    which = "picture is" if len(beside) == 1 else "pictures are"
    return (f"folders are no classes: {len(beside):,} {which} in none of them, {some(beside)}",)


def _tops(names: Sequence[str]) -> list[str]:
    """The top-level folder of each picture, below those that all share; empty if a picture is in none."""
    folders = [name.split("/")[:-1] for name in names]
    shared = len(os.path.commonprefix(folders))  # pyright: ignore[reportCallIssue, reportArgumentType]
    return ["/".join(parts[: shared + 1]) for parts in folders] if all(len(parts) > shared for parts in folders) else []


def _are_numbered(names: Sequence[str], tops: Sequence[str]) -> bool:
    """Whether all folders are named by numbers of one length, and picture numbers increase from folder to folder."""
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
