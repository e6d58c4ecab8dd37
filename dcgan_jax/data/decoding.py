"""Decoding of one file of pictures: its frames and their pixels."""

import hashlib
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from dcgan_jax.data.colour_profiles import Profile, to_srgb
from dcgan_jax.data.deep_colours import all_bits, is_deep, with_transparency
from dcgan_jax.data.fitting import Size, fit
from dcgan_jax.data.value_range import ValueRange

_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "TGA", "ICO")
_UNSIGNED = ("TGA", "ICO", "DIB")  # formats without a signature at the start
_ANIMATED = (
    "GIF",
    "WEBP",
    "PNG",
    "AVIF",
    "TIFF",
)  # whose other frames are pictures, not views or sizes of the first
_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_PHOTOMETRIC, _TIFF_KIND = 256, 257, 262, 254
_TIFF_SAMPLES = 339  # 2 for signed integers
_WHITE_IS_ZERO = 0
_NO_PICTURE = 1 | 4  # bits of TIFF's NewSubfileType: a smaller copy, or a mask, of another page
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # PNG chunks that Pillow refuses if they are large
Kind = Literal["bits", "bytes", "integers", "scaled", "floats"]
T = TypeVar("T")


class Frame(NamedTuple):
    """One picture of a file: a frame of an animation or a page.

    Attributes:
      number: its index in the file, from 0.
      size: height and width, after EXIF rotation.
      turn: the EXIF orientation that is still to be applied.
      mode: Pillow's mode.
      kind: what its values are: ``bits``, ``bytes``, ``integers`` or ``floats`` of more than 8 bits, or ``scaled``
        integers, whose file defines white, which Pillow has scaled to 65,535.
      inverted: whether 0 is white and Pillow does not invert it.
    """

    number: int
    size: Size
    turn: int
    mode: str
    kind: Kind
    inverted: bool = False


class Header(NamedTuple):
    """The frames to take of a file, the number of its other frames, and the SHA-256 of its content."""

    frames: tuple[Frame, ...]
    others: int
    digest: bytes


class Decoded(NamedTuple):
    """Properties of a decoded picture.

    Attributes:
      grey: whether all channels are equal.
      transparent: whether it had transparent pixels.
      profile: what was done with its colour profile.
      brightest: the highest value, 0 to 255.
      cut: whether values outside the value range were clipped.
    """

    grey: bool
    transparent: bool
    profile: Profile
    brightest: int
    cut: bool


def read_header(content: bytes, frames: str = "first", signed: bool = False) -> Header:
    """Read the header of a file, without decoding its pixels.

    Args:
      content: the content of the file.
      frames: ``first`` or ``all``; smaller copies and masks in a TIFF do not count.
      signed: accept only formats with a signature, for a file whose name does not give the format.

    Raises: whatever Pillow raises if it is not a picture.
    """

    def read(content: bytes) -> tuple[list[Frame], int]:
        with _open(content, signed) as image:
            indices = _indices(image)
            taken = indices if frames == "all" else indices[:1]
            return [_frame(image, index) for index in taken], len(indices) - len(taken)

    found, others = _without_texts(read, content)
    return Header(tuple(found), others, hashlib.sha256(content).digest())


def extremes(content: bytes, frames: Sequence[Frame]) -> tuple[float, float]:
    """The lowest and the highest value of these frames, without alpha.

    Raises:
      ValueError: if a value is NaN or infinite.
    """

    def find(content: bytes) -> list[np.ndarray]:
        with _open(content) as image:
            return [_colours(_values(image, content, frame)) for frame in frames]

    values = _without_texts(find, content)
    low, high = (float(pick([pick(each) for each in values])) for pick in (np.min, np.max))
    if not np.isfinite([low, high]).all():
        raise ValueError("it has numbers that are NaN or infinite")
    return low, high


def decode(
    content: bytes, size: Size, frames: Sequence[Frame], ranges: dict[Kind, ValueRange]
) -> list[tuple[np.ndarray, Decoded]]:
    """Decode frames of a file to uint8 [H, W, 3] of the same size, each with its properties.

    Transparent pixels become white.

    Args:
      content: the content of the file.
      size: height and width; pictures are cropped around their centre and resized.
      frames: the frames to decode.
      ranges: the value range by kind; required for all kinds but ``bits`` and ``bytes``.
    """

    def read(content: bytes) -> list[tuple[np.ndarray, Decoded]]:
        with _open(content) as image:
            # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, which suffices for a large one.
            image.draft(None, (2 * max(size), 2 * max(size)))
            return [_decode_frame(image, content, size, frame, ranges.get(frame.kind)) for frame in frames]

    return _without_texts(read, content)


def _decode_frame(
    image: Image.Image, content: bytes, size: Size, frame: Frame, value_range: ValueRange | None
) -> tuple[np.ndarray, Decoded]:
    profile, cut = image.info.get("icc_profile"), False
    if frame.kind in ("integers", "scaled", "floats"):
        assert value_range is not None
        values = _values(image, content, frame)
        cut = _is_outside(_colours(values), value_range)
        picture = _to_picture(values, value_range, frame.inverted)
    else:
        image.seek(frame.number)
        image.load()  # before this a TIFF may have another size
        picture = image
        if value_range is not None and frame.kind == "bytes":
            picture = image.convert("RGBA") if image.has_transparency_data else _grey_or_rgb(image)
            values = np.asarray(picture)
            cut = _is_outside(_colours(values), value_range)
            picture = _to_picture(values, value_range)
    picture, converted = to_srgb(picture, profile)
    transparent = False
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        transparent = bool(np.asarray(picture.getchannel("A")).min() < 255)
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture if picture.mode == "RGB" else picture.convert("RGB")
    picture = picture.transpose(_TURNS[frame.turn]) if frame.turn in _TURNS else picture
    pixels = np.asarray(fit(picture, size))
    grey = bool((pixels == pixels[..., :1]).all())
    return pixels, Decoded(grey, transparent, converted, int(pixels.max()), cut)


def _open(content: bytes, signed: bool = False) -> Image.Image:
    Image.init()
    formats = [each for each in _FORMATS if each in Image.OPEN and not (signed and each in _UNSIGNED)]
    return Image.open(io.BytesIO(content), formats=formats)


def _without_texts(work: Callable[[bytes], T], content: bytes) -> T:
    """``work(content)``; if Pillow refuses a PNG for its large text or colour profile, without these chunks."""
    try:
        return work(content)
    except ValueError:
        if not content.startswith(_PNG):
            raise
        return work(_PNG + b"".join(chunk for kind, chunk in _chunks(content) if kind not in _TEXTS))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: the type and the bytes of each."""
    start = len(_PNG)
    while start + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, start)
        yield kind, png[start : start + length + 12]
        start += length + 12


def _indices(image: Image.Image) -> list[int]:
    """The indices of a file's pictures; never empty."""
    if image.format not in _ANIMATED:
        return [0]
    try:
        count = getattr(image, "n_frames", 1)
        if image.format != "TIFF":
            return list(range(count))
        pictures = [index for index in range(count) if not _tag(image, index, _TIFF_KIND, 0) & _NO_PICTURE]
    except Exception:  # whatever Pillow raises for a damaged later page
        pictures = [0]
    return pictures or [0]


def _tag(image: Image.Image, index: int, tag: int, default: int) -> int:
    image.seek(index)
    value = image.tag_v2.get(tag, default)  # pyright: ignore[reportAttributeAccessIssue]
    return value if isinstance(value, int) else default


def _frame(image: Image.Image, index: int) -> Frame:
    if image.format == "TIFF":
        return _page(image, index)
    kind = _kind(image)  # before getexif, which decodes a PNG
    width, height = image.size
    turn = image.getexif().get(_EXIF_ORIENTATION, 1)
    return Frame(index, (width, height) if turn in _SIDEWAYS else (height, width), turn, image.mode, kind)


def _page(image: Image.Image, index: int) -> Frame:
    """The frame of a page of a TIFF.

    Pillow rotates the page when it loads it. Whether its size is the rotated one before that depends on Pillow's
    version; that in the tags never is.
    """
    height, width = _tag(image, index, _TIFF_HEIGHT, 1), _tag(image, index, _TIFF_WIDTH, 1)
    if image.mode == "L" and 2 in np.atleast_1d(image.tag_v2.get(_TIFF_SAMPLES, 1)):  # pyright: ignore
        raise ValueError("its bytes have a sign: save them without, or in 16 bits")
    size = (width, height) if _tag(image, index, _EXIF_ORIENTATION, 1) in _SIDEWAYS else (height, width)
    inverted = image.mode[0] in "IF" and _tag(image, index, _TIFF_PHOTOMETRIC, 1) == _WHITE_IS_ZERO
    return Frame(index, size, 1, image.mode, _kind(image), inverted)


def _kind(image: Image.Image) -> Kind:
    if image.mode[0] == "F":
        return "floats"
    if image.mode[0] == "I":
        return "scaled" if image.format in ("PPM", "JPEG2000") else "integers"
    if is_deep(image):
        return "integers"
    return "bits" if image.mode == "1" else "bytes"


def _values(image: Image.Image, content: bytes, frame: Frame) -> np.ndarray:
    """The values of a picture as stored: [H, W] or [H, W, C], where the last of 2 or 4 channels is alpha."""
    image.seek(frame.number)
    if frame.kind == "integers" and is_deep(image):
        with _open(content) as again:
            again.seek(frame.number)
            values = all_bits(image, again)
    else:
        values = np.asarray(image if frame.kind != "bytes" else _grey_or_rgb(image))
    return with_transparency(image, values)


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _colours(values: np.ndarray) -> np.ndarray:
    """Values without the alpha channel."""
    return values[..., :-1] if values.ndim == 3 and values.shape[-1] in (2, 4) else values


def _is_outside(values: np.ndarray, value_range: ValueRange) -> bool:
    return bool(values.min() < value_range.black or values.max() > value_range.white)


def _to_picture(values: np.ndarray, value_range: ValueRange, inverted: bool = False) -> Image.Image:
    """Values as an 8-bit picture; alpha is scaled from the depth of its dtype."""
    pixels = value_range.to_bytes(_colours(values))
    pixels = 255 - pixels if inverted else pixels
    if pixels.shape != values.shape:
        alpha = values[..., -1:] >> 8 if values.dtype == np.uint16 else values[..., -1:]
        pixels = np.concatenate((pixels, alpha.astype(np.uint8)), -1)
    if pixels.shape[-1] == 1 and pixels.ndim == 3:
        pixels = pixels[..., 0]
    return Image.fromarray(pixels)
