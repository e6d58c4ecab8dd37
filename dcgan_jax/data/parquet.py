"""Parquet files, in which the Hugging Face Hub stores image data sets: one, or a folder of shards and splits."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.data.arrays import to_dataset
from dcgan_jax.data.arrow_columns import read_labels, stack_lists
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, path_of, starts_with
from dcgan_jax.data.fitting import check_bytes
from dcgan_jax.data.folders import Classes
from dcgan_jax.data.labels import USUAL_LABELS, drop_unknown, labelled, number_labels
from dcgan_jax.data.members import File
from dcgan_jax.data.picture_folders import check_no_layout, load_listing
from dcgan_jax.data.pictures import list_records
from dcgan_jax.data.shards import shards_in, shards_of_split
from dcgan_jax.errors import first_line
from dcgan_jax.versions import require

_IMAGES = ("image", "img", "images", "picture", "photo", "pixels", "pixel_values", "png", "jpg", "jpeg", "webp")
_FINE, _COARSE = "fine_label", "coarse_label"  # CIFAR-100's


class _Columns(NamedTuple):
    """The names of the columns to read, the names of the classes, and notes on the choice."""

    images: str
    labels: str | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def is_parquet(source: str | Path) -> bool:
    """Whether a source is the path of a Parquet file, or of a folder with Parquet files and no pictures."""
    path = path_of(source)
    if path is None or not path.exists():
        return False
    if path.is_dir():
        return bool(shards_in(path, (".parquet",)))
    return path.suffix.lower() == ".parquet" or starts_with(path, b"PAR1")


def load_parquet(source: str | Path, options: LoadOptions) -> Dataset:
    """The images of Parquet files, and their labels if there are any.

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
    shards = shards_in(path, (".parquet",)) if path.is_dir() else [path]
    shards, notes = shards_of_split(path, shards, options.split)
    try:
        table, columns = _read(path, shards, options)
        labels = None if columns.labels is None else read_labels(table[columns.labels])
        images = table[columns.images]
        notes += columns.notes
        if columns.labels and labels is None:
            notes += (f"{columns.labels} in {path}: some labels are missing: none is used",)
        of_lists = _is_list(images.type)
        array = stack_lists(images.chunks, f"{columns.images} in {path}") if of_lists else np.empty(0)
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # whatever Arrow raises for a damaged file
        raise DatasetError(f"cannot read {path} ({first_line(error)})") from error
    what = f"{columns.labels} in {path}"
    if of_lists:
        dataset = to_dataset(array, path, options, labels)
        dataset = dataset if labels is None else labelled(dataset, labels, what, columns.classes)
    else:
        dataset = _pictures(path, images, labels, columns, options)
    return dataset._replace(notes=(*dataset.notes, *notes))


def _read(path: Path, shards: Sequence[Path], options: LoadOptions) -> tuple[Any, _Columns]:
    """The columns of images and labels of all shards. Raises: DatasetError if shards differ or exceed the memory."""
    import pyarrow as pa

    files = [_open(shard) for shard in shards]
    schema = files[0].schema_arrow
    columns = _choose(path, schema, options)
    names = [name for name in (columns.images, columns.labels) if name]
    for shard, file in zip(shards, files, strict=True):
        for name in names:
            there = file.schema_arrow.field(name).type if name in file.schema_arrow.names else "no such column"
            if there != schema.field(name).type:
                raise DatasetError(
                    f"{shard} has {there} as {name}, and {shards[0].name} {schema.field(name).type}: they are of two "
                    "data sets"
                )
    size = sum(_uncompressed(file.metadata, names) for file in files)
    check_bytes(size, f"the columns {' and '.join(names)} of {path}", "give fewer files")
    tables = []
    for shard, file in zip(shards, files, strict=True):
        try:
            tables.append(file.read(columns=names).select(names))
        except Exception as error:  # as in load_parquet
            raise DatasetError(f"cannot read {shard} ({first_line(error)})") from error
        finally:
            file.close()
    return pa.concat_tables(tables), columns


def _open(shard: Path) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(shard)
    except Exception as error:  # as in load_parquet
        raise DatasetError(f"cannot read {shard} ({first_line(error)})") from error


def _uncompressed(metadata: Any, names: Sequence[str]) -> int:
    """The uncompressed size of these columns in bytes."""
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(each.total_uncompressed_size for each in columns if each.path_in_schema.split(".")[0] in names)


def _choose(path: Path, schema: Any, options: LoadOptions) -> _Columns:
    """Choose the columns of images and labels. Raises: DatasetError if the images are not found or ambiguous."""
    names, reading = schema.names, options.reading
    for flag, name in (("images", reading.images), ("labels", reading.labels)):
        if name is not None and name not in names:
            raise DatasetError(f"{path} has no column {name} for `{flag}`: it has {', '.join(names)}")
    possible = [name for name in names if _holds_images(schema.field(name).type)]
    usual = [name for name in _IMAGES if name in names]
    found = [reading.images] if reading.images else usual or possible
    if not found:
        kinds = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise DatasetError(f"{path} has no column of pictures or lists of pixels: its columns are {kinds}")
    if len(found) > 1:
        choices = ", ".join(found)
        raise DatasetError(
            f"{path} has {len(found)} columns that may be the images, {choices}: choose one with `images={found[0]}`"
        )
    if found[0] not in possible:
        raise DatasetError(
            f"{found[0]} in {path} holds {schema.field(found[0]).type}, neither pictures nor lists of pixels"
        )
    labels, notes = _choose_labels(schema, options)
    classes = _class_names(schema, labels) if labels else ()
    unused = [name for name in names if name not in (found[0], labels, _FINE, _COARSE)]
    if unused and options.labels and labels is None:
        notes += (f"columns that are not used: {', '.join(unused)} (`labels=NAME` takes one for the classes)",)
    return _Columns(found[0], labels, classes, notes)


def _choose_labels(schema: Any, options: LoadOptions) -> tuple[str | None, tuple[str, ...]]:
    if not options.labels:
        return None, ()
    if options.reading.labels:
        return options.reading.labels, ()
    found = [name for name in (*USUAL_LABELS, _FINE, _COARSE) if name in schema.names and _is_label(schema, name)]
    if len(found) < 2:
        return (found[0] if found else None), ()
    return found[0], (f"classes are those of {found[0]}; `labels={found[1]}` takes {' or '.join(found[1:])}",)


def _is_label(schema: Any, name: str) -> bool:
    import pyarrow.types as types

    kind = schema.field(name).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return any(test(kind) for test in (types.is_integer, types.is_string, types.is_large_string, types.is_boolean))


def _holds_images(kind: Any) -> bool:
    """Whether a type is that of encoded pictures, bytes or structs with ``bytes``, or of nested lists of numbers."""
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return _holds_bytes(kind) or _is_list(kind)


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)


def _is_list(kind: Any) -> bool:
    """Whether a type is a list of numbers, at any depth of nesting."""
    import pyarrow.types as types

    kind, depth = getattr(kind, "storage_type", kind), 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth > 0 and (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _class_names(schema: Any, column: str) -> tuple[str, ...]:
    """The names of a column's classes in Hugging Face's metadata; () if there are none."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        return tuple(names) if all(isinstance(name, str) for name in names) else ()
    except (KeyError, TypeError, ValueError):
        return ()


def _pictures(path: Path, images: Any, labels: np.ndarray | None, columns: _Columns, options: LoadOptions) -> Dataset:
    check_no_layout(path, options)
    rows = ((chunk, i) for chunk in images.chunks for i in range(len(chunk)))
    files = [File(f"row {n}", lambda at=at: _content(at[0][at[1]].as_py())) for n, at in enumerate(rows)]
    what = f"{columns.labels} in {path}"

    def classes(names: list[str]) -> Classes:
        if labels is None:
            return Classes()
        some = labels[[int(name.removeprefix("row ")) for name in names]]
        if dropped := drop_unknown(some, columns.classes, what):
            return Classes(notes=(dropped,))
        return Classes(*number_labels(some, len(some), what, columns.classes))

    return load_listing(path, list_records(path, files, options.reading.frames), options, classes)


def _content(value: Any) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        where = value.get("path") if isinstance(value, dict) else None
        raise ValueError(f"no bytes, but a path that is not followed, {str(where)[:100]!r}" if where else "no picture")
    return content
