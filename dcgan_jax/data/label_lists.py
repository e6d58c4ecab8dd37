"""Files that list the labels of pictures, in the formats of several programs."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.members import File
from dcgan_jax.data.picture_files import SUFFIXES

# Columns of file names.
_FILES = ("file_name", "filename", "file", "image", "image_name", "image_path", "path", "name", "image_id", "id")


def is_list(file: File) -> bool:
    """Whether a file lists the labels of pictures, by its name."""
    return file.name.split("/")[-1] in _LISTS


def read_list(file: File, pictures: Sequence[str]) -> tuple[dict[str, str], bool, str]:
    """The labels in a list, by picture.

    A picture may be listed without its suffix and its first folders, if it is then the only one of that name.

    Args:
      file: the list; its names are relative to its folder.
      pictures: the paths of all pictures.

    Returns:
      The labels of the pictures that are listed, whether there are any labels, of whichever pictures, and what is wrong
      with the list or was assumed; empty if nothing is.
    """
    name = file.name.split("/")[-1]
    folder = file.name.removesuffix(name)
    try:
        rows = [(str(picture), _as_text(label)) for picture, label in _LISTS[name](file.read().decode("utf-8-sig"))]
    except Exception:  # whatever the parsers or the file system raise
        return {}, False, f"lists no labels, as {_FORMS[name]} would"
    given = {picture.removeprefix("./").replace("\\", "/"): label for picture, label in rows if label}
    if not given:
        return {}, False, "lists no labels, each a number or a word"
    inside = [each.removeprefix(folder) for each in pictures if each.startswith(folder)]
    listed = _listed(inside, given)
    short = any(each not in given for each in listed)
    problem = "names pictures without their folder or suffix: each is the only one of its name" if short else ""
    return {folder + each: given[name] for each, name in listed.items()}, True, problem


def _listed(pictures: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The name by which each picture is listed, of those that are."""
    counts = Counter(name for picture in pictures for name in _names(picture))
    found = {
        picture: next((each for each in _names(picture) if each in given and counts[each] == 1), None)
        for picture in pictures
    }
    exact = {picture: picture for picture in pictures if picture in given}
    return {picture: name for picture, name in found.items() if name is not None} | exact


def _names(picture: str) -> list[str]:
    """The names under which a picture may be listed: its path, without the first folders, and without the suffix."""
    parts = picture.split("/")
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    return list(dict.fromkeys(name for tail in tails for name in (tail, os.path.splitext(tail)[0])))


def _as_text(label: object) -> str:
    """A label as text; empty if it is neither an integer nor text."""
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


def _of_csv(text: str) -> Iterator[tuple[str, Any]]:
    """Rows of file names and labels: columns with usual names, or any two columns, with or without a header."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    names = [name.strip().lower() for name in rows[0]]
    picture = next((names.index(name) for name in _FILES if name in names), None)
    label = next((names.index(name) for name in USUAL_LABELS if name in names), None)
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
_FORMS = {
    "dataset.json": '{"labels": [["a.png", 1], ...]}',
    "labels.csv": "the columns filename and label, with commas,",
    "metadata.csv": "the columns file_name and label, with commas,",
    "metadata.jsonl": '{"file_name": "a.png", "label": 1} in each line',
}
