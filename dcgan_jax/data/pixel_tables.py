"""Tables of pixels, of CSV and Parquet files: a row for each image, columns of pixels or of text, and a label."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.data.arrays import if_needed, to_dataset
from dcgan_jax.data.arrow_columns import read_labels, stack_lists
from dcgan_jax.data.common import SPLITS, Dataset, DatasetError, LoadOptions, NoSplitError, check_split
from dcgan_jax.data.csv_columns import Column, Columns, Values, channels_of, choose_columns, is_list_of_numbers
from dcgan_jax.data.labels import labelled
from dcgan_jax.data.members import printable
from dcgan_jax.data.shards import split_of
from dcgan_jax.errors import first_line

_USAGES = {"publictest": "validation", "privatetest": "test"}  # FER2013's names of splits
_MOST_CLASSES = 200


def load_table(path: Path, table: Any, options: LoadOptions, beside: Callable[[], Sequence[np.ndarray]]) -> Dataset:
    """The images of a table, and their labels if it has any, in the columns of `choose_columns`.

    Args:
      path: its file, for messages.
      table: the table, of pyarrow.
      options: the split is looked up in a column such as FER2013's ``Usage``; without one all rows are for training.
      beside: reads the pixels of another split's table, for the value range.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if the images are not found or ambiguous.
    """
    try:
        columns = _choose(path, table, options)
        rows, notes = _of_split(path, table, columns, options)
        pixels, table = _pixels(path, table, columns), table.filter(rows)
        labels = None if columns.labels is None or not options.labels else read_labels(table.column(columns.labels))
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # whatever Arrow raises for a damaged file
        raise DatasetError(f"cannot read {path} ({printable(first_line(error))})") from error
    options = options.in_order("NHW") if channels_of(pixels.shape[1]) == 1 else options
    images, others = (pixels, if_needed(pixels, options, beside)) if rows.all() else (pixels[rows], (pixels[~rows],))
    dataset = to_dataset(images, path, options, labels, others)
    notes = (*dataset.notes, *columns.notes, *notes)
    if columns.labels is None or not options.labels:
        return dataset._replace(notes=notes)
    name = printable(table.column_names[columns.labels])
    if labels is None:
        return dataset._replace(notes=(*notes, f"{name} in {path}: some labels are missing: none is used"))
    return labelled(dataset._replace(notes=notes), labels, f"{name} in {path}")


def pixels_of(path: Path, table: Any, options: LoadOptions) -> np.ndarray:
    """The pixels of all images of a table, [N, M]. Raises: as `load_table`, or whatever Arrow raises if damaged."""
    unlabelled = options._replace(reading=options.reading._replace(labels=None))
    return _pixels(path, table, _choose(path, table, unlabelled))


def _choose(path: Path, table: Any, options: LoadOptions) -> Columns:
    return choose_columns(path, _columns(table), options.reading, lambda i: _values(table.column(i)))


def _columns(table: Any) -> list[Column]:
    return [Column(field.name, _kind(table.column(i))) for i, field in enumerate(table.schema)]


def _kind(column: Any) -> Any:
    import pyarrow.types as types

    if types.is_integer(column.type) or types.is_floating(column.type):
        return "number"
    if types.is_null(column.type) or not len(column):
        return "empty"
    first = column[0].as_py()
    return "pixels" if isinstance(first, str) and is_list_of_numbers(first) else "text"


def _values(column: Any) -> Values:
    """What a column's values may be; class numbers are 2 to 200 integers, at least half of 0 to the highest."""
    import pyarrow.compute as pc

    values = [each.as_py() for each in pc.unique(column)]  # pyright: ignore[reportAttributeAccessIssue]
    count, whole = len(values), all(isinstance(each, int | float) and float(each).is_integer() for each in values)
    if 1 < count == len(column):
        return "index" if whole and values == [values[0] + i for i in range(count)] else "different"
    return "classes" if whole and 2 <= count <= _MOST_CLASSES and 0 <= min(values) <= max(values) < 2 * count else "any"


def _of_split(path: Path, table: Any, columns: Columns, options: LoadOptions) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which rows are of a split, bool [N], and a note on splits that are not used. Raises: NoSplitError if none is."""
    if columns.split is None:
        check_split(path, options.split)
        return np.ones(table.num_rows, bool), ()
    values = [(value or "").strip().lower() for value in table.column(columns.split).to_pylist()]
    splits = {value: _USAGES.get(value) or split_of(value) for value in set(values)}
    if options.split not in splits.values():
        known = sorted(filter(None, splits.values()))
        raise NoSplitError(f"{path} has no split {options.split}: it has {', '.join(known) or 'train'}")
    chosen = np.array([splits[value] == options.split for value in values])
    unused = sorted(printable(value) or "none" for value, split in splits.items() if split not in SPLITS)
    notes = (f"splits that are not used: {', '.join(unused)}",) if unused else ()
    return chosen, notes


def _pixels(path: Path, table: Any, columns: Columns) -> np.ndarray:
    """The pixels of all images, [N, M]. Raises: DatasetError if some are missing, or a text has no square image."""
    if not table.num_rows:
        raise DatasetError(f"{path} has no rows of pixels")
    if len(columns.pixels) == 1:
        name = table.column_names[columns.pixels[0]]
        return _numbers(table.column(columns.pixels[0]), f"{printable(name)} in {path}")
    rows = np.empty((len(columns.pixels), table.num_rows), _dtype(table, columns.pixels))
    for row, i in zip(rows, columns.pixels, strict=True):
        if table.column(i).null_count:
            raise DatasetError(f"{path} has pixels without a value, in the column {printable(table.column_names[i])}")
        row[:] = table.column(i).to_numpy()
    return np.ascontiguousarray(rows.T)


def _dtype(table: Any, places: Sequence[int]) -> type:
    import pyarrow.compute as pc
    import pyarrow.types as types

    if any(types.is_floating(table.column(i).type) for i in places):
        return np.float64
    extremes = [pc.min_max(table.column(i)).as_py() for i in places]  # pyright: ignore[reportAttributeAccessIssue]
    bytes_ = all(each["min"] is not None and each["min"] >= 0 and each["max"] <= 255 for each in extremes)
    return np.uint8 if bytes_ else np.int64


def _numbers(texts: Any, what: str) -> np.ndarray:
    """Parse texts of numbers separated by spaces to [N, M]. Raises: DatasetError if they are not square images."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = []
    for chunk in texts.chunks:
        words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(chunk))  # pyright: ignore
        try:
            numbers = words.cast(pa.list_(pa.int64()))
        except pa.ArrowInvalid:
            numbers = words.cast(pa.list_(pa.float64()))
        part = stack_lists([numbers], what)
        whole = part.dtype == np.int64 and part.size and part.min() >= 0 and part.max() <= 255
        parts.append(part.astype(np.uint8) if whole else part)
    sizes = sorted({part.shape[1] for part in parts})
    if len(sizes) != 1 or not channels_of(sizes[0]):
        raise DatasetError(
            f"{what} has {' and '.join(map(str, sizes[:2]))} numbers in a row: images must be square, "
            "grey or in colours"
        )
    return np.concatenate(parts)
