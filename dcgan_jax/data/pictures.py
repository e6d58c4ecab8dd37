"""A folder of pictures, or a zip of one."""

import contextlib
import hashlib
import os
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import UnidentifiedImageError
from tqdm import tqdm

from dcgan_jax.data.common import Dataset, DatasetError
from dcgan_jax.data.decoding import Header, decode, highest_value, read_header
from dcgan_jax.data.fitting import Size, to_channels
from dcgan_jax.errors import first_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")
_MOST_BROKEN = 0.1  # share of the pictures; more of them are no accident
_LARGEST_FILE = 2**30  # bytes
NAMED = 3  # broken pictures and classes that are named
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
_CHUNK = 32  # pictures that a thread reads in one go
T = TypeVar("T")


class Picture(NamedTuple):
    """A file: its name within the folder, with slashes, and a function that reads it."""

    name: str
    read: Callable[[], bytes]


class Listing(NamedTuple):
    """The good pictures of a folder in the order of their names, what is wrong with the others, and their number."""

    pictures: dict[str, Picture]
    headers: dict[str, Header]
    broken: dict[str, str]
    others: int

    def digest(self) -> str:
        """Of all names and contents, in hexadecimal."""
        sha256 = hashlib.sha256()
        for name, header in self.headers.items():
            sha256.update(os.fsencode(name) + b"\0" + header.digest)
        return sha256.hexdigest()


class Decoded(NamedTuple):
    """What a picture turned out to be: without colours, and with transparent pixels."""

    grey: bool
    transparent: bool


@contextlib.contextmanager
def list_pictures(path: Path) -> Iterator[Listing]:
    """The pictures of a folder and of its folders, or of a zip, while it is open. Hidden files are left out.

    Raises:
      DatasetError: if there are none, it cannot be read, its folders are splits, or more than a tenth of the pictures
        are broken.
    """
    with _opened(path) as (pictures, others):
        if not pictures:
            among = f" among its {others:,} files" if others else ""
            raise DatasetError(
                f"there are no pictures in {path}{among}: {', '.join(SUFFIXES)} are read, in its folders too"
            )
        broken: dict[str, str] = {}
        headers = _each(lambda p: read_header(p.read()), pictures, broken, "looking at")
        check_broken(path, broken, len(pictures))
        _check_splits(path, list(headers))
        yield Listing(
            {picture.name: picture for picture in pictures if picture.name in headers}, headers, broken, others
        )


def read_pictures(
    path: Path, listing: Listing, size: Size, channels: int | None = None
) -> tuple[Dataset, dict[str, str]]:
    """The pictures of a listing, and the names of those that turn out to be broken, with the reasons.

    The folders at the top are classes, if there are several and every picture is in one. Transparent pixels become
    white. Integers of more than 8 bits are from 0 to 255 or 65,535, and floats to 1, 255 or 65,535: whichever holds all
    such pictures. All of it depends on nothing but the names and contents that `Listing.digest` is of.

    Args:
      path: the folder or the zip.
      listing: its.
      size: crop each picture around its centre to this shape, and resize it.
      channels: 1 or 3; as many as the pictures have if None: grey ones in files of colours are grey.

    Raises:
      DatasetError: if all are broken, or the range of their floats is none of these.
    """
    broken: dict[str, str] = {}
    whites, notes = _whites(path, listing, broken)
    good = [picture for picture in listing.pictures.values() if picture.name not in broken]
    rows = {picture.name: row for row, picture in enumerate(good)}
    images = np.empty((len(good), *size, channels or 3), np.uint8)

    def place(picture: Picture) -> Decoded:
        header = listing.headers[picture.name]
        pixels, transparent = decode(picture.read(), size, header, whites.get(header.deep(), 0.0))
        images[rows[picture.name]] = to_channels(pixels, channels or 3)
        return Decoded(bool((pixels == pixels[..., :1]).all()), transparent)

    decoded = _each(place, good, broken, "reading")
    if not decoded:
        check_broken(path, broken, len(broken))
    for row, name in enumerate(decoded):
        if row != rows[name]:  # the rows of broken pictures are closed up
            images[row] = images[rows[name]]
    images = images[: len(decoded)]
    if channels is None and all(each.grey for each in decoded.values()):
        images = np.ascontiguousarray(images[..., :1])
    labels, classes = _classes(list(decoded))
    transparent = _transparent(decoded)
    notes += [*transparent, *_conversions(decoded, listing.headers, images.shape[-1])]
    return Dataset(images, labels, classes, tuple(notes), transparent), broken


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[list[Picture], int]]:
    """The files that are pictures by their suffix, in order, and the number of other files."""
    with contextlib.ExitStack() as stack:
        try:
            files = _walk(path) if path.is_dir() else _members(stack.enter_context(zipfile.ZipFile(path)))
            found = _order(files)
        except DatasetError:
            raise
        # Of a zip: of a later version; with names, dates or sizes that cannot be.
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise DatasetError(f"cannot read {path} ({_reason(error)})") from error
        yield found


def _walk(root: Path) -> Iterator[Picture]:
    """Every file; a folder that is reached twice, through a link, is read once."""

    def fail(error: OSError) -> None:
        raise DatasetError(f"cannot read the folder {error.filename} ({error.strerror})") from error

    seen = set()
    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(folder, name)
            yield Picture(path.relative_to(root).as_posix(), lambda path=path: _read_file(path))


def _read_file(path: Path) -> bytes:
    if not path.is_file():  # a broken link, or a pipe that nobody writes to
        raise OSError("no file")
    _check_file_size(path.stat().st_size)
    return path.read_bytes()


def _members(archive: zipfile.ZipFile) -> Iterator[Picture]:
    for info in archive.infolist():
        if not info.is_dir():
            yield Picture(info.filename.replace("\\", "/"), lambda info=info: _read_member(archive, info))


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _check_file_size(info.file_size)
    return archive.read(info)  # RuntimeError: it is encrypted


def _check_file_size(size: int) -> None:
    if size > _LARGEST_FILE:
        raise OSError(f"larger than {_LARGEST_FILE >> 30} GiB")


def _order(files: Iterator[Picture]) -> tuple[list[Picture], int]:
    """Pictures by name, without hidden files and what macOS adds to archives, and the number of other files."""
    visible = [
        file for file in files if not any(part.startswith(".") or part == "__MACOSX" for part in file.name.split("/"))
    ]
    pictures = [file for file in visible if file.name.lower().endswith(SUFFIXES)]
    return sorted(pictures, key=lambda file: os.fsencode(file.name).split(b"/")), len(visible) - len(pictures)


def _each(work: Callable[[Picture], T], pictures: list[Picture], broken: dict[str, str], doing: str) -> dict[str, T]:
    """The results of ``work`` by name, in order; what it raises goes into ``broken``."""

    def attempt(pictures: list[Picture]) -> list[T | Exception]:
        return [_attempt(work, picture) for picture in pictures]

    done: dict[str, T] = {}
    chunks = [pictures[start : start + _CHUNK] for start in range(0, len(pictures), _CHUNK)]
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor() as pool,
        tqdm(desc=f"{doing} pictures", total=len(pictures), disable=None, leave=False) as bar,
    ):
        warnings.simplefilter("ignore")  # Pillow warns of large pictures, and refuses those of over 179 million pixels
        for chunk, results in zip(chunks, pool.map(attempt, chunks), strict=True):
            for picture, result in zip(chunk, results, strict=True):
                if isinstance(result, Exception):
                    broken[picture.name] = _reason(result)
                else:
                    done[picture.name] = result
            bar.update(len(chunk))
    return done


def _attempt(work: Callable[[Picture], T], picture: Picture) -> T | Exception:
    try:
        return work(picture)
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them
        return error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no picture"
    return getattr(error, "strerror", None) or first_line(error)


def _whites(path: Path, listing: Listing, broken: dict[str, str]) -> tuple[dict[str, float], list[str]]:
    """The values that are white in pictures of more than 8 bits, by their kind, and a note of each."""
    whites: dict[str, float] = {}
    notes = []
    for kind, possible in (("integers", (255, 65535)), ("floats", (1, 255, 65535))):
        pictures = [p for name, p in listing.pictures.items() if listing.headers[name].deep() == kind]
        highs = _each(lambda p: highest_value(p.read()), pictures, broken, "looking at")
        if not highs:
            continue
        high = max(highs.values())
        if kind == "floats" and 1 < high <= 1.5:  # nearly black, or a little too bright
            raise DatasetError(
                f"{path}: floats must be in [0, 1] or [0, 255], got pictures of 0 to {high:g}: scale them so"
            )
        whites[kind] = next(white for white in possible if high <= white)
        notes.append(f"0 to {whites[kind]:,} taken as black to white in {len(highs):,} pictures of {kind}")
    return whites, notes


def check_broken(path: Path, broken: dict[str, str], total: int) -> None:
    """Raises: DatasetError if more than a tenth of the pictures are broken."""
    if len(broken) > _MOST_BROKEN * total:
        raise DatasetError(
            f"{len(broken):,} of the {total:,} pictures in {path} cannot be read, more than one in ten: "
            f"{name_some(broken)}"
        )


def name_some(broken: dict[str, str]) -> str:
    """The first of the broken pictures, with the reasons."""
    named = [f"{printable(name)} ({reason})" for name, reason in list(broken.items())[:NAMED]]
    return ", ".join(named) + (", ..." if len(broken) > NAMED else "")


def printable(name: str) -> str:
    """A file's name with a question mark for whatever cannot be printed."""
    return "".join(character if character.isprintable() else "?" for character in name)


def _tops(names: list[str]) -> list[str]:
    """The folder at the top, below those that all share, of each picture; none if a picture is in none."""
    folders = [name.split("/")[:-1] for name in names]
    shared = len(os.path.commonprefix(folders))  # pyright: ignore[reportCallIssue, reportArgumentType]
    return ["/".join(parts[: shared + 1]) for parts in folders] if all(len(parts) > shared for parts in folders) else []


def _check_splits(path: Path, names: list[str]) -> None:
    tops = {folder.split("/")[-1]: folder for folder in _tops(names)}
    if len(tops) > 1 and {name.lower() for name in tops} <= _SPLITS:
        one = printable(tops[min(tops, key=lambda name: not name.lower().startswith("train"))])
        give = f"give one of them, such as {path / one}" if path.is_dir() else f"unpack it, and give one, such as {one}"
        raise DatasetError(f"the folders {', '.join(tops)} in {path} are splits of a data set, not classes: {give}")


def _classes(names: list[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The class of each picture and the names of the classes, if there are any."""
    tops = _tops(names)
    if not tops:
        return None, ()
    folders = list(dict.fromkeys(tops))  # in the order of the names
    numbers = {folder: i for i, folder in enumerate(folders)}
    classes = tuple(printable(folder.split("/")[-1]) for folder in folders)
    return np.array([numbers[top] for top in tops], np.int32), classes


def _transparent(decoded: dict[str, Decoded]) -> tuple[str, ...]:
    transparent = sum(each.transparent for each in decoded.values())
    return (f"transparent pixels made white in {transparent:,} of {len(decoded):,} pictures",) if transparent else ()


def _conversions(decoded: dict[str, Decoded], headers: dict[str, Header], channels: int) -> Iterator[str]:
    of = f"of {len(decoded):,} pictures"
    colours = sum(not each.grey for each in decoded.values())
    grey = sum(headers[name].mode[0] in "1LIF" for name in decoded)  # in files without colours
    if channels == 1 and colours:
        yield f"{colours:,} {of} made grey"
    if channels == 3 and grey:
        yield f"{grey:,} {of} are grey, and given equal colours"
