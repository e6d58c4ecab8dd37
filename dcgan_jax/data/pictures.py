"""Decoding of the pictures of a listing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.data.common import Dataset, DatasetError, Reading
from dcgan_jax.data.decoding import Decoded, Kind, decode, extremes
from dcgan_jax.data.fitting import Size, to_channels
from dcgan_jax.data.listings import Listing, check_broken, for_each
from dcgan_jax.data.mapped import NewArray, kept
from dcgan_jax.data.members import File, printable, reason
from dcgan_jax.data.value_range import DARK, LEAST_BRIGHT, ValueRange, known_range

_WITHOUT_COLOURS = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # Pillow modes
_NAMES: dict[Kind, str] = {
    "integers": "more than 8 bits",
    "scaled": "more than 8 bits with a white of their own",
    "floats": "floating point",
    "bytes": "8 bits",
}
NewImages = Callable[[tuple[int, ...]], np.ndarray | NewArray]


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
    decoded = for_each(place, good, errors, "reading")
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
    found = for_each(lambda file: extremes(file.read(), frames[file.name]), files, errors, "looking at")
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
