"""16-bit colours in PNG and TIFF, of which Pillow keeps the high byte: the low byte is decoded separately."""

import sys
from typing import Any

import numpy as np
from PIL import Image

_BITS = 258  # TIFF's tag BitsPerSample
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}  # of 16-bit raw modes


def is_deep(image: Image.Image) -> bool:
    """Whether a picture that is opened but not loaded has 16-bit colours.

    Raises:
      ValueError: if a TIFF has them in planes or premultiplied by alpha, which is not supported.
    """
    return bool(_rawmodes(image))


def all_bits(image: Image.Image, again: Image.Image) -> np.ndarray:
    """The values of a picture for which `is_deep` is true: uint16 [H, W, C], the last of 2 or 4 channels alpha.

    Args:
      image: the picture, not loaded.
      again: the same picture, opened a second time.
    """
    grey = _rawmodes(image)[0] == "LA;16B"
    again.tile = [_of_other_bytes(tile) for tile in _tiles(again)]  # pyright: ignore[reportAttributeAccessIssue]
    low = np.asarray(again).astype(np.uint16)
    if grey:  # the four bytes of a pixel, read as four channels
        return low[..., ::2] * np.uint16(256) + low[..., 1::2]
    return np.asarray(image).astype(np.uint16) * np.uint16(256) + low


def with_transparency(image: Image.Image, values: np.ndarray) -> np.ndarray:
    """Add an alpha channel to the values of a 16-bit PNG that defines a transparent colour; others are unchanged."""
    colour = image.info.get("transparency")
    if image.format != "PNG" or values.dtype != np.uint16 or colour is None or values.shape[2:] == (4,):
        return values
    values = values if values.ndim == 3 else values[..., None]
    shown = (values != np.array(colour, np.uint16)).any(-1, keepdims=True)
    return np.concatenate((values, shown * np.uint16(65535)), -1)


def _rawmodes(image: Image.Image) -> list[str]:
    """Pillow's raw modes of a picture with 16-bit colours; empty for others. Raises: as `is_deep`."""
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA"):
        return []
    rawmodes = [tile[3] if isinstance(tile[3], str) else tile[3][0] for tile in _tiles(image)]
    deep = [mode for mode in rawmodes if mode[-4:-1] == ";16" and "a" not in mode]
    if image.format == "TIFF" and max(image.tag_v2.get(_BITS, (8,))) == 16 and not deep:  # pyright: ignore
        raise ValueError("colours of 16 bits in planes, or multiplied by the transparency")
    return deep


def _tiles(image: Image.Image) -> list[Any]:
    """Pillow's tiles: where the pixels are in the file, and in which raw mode."""
    return image.tile  # pyright: ignore[reportAttributeAccessIssue]


def _of_other_bytes(tile: Any) -> Any:
    """A tile in the raw mode that reads the bytes that Pillow leaves out."""
    arguments = tile[3]
    raw = arguments if isinstance(arguments, str) else arguments[0]
    raw = "RGBA" if raw == "LA;16B" else raw[:-1] + _OTHER_BYTE[raw[-1]]
    changed = raw if isinstance(arguments, str) else (raw, *arguments[1:])
    return tile._replace(args=changed) if hasattr(tile, "_replace") else (*tile[:3], changed)  # before Pillow 11
