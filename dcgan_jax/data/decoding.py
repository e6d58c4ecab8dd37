"""One picture: what its file is, and its pixels."""

import hashlib
import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from dcgan_jax.data.fitting import Size, fit, from_16_bits

_EXIF_ORIENTATION = 0x0112


class Header(NamedTuple):
    """What a file is: its picture's height and width as shown, EXIF orientation and mode, and its content's SHA-256."""

    size: Size
    orientation: int
    mode: str
    digest: bytes

    def deep(self) -> str:
        """``integers`` or ``floats`` if its pixels have more than 8 bits, or nothing."""
        return {"I": "integers", "F": "floats"}.get(self.mode[0], "")


def read_header(content: bytes) -> Header:
    """The header of a picture, whose pixels are not decoded. Raises: what Pillow raises if it is none."""
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        mode, orientation = image.mode, image.getexif().get(_EXIF_ORIENTATION, 1)
    size = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    return Header(size, orientation, mode, hashlib.sha256(content).digest())


def highest_value(content: bytes) -> float:
    """The highest value of a picture of more than 8 bits. Raises: ValueError if a value is none of 16 bits."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image)
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 65535):  # NaN, too
        raise ValueError(f"pixels from {low:g} to {high:g}")
    return high


def decode(content: bytes, size: Size, header: Header, white: float) -> tuple[np.ndarray, bool]:
    """A picture as uint8 [H, W, 3], and whether it has transparent pixels, which become white.

    ``white`` is its highest value if it has more than 8 bits.
    """
    with Image.open(io.BytesIO(content)) as image:
        # JPEG can be decoded at a half, a quarter or an eighth, which is all that a large one needs.
        image.draft(None, (2 * max(size), 2 * max(size)))
        picture = image if header.orientation == 1 else ImageOps.exif_transpose(image)
        if header.deep():
            picture = Image.fromarray(_to_eight_bits(np.asarray(picture), white))
        transparent = False
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            transparent = bool(np.asarray(picture.getchannel("A")).min() < 255)
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return np.asarray(fit(picture if picture.mode == "RGB" else picture.convert("RGB"), size)), transparent


def _to_eight_bits(pixels: np.ndarray, white: float) -> np.ndarray:
    """Grey pixels from 0 to ``white`` as uint8."""
    if np.issubdtype(pixels.dtype, np.integer):
        return from_16_bits(pixels) if white == 65535 else pixels.astype(np.uint8)
    return np.rint(pixels.astype(np.float64) * (255 / white)).astype(np.uint8)
