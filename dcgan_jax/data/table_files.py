"""Parquet and Arrow files, which hold the same tables, behind one interface."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dcgan_jax.data.common import DatasetError, starts_with
from dcgan_jax.data.shards import shards_in
from dcgan_jax.errors import first_line

_PARQUETS, _ARROWS = (".parquet",), (".arrow", ".feather")
TABLES = _PARQUETS + _ARROWS
_MAGIC = b"PAR1", b"ARROW1"  # a stream of Arrow's, which Hugging Face's `save_to_disk` writes, has none
_CACHED = "cache-"  # starts the names of what Hugging Face's `map` left in a folder


class TableFile(NamedTuple):
    """An open file.

    Attributes:
      schema: its columns, a ``pyarrow.Schema``.
      size: the size of columns, by their names, in bytes in memory; for Arrow, whose file is mapped, that of the file.
      read: the columns of these names, a ``pyarrow.Table``.
      close: closes it.
    """

    schema: Any
    size: Callable[[Sequence[str]], int]
    read: Callable[[Sequence[str]], Any]
    close: Callable[[], None]

    def __enter__(self) -> "TableFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_table(path: Path) -> bool:
    """Whether a file is one of Parquet or Arrow, by its name or its content."""
    return path.name.lower().endswith(TABLES) or starts_with(path, *_MAGIC)


def tables_in(folder: Path) -> list[Path]:
    """The Parquet files below a folder, or else its Arrow files; without those of Hugging Face's cache."""
    found = [path for path in shards_in(folder, TABLES) if not path.name.startswith(_CACHED)]
    return [path for path in found if path.name.lower().endswith(_PARQUETS)] or found


def open_table(path: Path) -> TableFile:
    """Open a file. Raises: DatasetError if it is damaged, ImportError if pyarrow is not installed."""
    import pyarrow.parquet  # noqa: F401

    arrow = path.name.lower().endswith(_ARROWS) or starts_with(path, _MAGIC[1])
    try:
        file = _open_arrow(path) if arrow else _open_parquet(path)
        file.schema.names  # noqa: B018  (decodes them)
        return file
    except Exception as error:  # whatever Arrow raises for a damaged file
        raise DatasetError(f"cannot read {path} ({first_line(error)})") from error


def _open_parquet(path: Path) -> TableFile:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)

    def size(names: Sequence[str]) -> int:
        groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
        columns = (group.column(i) for group in groups for i in range(group.num_columns))
        return sum(each.total_uncompressed_size for each in columns if each.path_in_schema.split(".")[0] in names)

    return TableFile(file.schema_arrow, size, lambda names: file.read(columns=names), file.close)


def _open_arrow(path: Path) -> TableFile:
    import pyarrow as pa

    source = pa.memory_map(str(path))
    opener = pa.ipc.open_file if starts_with(path, _MAGIC[1]) else pa.ipc.open_stream

    def read(names: Sequence[str]) -> Any:
        source.seek(0)
        table = opener(source).read_all().select(names)
        table.validate(full=True)  # Arrow trusts the offsets in its own files
        return table

    return TableFile(opener(source).schema, lambda _: path.stat().st_size, read, source.close)
