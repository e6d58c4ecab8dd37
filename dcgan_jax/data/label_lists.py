"""Files that list the labels of pictures, in the formats of several programs."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.members import File
from dcgan_jax.data.picture_files import SUFFIXES

_FILES = ("file_name", "filename", "file", "image", "path", "name", "image_id", "id")  # columns of file names


def is_list(file: File) -> bool:
    """Whether a file lists the labels of pictures, by its name."""
    return file.name.split("/")[-1] in _LISTS


def read_list(file: File) -> tuple[dict[str, str], str]:
    """The labels in a list, by picture, and what is wrong with the list (empty if nothing is)."""
    name = file.name.split("/")[-1]
    folder = file.name.removesuffix(name)
    try:
        rows = [(picture, label) for picture, label in _LISTS[name](file.read().decode("utf-8-sig"))]
    except Exception:  # whatever the parsers or the file system raise
        return {}, f"lists no labels, as {_FORMS[name]} would"
    given = {folder + str(picture).removeprefix("./"): _as_text(label) for picture, label in rows}
    labels = {picture: label for picture, label in given.items() if label}
    return labels, "" if labels else "lists no labels, each a number or a word"


def _as_text(label: object) -> str:
    """A label as text; empty if it is neither a whole number nor text."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip() if isinstance(label, str | int) else ""


def _of_stylegan(text: str) -> Iterator[tuple[str, Any]]:
    """``{"labels": [[name, label], ...]}``; the list may also be an object, empty or null."""
    labels = json.loads(text)["labels"] or []
    yield from labels.items() if isinstance(labels, dict) else labels


def _of_metadata(text: str) -> Iterator[tuple[str, Any]]:
    """Rows with the columns ``file_name`` and ``label``."""
    for row in csv.DictReader(io.StringIO(text)):
        yield row["file_name"], row.get("label")


def _of_jsonl(text: str) -> Iterator[tuple[str, Any]]:
    """A JSON object in each line, with the keys ``file_name`` and ``label``."""
    for line in filter(str.strip, text.splitlines()):
        row = json.loads(line)
        yield row["file_name"], row.get("label")


def _of_csv(text: str) -> Iterator[tuple[str, Any]]:
    """Rows of file names and labels: columns with usual names, or any two columns, with or without a header."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    names = [name.strip().lower() for name in rows[0]]
    picture = next((names.index(name) for name in _FILES if name in names), 0)
    label = next((names.index(name) for name in USUAL_LABELS if name in names), 1 - picture)
    named = not names[picture].endswith(SUFFIXES)
    if len(names) != 2 and (names[picture] not in _FILES or names[label] not in USUAL_LABELS):
        raise ValueError("which column is which is not said")
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
