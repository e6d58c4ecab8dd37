"""Files that list the labels of pictures, in the formats of several programs."""

import csv
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.members import File
from dcgan_jax.data.picture_files import SUFFIXES

# Columns of file names.
_FILES = ("file_name", "filename", "file", "image", "image_name", "image_path", "path", "name", "image_id", "id")
_DECIMAL = re.compile(r"-?\d+\.\d*")
_MOST_NAMED = 1.1  # names in a list of any name for each picture that is there


def is_list(file: File) -> bool:
    """Whether a file lists the labels of pictures, by its name."""
    return file.name.split("/")[-1] in _LISTS


def lists_of_all(files: Sequence[File], pictures: Sequence[str]) -> tuple[File, ...]:
    """The CSV files of any other name, such as ``trainLabels.csv``, that list the label of each picture.

    Both columns must have usual names. One that names pictures in short, and others too, may be that of another split.
    """
    tables = [file for file in files if file.suffix == ".csv" and not is_list(file)]
    read = {file: read_list(file, pictures) for file in tables}
    return tuple(file for file, each in read.items() if len(each.labels) == len(pictures) and not each.of_others)


class Labels(NamedTuple):
    """What a list says.

    Attributes:
      labels: the labels of the pictures that are listed.
      any_labels: whether there are any labels, of whichever pictures.
      problem: what is wrong with the list or was assumed; empty if nothing is.
      of_others: whether it names pictures in short, and many that are not there.
    """

    labels: dict[str, str]
    any_labels: bool = False
    problem: str = ""
    of_others: bool = False


def read_list(file: File, pictures: Sequence[str]) -> Labels:
    """The labels in a list, by picture.

    A picture may be listed without its suffix and its first folders, if it is then the only one of that name.

    Args:
      file: the list; its names are relative to its folder.
      pictures: the paths of all pictures.
    """
    name = file.name.split("/")[-1]
    folder = file.name.removesuffix(name)
    parse = _LISTS.get(name, _of_table)
    try:
        rows = [(str(picture), _as_text(label)) for picture, label in parse(file.read().decode("utf-8-sig"))]
    except Exception:  # whatever the parsers or the file system raise
        return Labels({}, problem=f"lists no labels, as {_FORMS.get(name, _TABLE)} would")
    given = {_composed(picture.removeprefix("./").replace("\\", "/")): label for picture, label in rows if label}
    if not given:
        return Labels({}, problem="lists no labels, each an integer or a word")
    inside = [each.removeprefix(folder) for each in pictures if each.startswith(folder)]
    listed = _listed(inside, given)
    short = any(_composed(each) not in given for each in listed)
    problem = "names pictures without their folder or suffix: each is the only one of its name" if short else ""
    others = short and len(given) > _MOST_NAMED * len(pictures)
    return Labels({folder + each: given[name] for each, name in listed.items()}, True, problem, others)


def _listed(pictures: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The name by which each picture is listed, of those that are."""
    counts = Counter(name for picture in pictures for name in _names(picture))
    found = {
        picture: next((each for each in _names(picture) if each in given and counts[each] == 1), None)
        for picture in pictures
    }
    exact = {picture: _composed(picture) for picture in pictures if _composed(picture) in given}
    return {picture: name for picture, name in found.items() if name is not None} | exact


def _names(picture: str) -> list[str]:
    """The names under which a picture may be listed: its path, without the first folders, and without the suffix."""
    parts = _composed(picture).split("/")
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    return list(dict.fromkeys(name for tail in tails for name in (tail, os.path.splitext(tail)[0])))


def _composed(name: str) -> str:
    """A name whose accents and syllables are single characters; file systems of Macs decompose them."""
    return unicodedata.normalize("NFC", name)


def _as_text(label: object) -> str:
    """A label as text; empty if it is neither an integer, such as 7 or 7.0, nor text."""
    if isinstance(label, str) and _DECIMAL.fullmatch(label.strip()):
        label = float(label)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip() if isinstance(label, str | int) else ""


def _of_stylegan(text: str) -> Iterator[tuple[str, Any]]:
    """``{"labels": [[name, label], ...]}``; the list may also be an object, empty or null."""
    labels = json.loads(text)["labels"] or []
    yield from labels.items() if isinstance(labels, dict) else labels


def _of_metadata(text: str) -> Iterator[tuple[str, Any]]:
    """Rows with the column ``file_name`` and one of the usual columns of labels."""
    for row in csv.DictReader(io.StringIO(text)):
        yield row["file_name"], _usual_label(row)


def _of_jsonl(text: str) -> Iterator[tuple[str, Any]]:
    """A JSON object in each line, with the key ``file_name`` and one of the usual keys of labels."""
    for line in filter(str.strip, text.splitlines()):
        row = json.loads(line)
        yield row["file_name"], _usual_label(row)


def _usual_label(row: Mapping[str, Any]) -> Any:
    """The value of the likeliest name of labels, or None if there is none."""
    named = {str(name).strip().lower(): value for name, value in row.items()}
    return next((named[name] for name in USUAL_LABELS if name in named), None)


def _of_table(text: str) -> Iterator[tuple[str, Any]]:
    """Rows with columns of usual names for files and labels."""
    rows = csv.reader(io.StringIO(text))
    picture, label = _usual_columns(next(rows))
    if picture is None or label is None:
        raise ValueError("which column is which is not said")
    yield from ((row[picture], row[label]) for row in rows if row)


def _usual_columns(header: Sequence[str]) -> tuple[int | None, int | None]:
    """The columns of file names and of labels with the likeliest usual names, or None for each without one."""
    names = [name.strip().lower() for name in header]
    picture = next((names.index(name) for name in _FILES if name in names), None)
    return picture, next((names.index(name) for name in USUAL_LABELS if name in names), None)


def _of_csv(text: str) -> Iterator[tuple[str, Any]]:
    """Rows of file names and labels: columns with usual names, or any two columns, with or without a header."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    names = [name.strip().lower() for name in rows[0]]
    picture, label = _usual_columns(names)
    known = picture is not None or label is not None
    if len(names) == 2:
        picture = picture if picture is not None else 0 if label is None else 1 - label
        label = 1 - picture
    if picture is None or label is None:
        raise ValueError("which column is which is not said")
    named = known and not names[picture].endswith(SUFFIXES)  # unknown ones name no picture, so they do no harm
    for row in rows[named:]:
        yield row[picture], row[label]


_LISTS: dict[str, Callable[[str], Iterator[tuple[str, Any]]]] = {
    "dataset.json": _of_stylegan,
    "labels.csv": _of_csv,
    "metadata.csv": _of_metadata,
    "metadata.jsonl": _of_jsonl,
}
_TABLE = "the columns filename and label, with commas,"
_FORMS = {
    "dataset.json": '{"labels": [["a.png", 1], ...]}',
    "labels.csv": _TABLE,
    "metadata.csv": "the columns file_name and label, with commas,",
    "metadata.jsonl": '{"file_name": "a.png", "label": 1} in each line',
}
