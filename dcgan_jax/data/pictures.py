"""Listing and decoding of the pictures of a folder or an archive."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import UnidentifiedImageError
from tqdm import tqdm

from dcgan_jax.data.common import Dataset, DatasetError, Reading
from dcgan_jax.data.decoding import Decoded, Header, Kind, decode, extremes, read_header
from dcgan_jax.data.fitting import Size, to_channels
from dcgan_jax.data.folders import check_folders, find_lists
from dcgan_jax.data.mapped import NewArray, WriteError, kept
from dcgan_jax.data.members import File, FindFiles, printable, reason, some
from dcgan_jax.data.picture_files import SUFFIXES, check_kinds, count_kinds, name_kinds
from dcgan_jax.data.value_range import DARK, LEAST_BRIGHT, ValueRange, known_range

_MOST_BROKEN = 0.1  # share of the pictures; more are unlikely to be an accident
_CHUNK = 32  # pictures per task of the thread pool
_PROBED = 8  # files whose sizes decide how many threads there are
# Bytes. On two cores one thread took 0.76 of the time for files of 6 kB (64x64 pixels), and 1.16 for those of 11 kB.
_SMALL_FILE = 8_000
_WITHOUT_COLOURS = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # Pillow modes
_NAMES: dict[Kind, str] = {
    "integers": "more than 8 bits",
    "scaled": "more than 8 bits with a white of their own",
    "floats": "floating point",
    "bytes": "8 bits",
}
T = TypeVar("T")
NewImages = Callable[[tuple[int, ...]], np.ndarray | NewArray]


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
    likely = [file for file in found if file.suffix in SUFFIXES or not file.suffix]
    errors: dict[str, Exception] = {}
    headers = _each(lambda file: read_header(file.read(), frames, signed=not file.suffix), likely, errors, "looking at")
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
    frames = reading.frames
    likely = [file for file in beside() if file.suffix in SUFFIXES or not file.suffix]
    headers = _each(lambda file: read_header(file.read(), frames, signed=not file.suffix), likely, {}, "looking at")
    return listing._replace(beside={file.name: (file, headers[file.name]) for file in likely if file.name in headers})


def list_records(path: Path, records: Sequence[File], frames: str = "first", mixed: bool = False) -> Listing:
    """The pictures of a file's records, each of which must be one, whatever its name, unless they are ``mixed``.

    Raises:
      DatasetError: if there are none, or more than a tenth of them are broken.
    """
    errors: dict[str, Exception] = {}
    headers = _each(lambda file: read_header(file.read(), frames, signed=True), records, errors, "looking at")
    rest = [each for each in records if mixed and isinstance(errors.get(each.name), UnidentifiedImageError)]
    others = {each.name for each in rest}
    broken = {name: reason(error) for name, error in errors.items() if name not in others}
    if len(rest) == len(records):
        raise DatasetError(f"there are no pictures in {path}" + (f" among its {len(rest):,} records" if rest else ""))
    check_broken(path, broken, len(records) - len(rest))
    files = {file.name: file for file in records if file.name in headers}
    return Listing(files, headers, broken, (), count_kinds(rest))


def read_pictures(
    path: Path,
    listing: Listing,
    size: Size,
    channels: int | None,
    reading: Reading,
    dark: bool,
    new: NewImages,
) -> tuple[Dataset, dict[str, str]]:
    """Decode the pictures of a listing, and find broken files by name, with the reasons.

    Transparent pixels become white, and colours with a profile are converted to sRGB. The values of black and white are
    set once for all pictures of a kind: integers of more than 8 bits, floats, bytes. The result depends only on the
    arguments and the names and contents that `Listing.digest` covers.

    Args:
      path: the folder or the archive, for messages.
      listing: its pictures.
      size: crop each picture around its centre to this aspect ratio, and resize it.
      channels: 1 or 3. If None, as many as the pictures need: 1 if all are grey, even in files with colours.
      reading: its ``range`` is the value range, which is inferred if None.
      dark: whether pictures may be nearly black or uniform.
      new: makes the array of a given shape to decode into, in memory or in a file.

    Raises:
      DatasetError: if all pictures are broken, or their values fit no known range.
    """
    broken: dict[str, str] = {}
    ranges: dict[Kind, ValueRange] = {}
    for kind in ("integers", "scaled", "floats"):
        ranges |= _range_of(path, listing, kind, reading, broken, dark)
    if reading.range is not None and not ranges:  # it applies to deeper pictures only, if there are any
        ranges["bytes"] = ValueRange(*reading.range)
    images, decoded = _decode_all(path, listing, size, channels, ranges, broken, new)
    if "bytes" not in ranges and not dark and _brightest(listing, decoded) < DARK:
        ranges |= _range_of(path, listing, "bytes", reading, broken, dark)
        images, decoded = _decode_all(path, listing, size, channels, ranges, broken, new)
    every = [each for group in decoded.values() for each in group]
    grey = channels is None and all(each.grey for each in every)
    images = kept(images, len(every), 1 if grey else images.shape[3])
    notes, altered = _conversions(listing, decoded, ranges, images.shape[-1])
    return Dataset(images, notes=(*altered, *notes), altered=tuple(altered)), broken


def _decode_all(
    path: Path,
    listing: Listing,
    size: Size,
    channels: int | None,
    ranges: dict[Kind, ValueRange],
    broken: dict[str, str],
    new: NewImages,
) -> tuple[Any, dict[str, list[Decoded]]]:
    """Decode the files that are not ``broken``, and add those that fail: the images, and the properties by file."""
    good = [file for file in listing.files.values() if file.name not in broken]
    counts = {file.name: len(listing.headers[file.name].frames) for file in good}
    starts = dict(zip(counts, np.cumsum([0, *counts.values()]).tolist(), strict=False))
    modes = [frame.mode for file in good for frame in listing.headers[file.name].frames]
    depth = channels or (1 if all(mode in _WITHOUT_COLOURS for mode in modes) else 3)
    images = new((sum(counts.values()), *size, depth))

    def place(file: File) -> list[Decoded]:
        pictures = decode(file.read(), size, listing.headers[file.name].frames, ranges)
        for row, (pixels, _) in enumerate(pictures, starts[file.name]):
            images[row] = to_channels(pixels, depth)
        return [decoded for _, decoded in pictures]

    errors: dict[str, Exception] = {}
    decoded = _each(place, good, errors, "reading")
    broken |= {name: reason(error) for name, error in errors.items()}
    if not decoded:
        check_broken(path, broken, len(broken))
    end = 0
    for name, pictures in decoded.items():  # close the gaps of broken files
        if end != starts[name]:
            images[end : end + len(pictures)] = images[starts[name] : starts[name] + len(pictures)]
        end += len(pictures)
    return images, decoded


def _range_of(
    path: Path, listing: Listing, kind: Kind, reading: Reading, broken: dict[str, str], dark: bool
) -> dict[Kind, ValueRange]:
    """The value range of all pictures of a kind, also of those of another split; empty if there are none."""
    own = {name: (listing.files[name], header) for name, header in listing.headers.items() if name not in broken}
    every = own | dict(listing.beside)
    frames = {name: [each for each in header.frames if each.kind == kind] for name, (_, header) in every.items()}
    files = [every[name][0] for name, some in frames.items() if some]
    if not any(frames[name] for name in own):
        return {}
    if reading.range is not None:
        return {kind: ValueRange(*reading.range)}
    errors: dict[str, Exception] = {}
    found = _each(lambda file: extremes(file.read(), frames[file.name]), files, errors, "looking at")
    broken |= {name: reason(error) for name, error in errors.items() if name in own}
    if not found:
        return {}
    lowest, highest = min(found, key=lambda name: found[name][0]), max(found, key=lambda name: found[name][1])
    low, high = found[lowest][0], found[highest][1]
    try:
        if kind == "scaled":
            return {kind: _range_of_scaled(path, high, dark)}
        known = known_range(low, high, integers=kind != "floats", what=path, dark=dark)
    except DatasetError as error:
        raise DatasetError(f"{error} (lowest in {printable(lowest)}, highest in {printable(highest)})") from error
    note = known.note or f"{known.black:g} to {known.white:g} taken as black to white"
    return {kind: known._replace(note=f"{note} (from both splits)" if listing.beside else note)}


def _range_of_scaled(path: Path, high: float, dark: bool) -> ValueRange:
    """The value range of integers that Pillow scales to 65,535. Raises: DatasetError if they are nearly black."""
    if high < LEAST_BRIGHT * 65535 and not dark:
        raise DatasetError(
            f"{path}: pixels are up to {high:,.0f} where 65,535 is white, nearly black: add `range=0,{high:.0f}` "
            "to make that white, or `range=0,65535` if they are as dark as that"
        )
    return ValueRange(0, 65535)


def _brightest(listing: Listing, decoded: dict[str, list[Decoded]]) -> int:
    """The highest value of all 8-bit pictures, or 255 if there are none."""
    found = [
        each.brightest
        for name, pictures in decoded.items()
        for each, frame in zip(pictures, listing.headers[name].frames, strict=True)
        if frame.kind == "bytes"
    ]
    return max(found, default=255)


def _each(work: Callable[[File], T], files: Sequence[File], errors: dict[str, Exception], doing: str) -> dict[str, T]:
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


def _conversions(
    listing: Listing, decoded: dict[str, list[Decoded]], ranges: dict[Kind, ValueRange], channels: int
) -> tuple[list[str], list[str]]:
    """Notes on conversions, with numbers of pictures: those that keep what pictures show, and those that alter it."""
    frames = [frame for name in decoded for frame in listing.headers[name].frames]
    found = [each for pictures in decoded.values() for each in pictures]

    def lines(counts: dict[str, int]) -> list[str]:
        return [text.format(f"{count:,} of {len(found):,} pictures") for text, count in counts.items() if count]

    altered = {
        "transparent pixels made white in {}": sum(each.transparent for each in found),
        "values outside `range` made black or white in {}": sum(each.cut for each in found),
    }
    notes = {
        f"{{}} are of {_NAMES[kind]}: {ranges[kind].note}": sum(frame.kind == kind for frame in frames)
        for kind in ranges
        if ranges[kind].note
    }
    notes["{} converted to sRGB by their colour profile"] = sum(each.profile == "converted" for each in found)
    notes["{} have a colour profile that cannot be used"] = sum(each.profile == "unusable" for each in found)
    if channels == 1:
        notes["{} made grey"] = sum(not each.grey for each in found)
    else:
        notes["{} are grey, and given equal colours"] = sum(frame.mode in _WITHOUT_COLOURS for frame in frames)
    return lines(notes), lines(altered)
