"""All kinds of data sets, in the order in which a name or path is tried."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dcgan_jax.data.archives import DATASETS, has_archives, load_archives
from dcgan_jax.data.arrays import is_array_file, load_array_file
from dcgan_jax.data.batches import is_batch, load_batch
from dcgan_jax.data.common import Dataset, DatasetError, LoadOptions, UnknownNameError, check_no_names, path_of
from dcgan_jax.data.contents import holds_files, load_files
from dcgan_jax.data.csv_files import is_csv, load_csv
from dcgan_jax.data.hdf5 import is_hdf5, load_hdf5
from dcgan_jax.data.lmdb_files import is_lmdb, load_lmdb
from dcgan_jax.data.members import TARS
from dcgan_jax.data.parquet import is_parquet, load_parquet
from dcgan_jax.data.picture_files import ARCHIVES, SUFFIXES
from dcgan_jax.data.shards import shards_in
from dcgan_jax.data.stacked import STACKED, is_stacked, load_stacked
from dcgan_jax.data.table_files import TABLES
from dcgan_jax.data.tars import is_tars, load_tars
from dcgan_jax.data.tfds import is_name, load_prepared


class Source(NamedTuple):
    """A kind of data set.

    Attributes:
      kind: its name in help and error messages.
      matches: whether a name or path is of this kind.
      load: loads a name or path that matches.
      shards: suffixes of files, one of which a folder of this kind holds, at any depth; if empty, it may hold any.
      named: whether it holds arrays, columns or members by name, which ``images`` and ``labels`` of a `Reading` choose.
    """

    kind: str
    matches: Callable[[str | Path], bool]
    load: Callable[[str | Path, LoadOptions], Dataset]
    shards: tuple[str, ...] = ()
    named: bool = False


SOURCES: tuple[Source, ...] = (
    Source(", ".join(DATASETS), has_archives, load_archives),
    Source(STACKED, is_stacked, load_stacked),
    Source("a Parquet or Arrow file or a folder of them", is_parquet, load_parquet, TABLES, named=True),
    Source("LMDB's pictures", is_lmdb, load_lmdb),
    Source("WebDataset's tars", is_tars, load_tars, TARS, named=True),
    Source("a folder, zip or tar of pictures or of arrays", holds_files, load_files, named=True),
    Source("CIFAR's batches or a pickle of arrays", is_batch, load_batch, named=True),
    Source("an HDF5 or MATLAB file", is_hdf5, load_hdf5, named=True),
    Source("a CSV file of pixels", is_csv, load_csv, named=True),
    Source("an .npy, .npz or idx file", is_array_file, load_array_file, named=True),
    Source("a data set of TensorFlow Datasets", is_name, load_prepared),
)
# Of the files that are read, only CSV and idx files, pickles, ``.npy`` and tars may be gzipped.
_COMPRESSED = tuple(f"{suffix}.gz" for suffix in (".npz", ".parquet", ".h5", ".hdf5", ".mat"))


def describe_sources() -> str:
    """All kinds of data sets, as a list within a sentence."""
    *kinds, last = (source.kind for source in SOURCES)
    return f"{', '.join(kinds)}, or {last}"


def kind_of(source: str | Path) -> str:
    """The kind of a source, such as ``an .npy, .npz or idx file``; empty if none matches."""
    found = _matching(source)
    return "" if found is None else found.kind


def _matching(source: str | Path) -> Source | None:
    """The first of `SOURCES` that matches. A folder, which may be slow, is listed once for all that a suffix tells.

    Raises: as `path_of` and the sources' ``matches``.
    """
    every = tuple(suffix for each in SOURCES for suffix in each.shards)
    shards: list[Path] | None = None
    for each in SOURCES:
        if each.shards and (path := path_of(source)) is not None and path.is_dir():
            shards = shards_in(path, every) if shards is None else shards
            if not any(shard.name.lower().endswith(each.shards) for shard in shards):
                continue
        if each.matches(source):
            return each
    return None


def load_source(source: str | Path, options: LoadOptions) -> Dataset:
    """The data set of a name or path, by the first of `SOURCES` that matches it.

    Raises:
      DatasetError: if it matches none, or as the source's ``load``.
    """
    path = path_of(source)
    if path is not None and path.is_file() and path.name.lower().endswith(_COMPRESSED):
        raise DatasetError(f"{source} is compressed: decompress it first, with gunzip, and give {path.with_suffix('')}")
    try:
        if (found := _matching(source)) is not None:
            if not found.named:
                check_no_names(source, options)
            return found.load(source, options)
    except UnknownNameError as error:
        raise DatasetError(f"{error}: choose from {describe_sources()}") from error
    if path is not None and not path.exists():
        raise DatasetError(f"there is no file or folder {path}")
    name = str(source).lower()
    if name.endswith(SUFFIXES):
        raise DatasetError(
            f"{source} is a single file of pictures: give a folder that holds it (`frames=all` for its pages)"
        )
    if name.endswith(ARCHIVES):
        raise DatasetError(f"{source} is an archive that is not read: unpack it, and give the folder, or a zip or tar")
    raise DatasetError(f"{source} is of no kind that is known, or is damaged: choose from {describe_sources()}")
