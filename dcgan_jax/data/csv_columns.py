"""Which columns of a CSV file are pixels, labels and splits: by their names, or by how many they are."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from dcgan_jax.data.common import DatasetError, Reading
from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.members import printable

_SPLITS = ("usage", "split", "subset")  # names of columns that say which split a row is of
_LEAST_SIDE = 4
_LEAST_ROW = 16  # numbers of a row of pixels
_NAMED = 5  # columns that are named


class Column(NamedTuple):
    """A column's name and what it has in each row: a number, a text of numbers, another text, or nothing."""

    name: str
    kind: Literal["number", "pixels", "text", "empty"]


class Columns(NamedTuple):
    """The places of the columns that are read, and what is said of the choice.

    Attributes:
      pixels: one of texts, or as many of numbers as an image has.
      labels: that of the labels, if there is one.
      split: that of the splits, if there is one.
      notes: a line each.
    """

    pixels: tuple[int, ...]
    labels: int | None
    split: int | None
    notes: tuple[str, ...] = ()


def has_header(fields: Sequence[str]) -> bool:
    """Whether a first row has the names of the columns: words, or numbers that count them."""
    numbers = [field for field in fields if is_number(field)]
    if any(is_list_of_numbers(field) for field in fields):
        return False
    if len(numbers) >= _LEAST_ROW:
        return all(float(b) - float(a) == 1 for a, b in zip(numbers, numbers[1:], strict=False))
    return len(numbers) < len(fields)


def is_number(text: str) -> bool:
    """Whether a text is one number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_list_of_numbers(text: str) -> bool:
    """Whether a text is a row of pixels: numbers with spaces between them."""
    words = text.split()
    return len(words) >= _LEAST_ROW and all(map(is_number, words[:_LEAST_ROW]))


def channels_of(count: int) -> int:
    """The channels of a square image of so many numbers, 1 or 3, or 0 if there is none: no number is of both."""
    sides = {c: math.isqrt(max(count, 0) // c) for c in (1, 3)}
    return next((c for c, side in sides.items() if side >= _LEAST_SIDE and side * side * c == count), 0)


def choose_columns(
    path: Path, columns: Sequence[Column], reading: Reading, may_be_labels: Callable[[int], bool]
) -> Columns:
    """Which columns are pixels, labels and splits.

    Pixels are the only column of texts of numbers, or else all columns of numbers whose names have a number in them, or
    all where there are no names; labels the column with a usual name of `USUAL_LABELS`, the only other one, or the
    first or the last if one column is left over.

    Args:
      path: whose columns they are, for messages.
      columns: all of them.
      reading: its ``images`` and ``labels`` are names of columns.
      may_be_labels: whether the numbers in a column may be those of classes.

    Raises:
      DatasetError: if they are no square images, or it cannot be told.
    """
    names = [column.name for column in columns]
    given = {flag: _place(path, names, flag, getattr(reading, flag)) for flag in ("images", "labels")}
    usual = [i for name in USUAL_LABELS for i, each in enumerate(names) if each.lower() == name]
    labels = given["labels"] if given["labels"] is not None else next(iter(usual), None)
    texts = [i for i, column in enumerate(columns) if column.kind == "pixels"]
    split = next((i for i, each in enumerate(columns) if each.kind == "text" and each.name.lower() in _SPLITS), None)
    notes = ()
    if texts or given["images"] is not None:
        pixels = (_text_column(path, columns, texts, given["images"]),)
    else:
        pixels, labels, notes = _number_columns(path, columns, labels, may_be_labels)
    others = [i for i, column in enumerate(columns) if column.kind != "empty" and i not in (*pixels, labels, split)]
    if labels is None and len(others) == 1 and names[others[0]]:
        labels, others = others[0], []
        notes += (f"classes are those of the column {printable(names[labels])}",)
    unused = [printable(names[i]) or f"number {i + 1}" for i in others]
    if unused:
        notes += (f"columns that are not used: {_some(unused)} (`labels=NAME` takes one for the classes)",)
    return Columns(pixels, labels, split, notes)


def _place(path: Path, names: Sequence[str], flag: str, name: str | None) -> int | None:
    """The place of a column that is asked for. Raises: DatasetError if there is none."""
    if name is not None and name not in names:
        there = _some([printable(each) for each in names if each])
        raise DatasetError(f"{path} has no column {name} for `{flag}`: it has {there}")
    return None if name is None else names.index(name)


def _text_column(path: Path, columns: Sequence[Column], texts: Sequence[int], given: int | None) -> int:
    """The place of the texts that are pixels. Raises: DatasetError if it is none, or cannot be told."""
    if given is not None and given not in texts:
        raise DatasetError(
            f"{columns[given].name} in {path} has no lists of pixels, numbers with spaces between them; pixels in "
            "columns of their own need no name"
        )
    if given is None and len(texts) > 1:
        names = [printable(columns[i].name) for i in texts]
        raise DatasetError(
            f"{path} has {len(texts)} columns that may be the images, {_some(names)}: choose one with "
            f"`images={names[0]}`"
        )
    return texts[0] if given is None else given


def _number_columns(
    path: Path, columns: Sequence[Column], labels: int | None, may_be_labels: Callable[[int], bool]
) -> tuple[tuple[int, ...], int | None, tuple[str, ...]]:
    """The places of the pixels and of the labels, and a note if these are told by their place. Raises: DatasetError."""
    numbers = [i for i, column in enumerate(columns) if column.kind == "number" and i != labels]
    numbered = [i for i in numbers if any(character.isdigit() for character in columns[i].name)]
    pixels = tuple(numbered if len(numbered) >= _LEAST_ROW else numbers)
    count, unnamed = len(pixels), all(column.name.isdigit() for column in columns)
    whole, one_less = channels_of(count), labels is None and channels_of(count - 1)
    if whole and not (one_less and unnamed):
        return pixels, labels, ()
    if count < _LEAST_ROW:
        there = _some([printable(column.name) for column in columns])
        raise DatasetError(f"{path} has no rows of pixels: its columns are {there}, and {count} of them have numbers")
    if not one_less:
        raise DatasetError(
            f"{path} has {count:,} columns of numbers, which are no square images, grey or in colours, with or without "
            "a label: correct its rows, or save others as an array [N, H, W, C] in an .npy"
        )
    first, last = columns[pixels[0]].name, columns[pixels[-1]].name
    ends = [i for i in (pixels[0], pixels[-1]) if may_be_labels(i)]
    if whole or len(ends) != 1:
        kinds = f"{count:,} pixels, or {count - 1:,} and a label" if whole else f"{count - 1:,} pixels and a label"
        raise DatasetError(
            f"{path} has {count:,} columns, which may be {kinds}, the first or the last: `labels={first}` or "
            f"`labels={last}` says which, or a name such as label in its first row"
        )
    where, other = ("first", last) if ends[0] == pixels[0] else ("last", first)
    note = f"the {where} of {count:,} columns taken for the labels; `labels={other}` says otherwise"
    return tuple(i for i in pixels if i != ends[0]), ends[0], (note,)


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
