"""Parquet and Arrow files, in which Hugging Face's libraries store image data sets: one, or a folder of shards."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.console import counted
from dcgan_jax.data.arrays import if_needed, to_dataset
from dcgan_jax.data.arrow_columns import stack_lists
from dcgan_jax.data.beside import are_many, note_on_pictures, pictures_among
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, path_of
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.data.folders import Classes
from dcgan_jax.data.labels import are_whole, drop_unknown, labelled, number_labels
from dcgan_jax.data.listings import list_records, with_beside
from dcgan_jax.data.members import TARS, File, open_files, printable, some
from dcgan_jax.data.parquet_columns import (
    IMAGES,
    Columns,
    choose_columns,
    has_pixels,
    holds_pictures,
    is_list,
    read_classes,
)
from dcgan_jax.data.picture_folders import check_no_layout, load_listing
from dcgan_jax.data.pixel_tables import load_table, pixels_of
from dcgan_jax.data.shards import folders_of_same_names, partitions, shards_of_other_split, shards_of_split
from dcgan_jax.data.table_files import is_table, open_table, tables_in
from dcgan_jax.errors import first_line
from dcgan_jax.versions import require

_INDEX = re.compile(r"__index_level_\d+__")
_NULL = "__HIVE_DEFAULT_PARTITION__"  # in the name of a folder: no value


def is_parquet(source: str | Path) -> bool:
    """Whether a source is the path of a Parquet or Arrow file, or of a folder with such files.

    Beside pictures or tars, files without a column of pictures are lists of what is there.
    """
    path = path_of(source)
    if path is None or not path.exists():
        return False
    if path.is_dir():
        shards = tables_in(path)
        return bool(shards) and _hold_images(path, shards[0])
    return is_table(path)


def _hold_images(path: Path, shard: Path) -> bool:
    with open_files(path) as files:
        pictures, tars = pictures_among(files), any(file.name.lower().endswith(TARS) for file in files)
    if not pictures and not tars:
        return True
    try:
        schema = _schema(shard)
    except ImportError:  # which of them is the data set cannot be seen: many pictures are
        return not are_many(pictures)
    except DatasetError:  # which is said when it is loaded
        return True
    return any(field.name in IMAGES or holds_pictures(field.type) for field in schema)


def load_parquet(source: str | Path, options: LoadOptions) -> Dataset:
    """The images of Parquet or Arrow files, and their labels if there are any.

    Args:
      source: a file, or a folder with those of all splits. A column such as ``image`` or ``img`` holds encoded pictures
        (bytes, or structs with ``bytes``) or nested lists of numbers. ``label``, or another of `USUAL_LABELS`, holds
        the classes, whose names are taken from Hugging Face's metadata.
      options: `Reading.images` and `Reading.labels` name other columns.

    Raises:
      NoSplitError: if it has no such split.
      DatasetError: if pyarrow is not installed, a file is damaged, or the images are not found or ambiguous.
    """
    path = Path(path_of(source) or source)
    require("pyarrow.parquet", "parquet", f"reading {path}", DatasetError)
    shards = tables_in(path) if path.is_dir() else [path]
    others = _notes_on_others(path, shards) if path.is_dir() else ()
    of_other = shards_of_other_split(path, shards, options.split)
    shards, notes = shards_of_split(path, shards, options.split)
    _check_configurations(path, shards)
    schema = _schema(shards[0])
    options = options.unlabelled([*schema.names, *partitions(path, shards[0])])
    if has_pixels(schema):
        dataset = load_table(
            path,
            _read_pixels(path, shards),
            options._replace(split="train"),
            lambda: [pixels_of(path, _read_pixels(path, of_other), options)] if of_other else [],
        )
        return dataset._replace(notes=(*dataset.notes, *notes, *others))
    try:
        table, columns = _read(path, shards, options)
        labels, problem = None, ""
        if columns.labels:
            labels, problem = read_classes(table[columns.labels], given=options.reading.labels is not None)
        images = table[columns.images]
        problems = (f"{columns.labels} in {path}: {problem}: none is used",) if problem else ()
        notes = (*notes, *columns.notes, *problems, *others)
        of_lists = is_list(images.type)
        array = stack_lists(images.chunks, f"{columns.images} in {path}") if of_lists else np.empty(0)

        def beside() -> Sequence[Any]:
            return _chunks_beside(path, of_other, columns, options)

        arrays = if_needed(array, options, lambda: _stack_beside(path, beside())) if of_lists else ()
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # whatever Arrow raises for a damaged file
        raise DatasetError(f"cannot read {path} ({first_line(error)})") from error
    what = f"{columns.labels} in {path}"
    if of_lists:
        dataset = to_dataset(array, path, options, labels, arrays)
        dataset = dataset if labels is None else labelled(dataset, labels, what, columns.classes)
    else:
        dataset = _pictures(path, images, labels, columns, options, beside)
    return dataset._replace(notes=(*dataset.notes, *notes))


def _schema(shard: Path) -> Any:
    with open_table(shard) as file:
        return file.schema


def _read_pixels(path: Path, shards: Sequence[Path]) -> Any:
    """All columns of shards whose columns are pixels, but for an index of pandas. Raises: DatasetError."""
    import pyarrow as pa

    tables = []
    for shard in shards:
        try:
            with open_table(shard) as file:
                names = [name for name in file.schema.names if not _INDEX.fullmatch(name)]
                check_bytes(file.size(names), f"the pixels of {shard}", "give fewer files")
                tables.append(file.read(names))
        except DatasetError:
            raise
        except Exception as error:  # as in load_parquet
            raise DatasetError(f"cannot read {shard} ({first_line(error)})") from error
    if any(table.schema != tables[0].schema for table in tables):
        raise DatasetError(f"{path} holds files of several tables of pixels, with other columns or types: give one")
    return pa.concat_tables(tables)


def _chunks_beside(path: Path, shards: Sequence[Path], columns: Columns, options: LoadOptions) -> Sequence[Any]:
    """The images of another split's files, none without files, for the value range. Raises: as `_read`."""
    if not shards:
        return ()
    reading = options.reading._replace(images=columns.images, labels=None)
    table, _ = _read(path, shards, options._replace(labels=False, reading=reading))
    return table[columns.images].chunks


def _stack_beside(path: Path, chunks: Sequence[Any]) -> Sequence[np.ndarray]:
    return [stack_lists([chunk], f"the other split of {path}") for chunk in chunks if len(chunk)]


def _notes_on_others(path: Path, shards: Sequence[Path]) -> tuple[str, ...]:
    """Notes on pictures and tars beside the tables. Raises: DatasetError if they are many pictures."""
    with open_files(path) as files:
        pictures, tars = pictures_among(files), [file.name for file in files if file.name.lower().endswith(TARS)]
    notes = note_on_pictures(path, pictures, shards[0].relative_to(path).as_posix())
    named = some(tars)
    return (*notes, f"left out {counted(len(tars), 'tar')} beside the tables: {named}") if tars else notes


def _check_configurations(path: Path, shards: Sequence[Path]) -> None:
    """Raises: DatasetError if folders that are neither splits nor partitions hold files or shards of the same names."""
    if folders := folders_of_same_names(path, shards):
        raise DatasetError(
            f"{path} holds several data sets with files of the same names, in {some(folders)}: give one of them, such "
            f"as {path / printable(folders[-1])}"
        )


def _read(path: Path, shards: Sequence[Path], options: LoadOptions) -> tuple[Any, Columns]:
    """The columns of images and labels of all shards. Raises: DatasetError if shards differ or exceed the memory."""
    import pyarrow as pa

    files = [open_table(shard) for shard in shards]
    values = [partitions(path, shard) for shard in shards]
    schema = files[0].schema
    shared = [name for name in values[0] if name not in schema.names and all(name in each for each in values)]
    kinds = {name: _kind_of([each[name] for each in values]) for name in shared}
    for name, kind in kinds.items():
        schema = schema.append(pa.field(name, kind))
    columns = choose_columns(path, schema, options)
    names = [name for name in (columns.images, columns.labels) if name and name not in kinds]
    for shard, file in zip(shards, files, strict=True):
        for name in names:
            there = file.schema.field(name).type if name in file.schema.names else "no such column"
            if there != schema.field(name).type:
                raise DatasetError(
                    f"{shard} has {there} as {name}, and {shards[0].name} {schema.field(name).type}: they are of two "
                    "data sets"
                )
    size = sum(file.size(names) for file in files)
    check_bytes(size, f"the columns {' and '.join(names)} of {path}", "give fewer files")
    tables = []
    for shard, file, given in zip(shards, files, values, strict=True):
        try:
            table = file.read(names).select(names)
            for name in kinds.keys() & ({columns.labels} if columns.labels else set()):
                column = pa.nulls(len(table)) if given[name] == _NULL else pa.array([given[name]] * len(table))
                table = table.append_column(pa.field(name, kinds[name]), column.cast(kinds[name]))
            tables.append(table)
        except Exception as error:  # as in load_parquet
            raise DatasetError(f"cannot read {shard} ({first_line(error)})") from error
        finally:
            file.close()
    return pa.concat_tables(tables), columns


def _kind_of(values: Sequence[str]) -> Any:
    """The type of the values that the names of folders give: whole numbers or text."""
    import pyarrow as pa

    return pa.int64() if are_whole(each for each in values if each != _NULL) else pa.string()


def _pictures(
    path: Path,
    images: Any,
    labels: np.ndarray | None,
    columns: Columns,
    options: LoadOptions,
    beside: Callable[[], Sequence[Any]],
) -> Dataset:
    """The pictures of a column; ``beside`` reads the chunks of another split's, for the value range."""
    check_no_layout(path, options)
    files = _files(images.chunks, "row")
    what = f"{columns.labels} in {path}"

    def classes(names: list[str]) -> Classes:
        if labels is None:
            return Classes()
        some = labels[[int(name.removeprefix("row ")) for name in names]]
        if dropped := drop_unknown(some, columns.classes, what):
            return Classes(notes=(dropped,))
        return Classes(*number_labels(some, len(some), what, columns.classes))

    listing = list_records(path, files, options.reading.frames)
    listing = with_beside(listing, lambda: _files(beside(), "row of another split,"), options.reading)
    return load_listing(path, listing, options, classes)


def _files(chunks: Sequence[Any], name: str) -> list[File]:
    rows = ((chunk, i) for chunk in chunks for i in range(len(chunk)))
    return [File(f"{name} {n}", lambda at=at: _content(at[0][at[1]].as_py())) for n, at in enumerate(rows)]


def _content(value: Any) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        where = value.get("path") if isinstance(value, dict) else None
        raise ValueError(f"no bytes, but a path that is not followed, {str(where)[:100]!r}" if where else "no picture")
    return content
