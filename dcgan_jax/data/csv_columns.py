"""Which columns of a CSV file hold pixels, labels and splits, by their names or their number."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from dcgan_jax.data.common import DatasetError, Reading
from dcgan_jax.data.labels import USUAL_LABELS
from dcgan_jax.data.members import printable, some

_SPLITS = ("usage", "split", "subset")  # names of columns that give the split of each row
# Names of columns that number the rows or name files; an index of pandas has none, which it reads as Unnamed: 0.
_IDS = re.compile(r"|(image)?[_ ]?(id|index)|file[_ ]?name|unnamed: \d+[.\d]*", re.IGNORECASE)
_LEAST_SIDE = 4
_LEAST_ROW = 16  # least length of a row of pixels
_NAMED = 5  # columns listed in a message


class Column(NamedTuple):
    """A column's name and what its rows hold: numbers, texts of pixels, other text, or nothing."""

    name: str
    kind: Literal["number", "pixels", "text", "empty"]


# What a column's values may be: row numbers, others that are all different, class numbers, or anything else.
Values = Literal["index", "different", "classes", "any"]


class Columns(NamedTuple):
    """The indices of the columns to read, and notes on the choice.

    Attributes:
      pixels: one column of texts, or one column for each value of an image.
      labels: the column of labels, or None.
      split: the column of splits, or None.
      notes: one line each.
    """

    pixels: tuple[int, ...]
    labels: int | None
    split: int | None
    notes: tuple[str, ...] = ()


def has_header(fields: Sequence[str]) -> bool:
    """Whether the first row holds column names: words, consecutive numbers, or a row of pixels that pandas renamed."""
    numbers = [field for field in fields if is_number(field)]
    if any(is_list_of_numbers(field) for field in fields):
        return False
    if len(numbers) >= _LEAST_ROW:
        return _are_consecutive(numbers) or _are_renamed(fields)
    return len(numbers) < len(fields)


def _are_consecutive(numbers: Sequence[str]) -> bool:
    return all(float(b) - float(a) == 1 for a, b in zip(numbers, numbers[1:], strict=False))


def _are_renamed(fields: Sequence[str]) -> bool:
    """Whether pandas made repeated numbers distinct, 0, 0.1, 0.2, ...: it took a row of pixels for a header."""
    counts: Counter[str] = Counter()
    renamed, first = [], []
    for field in fields:
        number, _, repetition = field.rpartition(".")
        again = number in counts and repetition == str(counts[number])
        counts[number if again else field] += 1
        (renamed if again else first).append(field)
    # Whole numbers become 0.1, which floating point pixels may be too, and others 0.0.1, which is no number.
    whole = all(field.isdigit() for field in first if is_number(field))
    sure = whole or any(is_number(field.rpartition(".")[0]) and not is_number(field) for field in renamed)
    return bool(renamed) and sure and len(set(fields)) == len(fields)


def is_number(text: str) -> bool:
    """Whether a text is one number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_list_of_numbers(text: str) -> bool:
    """Whether a text is a row of pixels: at least `_LEAST_ROW` numbers separated by spaces."""
    words = text.split()
    return len(words) >= _LEAST_ROW and all(map(is_number, words[:_LEAST_ROW]))


def channels_of(count: int) -> int:
    """The channels, 1 or 3, of a square image of ``count`` values, or 0 if there is none; no count fits both."""
    sides = {c: math.isqrt(max(count, 0) // c) for c in (1, 3)}
    return next((c for c, side in sides.items() if side >= _LEAST_SIDE and side * side * c == count), 0)


def choose_columns(
    path: Path, columns: Sequence[Column], reading: Reading, values_of: Callable[[int], Values]
) -> Columns:
    """Choose the columns of pixels, labels and splits.

    The pixels are the only column of texts of numbers, or else all numeric columns with a digit in their names, or all
    numeric columns if fewer than 16 have one. The labels are the column with a name in `USUAL_LABELS`, the only other
    one, or the first or the last of the numeric ones if these are one more than a square image has; but not one that is
    named as an index or file names are, or whose values are all different, unless it has a usual or the given name.

    Args:
      path: the file, for messages.
      columns: all its columns.
      reading: its ``images`` and ``labels`` are names of columns.
      values_of: what the values of a column, by index, may be.

    Raises:
      DatasetError: if the pixels are not those of square images, or the choice is ambiguous.
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
        pixels, labels, notes = _number_columns(path, columns, labels, values_of)
    others = [i for i, column in enumerate(columns) if column.kind != "empty" and i not in (*pixels, labels, split)]
    classes = [i for i in others if not _is_id(columns[i]) and values_of(i) in ("classes", "any")]
    if labels is None and len(classes) == 1:
        labels, others = classes[0], [i for i in others if i != classes[0]]
        notes += (f"classes are those of the column {printable(names[labels])}",)
    unused = [printable(names[i]) or f"number {i + 1}" for i in others]
    if unused:
        notes += (f"columns that are not used: {_some(unused)} (`labels=NAME` takes one for the classes)",)
    return Columns(pixels, labels, split, notes)


def _is_id(column: Column) -> bool:
    return bool(_IDS.fullmatch(column.name))


def _place(path: Path, names: Sequence[str], flag: str, name: str | None) -> int | None:
    """The index of the column that is given by name, or None. Raises: DatasetError if there is no such column."""
    if name is not None and name not in names:
        there = _some(filter(None, names))
        raise DatasetError(f"{path} has no column {name} for `{flag}`: it has {there}")
    return None if name is None else names.index(name)


def _text_column(path: Path, columns: Sequence[Column], texts: Sequence[int], given: int | None) -> int:
    """The index of the text column of pixels. Raises: DatasetError if ``given`` is not one, or it is ambiguous."""
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
    path: Path, columns: Sequence[Column], labels: int | None, values_of: Callable[[int], Values]
) -> tuple[tuple[int, ...], int | None, tuple[str, ...]]:
    """The indices of pixels and labels, and a note if the labels are inferred by position. Raises: DatasetError."""
    numbers = [i for i, each in enumerate(columns) if each.kind == "number" and i != labels and not _is_id(each)]
    numbered = [i for i in numbers if any(character.isdigit() for character in columns[i].name)]
    pixels = tuple(numbered if len(numbered) >= _LEAST_ROW else numbers)
    count, unnamed = len(pixels), all(is_number(column.name) for column in columns)
    whole, one_less = channels_of(count), labels is None and channels_of(count - 1)
    if whole and not (one_less and unnamed):
        return pixels, labels, ()
    if count < _LEAST_ROW:
        there = _some(column.name for column in columns)
        raise DatasetError(f"{path} has no rows of pixels: its columns are {there}, and {count} of them have numbers")
    if not one_less:
        raise DatasetError(
            f"{path} has {count:,} columns of numbers, which are no square images, grey or in colours, with or without "
            "a label: correct its rows, or save others as an array [N, H, W, C] in an .npy"
        )
    first, last = columns[pixels[0]].name, columns[pixels[-1]].name
    values = {i: values_of(i) for i in (pixels[0], pixels[-1])}
    ends = [i for i, each in values.items() if each in ("classes", "index")]
    if whole or len(ends) != 1:
        kinds = f"{count:,} pixels, or {count - 1:,} and a label" if whole else f"{count - 1:,} pixels and a label"
        raise DatasetError(
            f"{path} has {count:,} columns, which may be {kinds}, the first or the last: `labels={first}` or "
            f"`labels={last}` says which, or a name such as label in its first row"
        )
    where, other = ("first", last) if ends[0] == pixels[0] else ("last", first)
    rest = tuple(i for i in pixels if i != ends[0])
    if values[ends[0]] == "index":
        name = columns[ends[0]].name
        return rest, None, (f"the {where} of {count:,} columns taken for row numbers; `labels={name}` says otherwise",)
    note = f"the {where} of {count:,} columns taken for the labels; `labels={other}` says otherwise"
    return rest, ends[0], (note,)


def _some(names: Iterable[str]) -> str:
    return some((name[:40] for name in names), _NAMED)
