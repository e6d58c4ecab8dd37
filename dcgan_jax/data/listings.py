"""The picture files of a folder or an archive, and work on each of them in threads."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from PIL import UnidentifiedImageError
from tqdm import tqdm

from dcgan_jax.data.common import DatasetError, Reading
from dcgan_jax.data.decoding import Header, read_header
from dcgan_jax.data.fitting import Size
from dcgan_jax.data.folders import check_folders, find_lists
from dcgan_jax.data.mapped import WriteError
from dcgan_jax.data.members import File, FindFiles, reason, some
from dcgan_jax.data.picture_files import SUFFIXES, check_kinds, count_kinds, name_kinds

_MOST_BROKEN = 0.1  # share of the pictures; more are unlikely to be an accident
_CHUNK = 32  # pictures per task of the thread pool
_PROBED = 8  # files whose sizes decide how many threads there are
# Bytes. On two cores one thread took 0.76 of the time for files of 6 kB (64x64 pixels), and 1.16 for those of 11 kB.
_SMALL_FILE = 8_000
T = TypeVar("T")


class Listing(NamedTuple):
    """The readable picture files in order, and the other files beside them.

    Attributes:
      files: the readable picture files, by name.
      headers: their headers, by name.
      broken: the reasons why other pictures cannot be read, by name.
      lists: files that list labels.
      others: the number of other files, by suffix.
      beside: the pictures of another split and their headers, by name; the value range is that of both splits.
    """

    files: dict[str, File]
    headers: dict[str, Header]
    broken: dict[str, str]
    lists: tuple[File, ...]
    others: dict[str, int]
    beside: Mapping[str, tuple[File, Header]] = MappingProxyType({})

    def digest(self) -> str:
        """The SHA-256 of all names and contents, in hexadecimal."""
        sha256 = hashlib.sha256()
        for name, header in (self.headers | {name: each for name, (_, each) in self.beside.items()}).items():
            sha256.update(os.fsencode(name) + b"\0" + header.digest)
        return sha256.hexdigest()

    def sizes(self) -> list[Size]:
        """Sizes of all pictures, after EXIF rotation."""
        return [frame.size for header in self.headers.values() for frame in header.frames]


def list_pictures(path: Path, found: Sequence[File], frames: str = "first") -> Listing:
    """The pictures among the files of a folder or an archive, by suffix, or by content if they have none.

    Raises:
      DatasetError: if there are none, most images are in formats that cannot be read, the folders cannot be classes
        (`check_folders`), or more than a tenth of the pictures are broken.
    """
    errors: dict[str, Exception] = {}
    likely = _likely(found)
    headers = _headers(likely, frames, errors)
    for file in likely:  # a file without a suffix may be anything
        if not file.suffix and isinstance(errors.get(file.name), UnidentifiedImageError):
            del errors[file.name]
    broken = {name: reason(error) for name, error in errors.items()}
    files = {file.name: file for file in likely if file.name in headers}
    lists = find_lists(list(files), found)
    rest = [file for file in found if not (file.name in files or file.name in broken or file in lists)]
    others = count_kinds(rest)
    check_kinds(path, rest, [*files, *broken])
    if not files and not broken:
        among = f" among its {len(found):,} files ({name_kinds(others)})" if others else ""
        raise DatasetError(
            f"there are no pictures in {path}{among}: {', '.join(SUFFIXES)} are read, in its folders too"
        )
    check_broken(path, broken, len(files) + len(broken))
    check_folders(path, list(files))
    return Listing(files, headers, broken, lists, others)


def with_beside(listing: Listing, beside: FindFiles, reading: Reading) -> Listing:
    """The listing with the pictures of another split, if its own are of more than 8 bits and no range is given."""
    kinds = {frame.kind for header in listing.headers.values() for frame in header.frames}
    if kinds <= {"bytes"} or reading.range is not None:
        return listing
    likely = _likely(beside())
    headers = _headers(likely, reading.frames, {})
    return listing._replace(beside={file.name: (file, headers[file.name]) for file in likely if file.name in headers})


def list_records(path: Path, records: Sequence[File], frames: str = "first", mixed: bool = False) -> Listing:
    """The pictures of a file's records, each of which must be one, whatever its name, unless they are ``mixed``.

    Raises:
      DatasetError: if there are none, or more than a tenth of them are broken.
    """
    errors: dict[str, Exception] = {}
    headers = for_each(lambda file: read_header(file.read(), frames, signed=True), records, errors, "looking at")
    rest = [each for each in records if mixed and isinstance(errors.get(each.name), UnidentifiedImageError)]
    others = {each.name for each in rest}
    broken = {name: reason(error) for name, error in errors.items() if name not in others}
    if len(rest) == len(records):
        raise DatasetError(f"there are no pictures in {path}" + (f" among its {len(rest):,} records" if rest else ""))
    check_broken(path, broken, len(records) - len(rest))
    files = {file.name: file for file in records if file.name in headers}
    return Listing(files, headers, broken, (), count_kinds(rest))


def _likely(files: Sequence[File]) -> list[File]:
    """The files that are pictures by their suffix, or may be."""
    return [file for file in files if file.suffix in SUFFIXES or not file.suffix]


def _headers(files: Sequence[File], frames: str, errors: dict[str, Exception]) -> dict[str, Header]:
    """The headers of `_likely` files; a file without a suffix must start like a picture."""
    return for_each(lambda file: read_header(file.read(), frames, signed=not file.suffix), files, errors, "looking at")


def for_each(
    work: Callable[[File], T], files: Sequence[File], errors: dict[str, Exception], doing: str
) -> dict[str, T]:
    """Apply ``work`` to files in threads: the results by name, in order; exceptions go into ``errors``."""

    def attempt(files: Sequence[File]) -> list[T | Exception]:
        return [_attempt(work, file) for file in files]

    done: dict[str, T] = {}
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(_threads(files)) as pool,
        tqdm(desc=f"{doing} pictures", total=len(files), disable=None, leave=False) as bar,
    ):
        warnings.simplefilter("ignore")  # Pillow warns of large pictures, and refuses those of over 179 million pixels
        for chunk, results in zip(chunks, pool.map(attempt, chunks), strict=True):
            for file, result in zip(chunk, results, strict=True):
                if isinstance(result, Exception):
                    errors[file.name] = result
                else:
                    done[file.name] = result
            bar.update(len(chunk))
    return done


def _threads(files: Sequence[File]) -> int | None:
    """One thread for small files, as Python's lock makes more of them slower; else `ThreadPoolExecutor`'s default."""
    read = [_attempt(lambda file: file.read(), file) for file in files[:_PROBED]]
    return 1 if all(isinstance(each, Exception) or len(each) < _SMALL_FILE for each in read) else None


def _attempt(work: Callable[[File], T], file: File) -> T | Exception:
    try:
        return work(file)
    except WriteError:  # not the fault of the file
        raise
    except Exception as error:  # Pillow's decoders raise errors of many kinds for damaged files
        return error


def check_broken(path: Path, broken: dict[str, str], total: int) -> None:
    """Raises: DatasetError if more than a tenth of the pictures are broken."""
    if len(broken) > _MOST_BROKEN * total:
        raise DatasetError(
            f"{len(broken):,} of the {total:,} pictures in {path} cannot be read, more than one in ten: "
            f"{name_some(broken)}"
        )


def name_some(broken: dict[str, str]) -> str:
    """The first broken pictures with the reasons, as text."""
    return some(f"{name} ({why})" for name, why in broken.items())
