"""CSV files of pixels: a row for each image, with one column per pixel or one column of text, and its label."""

import csv
import io
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from dcgan_jax.data.arrays import if_needed, to_dataset
from dcgan_jax.data.arrow_columns import read_labels, stack_lists
from dcgan_jax.data.common import SPLITS, Dataset, DatasetError, LoadOptions, NoSplitError, check_split, path_of
from dcgan_jax.data.csv_columns import (
    Column,
    Columns,
    Values,
    channels_of,
    choose_columns,
    has_header,
    is_list_of_numbers,
    is_number,
)
from dcgan_jax.data.label_lists import is_list
from dcgan_jax.data.labels import labelled
from dcgan_jax.data.members import File, printable, reason, unpacked
from dcgan_jax.data.shards import split_of
from dcgan_jax.errors import first_line
from dcgan_jax.versions import require

_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_DECIMAL_COMMA = re.compile(r"\s*-?\d+(,\d+)?\s*")
_PIECE = 2**24  # bytes parsed at a time
_IN_MEMORY = 6  # bytes per byte of text, for two copies of the numbers: most have two or three digits and a comma
_USAGES = {"publictest": "validation", "privatetest": "test"}  # FER2013's names of splits
_MOST_CLASSES = 200


def is_csv(source: str | Path) -> bool:
    """Whether a source is the path of a CSV file, gzipped or not."""
    path = path_of(source)
    return path is not None and path.is_file() and path.name.lower().endswith(_SUFFIXES)


def load_csv(source: str | Path, options: LoadOptions) -> Dataset:
    """The images of a CSV file, and their labels if it has any, in the columns of `choose_columns`.

    Args:
      source: its path. The first row may hold column names; otherwise they are 1, 2, ...
      options: the split is looked up in a column such as FER2013's ``Usage``; without one all rows are for training.

    Raises:
      NoSplitError: if there is no such split.
      DatasetError: if pyarrow is not installed, the file is damaged, or the images are not found or ambiguous.
    """
    path = Path(path_of(source) or source)
    try:
        with path.open("rb") as file:
            content = _content(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"cannot read {path} ({reason(error)})") from error
    return _load(content, path, options)


def has_csv(files: Sequence[File]) -> bool:
    """Whether there is a CSV file of pixels among the files, rather than a list of labels."""
    return any(map(_is_csv, files))


def load_csvs(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    """`load_csv` for the only CSV file of a folder or an archive, or for the one whose name contains the split.

    Raises: as `load_csv`, or DatasetError if several files remain.
    """
    by_name = {file.name: file for file in files if _is_csv(file)}
    splits = {name: split_of(name) for name in by_name}
    names = ", ".join(map(printable, by_name))
    chosen, beside = list(by_name), []
    if len(chosen) > 1 and set(splits.values()) & set(SPLITS):
        chosen = [name for name, split in splits.items() if split == options.split]
        if not chosen:
            raise NoSplitError(f"{path} has no split {options.split}: it holds {names}")
        beside = [name for name, split in splits.items() if split in {*SPLITS} - {options.split}]
        options = options._replace(split="train")  # within the file
    if len(chosen) > 1:
        raise DatasetError(f"{path} holds {len(by_name)} CSV files, {names}: unpack it, and give one of them")

    def content(name: str) -> tuple[bytes, Path]:
        what = path / printable(name)
        try:
            return _content(io.BytesIO(by_name[name].read()), what), what
        except DatasetError:
            raise
        except Exception as error:  # whatever gzip, or the archive, raises
            raise DatasetError(f"cannot read {what} ({reason(error)})") from error

    return _load(*content(chosen[0]), options, lambda: [_all_pixels(*content(name), options) for name in beside])


def _is_csv(file: File) -> bool:
    return file.name.lower().endswith(_SUFFIXES) and not is_list(file)


def _content(file: IO[bytes], path: Path) -> bytes:
    """The text of a file, decompressed. Raises: as `unpacked`."""
    return unpacked(file, f"the numbers in {path}", _IN_MEMORY, "save fewer images, or a .npy of uint8")


def _all_pixels(content: bytes, path: Path, options: LoadOptions) -> np.ndarray:
    """The pixels of all images of a file, [N, M], without their labels. Raises: as `_load`."""
    try:
        table, _ = _read(content)
        return _pixels(
            path, table, _choose(path, table, options._replace(reading=options.reading._replace(labels=None)))
        )
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # as in _load
        raise DatasetError(f"cannot read {path} ({printable(first_line(error))})") from error


def _choose(path: Path, table: Any, options: LoadOptions) -> Columns:
    return choose_columns(path, _columns(table), options.reading, lambda i: _values(table.column(i)))


def _load(
    content: bytes, path: Path, options: LoadOptions, beside: Callable[[], Sequence[np.ndarray]] = lambda: ()
) -> Dataset:
    """The images of a file; ``beside`` reads the pixels of another split's, for the value range."""
    require("pyarrow.csv", "parquet", f"reading {path}", DatasetError)
    try:
        table, header = _read(content)
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
    notes = (*dataset.notes, *header, *columns.notes, *notes)
    if columns.labels is None or not options.labels:
        return dataset._replace(notes=notes)
    name = printable(table.column_names[columns.labels])
    if labels is None:
        return dataset._replace(notes=(*notes, f"{name} in {path}: some labels are missing: none is used"))
    return labelled(dataset._replace(notes=notes), labels, f"{name} in {path}")


def _read(content: bytes) -> tuple[Any, tuple[str, ...]]:
    """Parse the content: a table, and a note if its header is of numbers. Raises: whatever Arrow raises if damaged."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = io.BytesIO(content)
    first, second = lines.readline(), lines.readline()
    delimiter, fields = _first_row(first.decode("utf-8", "replace").rstrip("\r\n"))
    fields = [field.strip() for field in fields]
    named = has_header(fields)
    names = fields if named else [str(i + 1) for i in range(len(fields))]
    notes = (f"the first row, {', '.join(names[:3])}, ..., taken for column names",) * all(map(is_number, fields))
    options = arrow.ReadOptions(column_names=names, skip_rows=int(named), block_size=_PIECE)
    row = second if named else first
    table = arrow.read_csv(
        pa.BufferReader(content),
        read_options=options,
        parse_options=arrow.ParseOptions(delimiter=delimiter),
        convert_options=arrow.ConvertOptions(decimal_point="," if delimiter != "," and b"," in row else "."),
    )
    return table, notes if named else ()


def _first_row(line: str) -> tuple[str, list[str]]:
    """The delimiter that splits a line into most fields, and these fields; not the comma if commas are decimal.

    Spreadsheets write semicolons in locales with decimal commas.
    """
    rows = {delimiter: next(csv.reader([line], delimiter=delimiter), []) for delimiter in ",;\t"}
    for delimiter, fields in rows.items():
        if delimiter != "," and len(fields) > 1 and all(_DECIMAL_COMMA.fullmatch(field) for field in fields):
            return delimiter, fields
    return max(rows.items(), key=lambda row: len(row[1]))


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
