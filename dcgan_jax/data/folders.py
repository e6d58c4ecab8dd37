"""What folders, and lists of labels beside pictures, say: classes, parts of one set, or sets that are no classes."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.label_lists import read_list
from dcgan_jax.data.members import File, printable

_SPLITS = (
    *("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "unlabeled"),
    "unlabelled",
)
_TRAIN = ("train", "training")
# With what data sets add: trainA, train2017, train_images, and before it, as in DIV2K_train_HR.
_ADDED = r"(?:[_\-. ]?(?:[a-z]|\d+|hr|lr|images|imgs|set|data|split))?"
SPLIT_FOLDER = re.compile(rf"(.*[_\-. ])?({'|'.join(_SPLITS)}){_ADDED}")
# Words in names of what belongs to pictures, pixel by pixel.
_MAPS = {
    *("mask", "masks", "label", "labels", "labelids", "labelstr", "labelsts", "annotation", "annotations"),
    *("anno", "gt", "gtfine", "groundtruth", "ground_truth", "truth", "trimap", "trimaps", "seg"),
    *("segmentation", "segmentations", "segmentationclass", "segmentationobject", "semantic", "manual"),
    *("manual1", "lesion", "target", "targets", "depth", "output", "outputs", "matte", "alpha", "maskcrop"),
    "depthcrop",
}
_LEAST_MAPS = 0.1  # share of the pictures; fewer are no habit
_PICTURES = {
    *("image", "images", "img", "imgs", "im", "jpegimages", "photos", "pictures", "inputs", "input", "frames"),
    *("rgb", "original", "original_images", "imagestr", "imagests", "png", "jpg", "leftimg8bit"),
}
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
    """Raises: DatasetError if pictures lie beside their masks, as a_mask.png or mask_a.png beside a.png."""
    words = {name: _words(str(PurePosixPath(name).with_suffix(""))) for name in names}
    is_map = {name: _without_maps(each) != each for name, each in words.items()}
    bases = {base: name for name, each in words.items() if not is_map[name] for base in _bases(each)}
    maps = {name: bases[base] for name in names if is_map[name] and (base := _without_maps(words[name])) in bases}
    if len(maps) > 1 and len(maps) >= _LEAST_MAPS * len(names):
        one, of = (printable(name) for name in next(iter(maps.items())))
        raise DatasetError(
            f"{len(maps):,} of the {len(names):,} pictures in {path} belong to others by their names, such as {one} to "
            f"{of}: move them out of the folder"
        )


def _bases(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of a picture's name, and those without the first or the last one."""
    folders = sum(word.endswith("/") for word in words)
    yield from (words[:folders] + words[folders + 1 :], words[:-1], words)


def _words(name: str) -> tuple[str, ...]:
    """The words of a name in small letters."""
    return tuple(filter(None, re.split(r"[_\-. ]+", name.replace("/", "/ ").lower())))


def _without_maps(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words without those at either end that say that it belongs to a picture; one word stays."""
    folders = tuple(word for word in words if word.endswith("/"))
    words = words[len(folders) :]
    while len(words) > 1 and words[-1] in _MAPS:
        words = words[:-1]
    while len(words) > 1 and words[0] in _MAPS:
        words = words[1:]
    return folders + words


def _not_classes(inside: Mapping[str, set[str]]) -> tuple[str, str]:
    """What folders beside each other are if they are no classes, and the likely one; nothing if they may be.

    Args:
      inside: their names, and those of the files in them.
    """
    splits = {folder: found for folder in inside if (found := SPLIT_FOLDER.fullmatch(folder.lower()))}
    several = len({found[2] for found in splits.values()}) > 1
    # Such as trainA and trainB, and not as steam_train and express_train.
    parts = len(splits) > 1 and len(splits) == len(inside) and not any(found[1] for found in splits.values())
    if several or parts:
        return "splits or parts of a data set", min(splits, key=lambda folder: splits[folder][2] not in _TRAIN)
    maps = [folder for folder in inside if set(_words(folder)) & _MAPS or folder.lower().replace(" ", "_") in _MAPS]
    pictures = [folder for folder in inside if folder not in maps]
    named = [folder for folder in pictures if _PICTURES & set(_words(folder))]
    paired = all(any(_are_paired(inside[folder], inside[each]) for each in maps) for folder in pictures)
    if maps and len(pictures) in (1, 2) and (paired or named == pictures):
        return "pictures and what belongs to each of them", pictures[0]
    return "", ""


def _are_paired(pictures: set[str], maps: set[str]) -> bool:
    """Whether at least half of the maps are named as the pictures are, but for words such as mask."""
    stems, of = ({_without_maps(_words(PurePosixPath(name).stem)) for name in names} for names in (pictures, maps))
    return len(maps) > 1 and 2 * len(stems & of) >= len(of)


def classes_of(names: Sequence[str], lists: Sequence[File]) -> Classes:
    """The classes of pictures.

    They are those of a list, ``dataset.json`` of StyleGAN's data sets, ``metadata.csv`` or ``metadata.jsonl`` of
    Hugging Face's, or ``labels.csv``, or else the folders at the top, if there are several and every picture is in one.

    Args:
      names: of the pictures, with slashes.
      lists: the files of which `is_list` is true; one of another form is not used.
    """
    found: dict[str, str] = {}
    used, notes = [], []
    for file in lists:
        labels, problem = read_list(file)
        notes += [f"{printable(file.name)} {problem}"] if problem else []
        if labels:
            found |= labels
            used.append(file.name)
    if not used:
        by_folder = _by_folder(names)
        return by_folder._replace(notes=(*by_folder.notes, *notes))
    missing = sum(name not in found for name in names)
    if missing:
        said = f"{_some(used)}: labels of {len(names) - missing:,} of {len(names):,} pictures: none is used"
        return Classes(notes=(*notes, said))
    values = [found[name] for name in names]
    whole = all(re.fullmatch(r"-?\d{1,18}", value) for value in values)
    distinct, numbers = np.unique([int(value) if whole else value for value in values], return_inverse=True)
    classes = tuple(printable(str(value)) for value in distinct)
    say = "says" if len(used) == 1 else "say"
    note = f"{_count(classes)}, as {_some(used)} {say}: {_some(classes)}"
    return Classes(numbers.astype(np.int32), classes, (note, *notes))


def _by_folder(names: Sequence[str]) -> Classes:
    tops = _tops(names)
    folders = list(dict.fromkeys(tops))  # in the order of the names
    if not folders:
        return Classes(notes=_stray(names))
    last = [folder.split("/")[-1] for folder in folders]
    if _are_numbered(names, tops):
        return Classes(
            notes=(f"the {len(folders):,} folders {_some(last)} number one set of pictures, and are no classes",)
        )
    numbers = {folder: i for i, folder in enumerate(folders)}
    classes = tuple(map(printable, last))
    notes = (f"{_count(classes)}, one for each folder: {_some(classes)}",)
    return Classes(np.array([numbers[top] for top in tops], np.int32), classes, notes)


def _stray(names: Sequence[str]) -> tuple[str, ...]:
    """A note of pictures without a folder of their own, if there are folders beside them, which then are no classes."""
    depth = min(name.count("/") for name in names)
    beside = [name for name in names if name.count("/") == depth]
    if len({name.split("/")[depth] for name in names if name.count("/") > depth}) < 2:
        return ()
    which = "picture is" if len(beside) == 1 else "pictures are"
    return (f"folders are no classes: {len(beside):,} {which} in none of them, {_some(beside)}",)


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
