"""CSV files of pixels: a row for each image, with one column per pixel or one column of text, and its label."""

import contextlib
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from dcgan_jax.data.common import SPLITS, Dataset, DatasetError, LoadOptions, NoSplitError, path_of
from dcgan_jax.data.csv_columns import has_header, is_number
from dcgan_jax.data.label_lists import is_list
from dcgan_jax.data.members import File, printable, reason, some, unpacked
from dcgan_jax.data.pixel_tables import load_table, pixels_of
from dcgan_jax.data.shards import split_of
from dcgan_jax.errors import first_line
from dcgan_jax.versions import require

_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_DECIMAL_COMMA = re.compile(r"\s*-?\d+(,\d+)?\s*")
_PIECE = 2**24  # bytes parsed at a time
_LEAST_PIXELS = 64
_LONGEST = 2**24  # bytes read of a line
_IN_MEMORY = 6  # bytes per byte of text, for two copies of the numbers: most have two or three digits and a comma


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
    return _load(content, path, options, options.split)


def is_table(file: File) -> bool:
    """Whether it is a CSV file that is no list of labels."""
    return file.name.lower().endswith(_SUFFIXES) and not is_list(file)


def has_pixels(files: Sequence[File]) -> bool:
    """Whether there is a CSV file with pixels among the files."""
    return any(is_table(file) and _holds_pixels(file) for file in files)


def _holds_pixels(file: File) -> bool:
    """Whether the second line of a CSV file has as many numbers as a small image has pixels."""
    try:
        with file.open() as content:
            packed = content.read(2) == b"\x1f\x8b"
            content.seek(0)
            with gzip.open(content) if packed else content as lines:
                lines.readline(_LONGEST)
                return len(re.findall(rb"\d+", lines.readline(_LONGEST))) >= _LEAST_PIXELS
    except Exception:  # whatever gzip, or the archive, raises: then it is no reason to leave out pictures
        return False


def load_csvs(path: Path, files: Sequence[File], options: LoadOptions) -> Dataset:
    """`load_csv` for the only CSV file of a folder or an archive, or for the one whose name contains the split.

    Where there are several, those without pixels, such as samples of a submission, do not count.

    Raises: as `load_csv`, or DatasetError if several files remain.
    """
    by_name = {file.name: file for file in files if is_table(file)}
    splits = {name: split_of(name) for name in by_name}
    chosen, beside = list(by_name), []
    if len(chosen) > 1:
        chosen = [name for name, file in by_name.items() if _holds_pixels(file)] or chosen
    names, within = chosen, options.split
    if len(names) > 1 and {splits[name] for name in names} & set(SPLITS):
        chosen = [name for name in names if splits[name] == options.split]
        if not chosen:
            raise NoSplitError(f"{path} has no split {options.split}: it holds {some(names)}")
        beside = [name for name in names if splits[name] in {*SPLITS} - {options.split}]
        within = "train"
    if len(chosen) > 1:
        give = "give one of them" if path.is_dir() else "unpack it, and give one of them"
        raise DatasetError(f"{path} holds {len(chosen)} CSV files, {some(chosen)}: {give}")

    def content(name: str) -> tuple[bytes, Path]:
        what = path / printable(name)
        try:
            with by_name[name].open() as file:
                return _content(file, what), what
        except DatasetError:
            raise
        except Exception as error:  # whatever gzip, or the archive, raises
            raise DatasetError(f"cannot read {what} ({reason(error)})") from error

    def pixels_beside() -> list[np.ndarray]:
        return [_all_pixels(*content(name), options) for name in beside]

    dataset = _load(*content(chosen[0]), options, within, pixels_beside)
    unused = [name for name in names if name not in (*chosen, *beside)]
    return dataset._replace(notes=(*dataset.notes, f"not used: {some(unused)}")) if unused else dataset


def _content(file: IO[bytes], path: Path) -> bytes:
    """The text of a file, decompressed. Raises: as `unpacked`."""
    return unpacked(file, f"the numbers in {path}", _IN_MEMORY, "save fewer images, or a .npy of uint8")


def _all_pixels(content: bytes, path: Path, options: LoadOptions) -> np.ndarray:
    """The pixels of all images of a file, [N, M], for the value range of another. Raises: as `_load`."""
    with _reading(path):
        return pixels_of(path, _read(content)[0], options)


def _load(
    content: bytes,
    path: Path,
    options: LoadOptions,
    within: str,
    beside: Callable[[], Sequence[np.ndarray]] = lambda: (),
) -> Dataset:
    """The images of a file.

    ``within`` is the split to look up in it, and ``beside`` reads the pixels of another split's file, for the value
    range.
    """
    require("pyarrow.csv", "parquet", f"reading {path}", DatasetError)
    with _reading(path):
        table, header = _read(content)
    options = options.unlabelled(table.column_names)._replace(split=within)
    dataset = load_table(path, table, options, beside)
    return dataset._replace(notes=(*header, *dataset.notes))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A context in which whatever Arrow raises for a damaged file is a DatasetError."""
    try:
        yield
    except (DatasetError, MemoryError):
        raise
    except Exception as error:
        raise DatasetError(f"cannot read {path} ({printable(first_line(error))})") from error


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
