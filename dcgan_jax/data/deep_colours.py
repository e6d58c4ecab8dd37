"""Colours of 16 bits in PNG and TIFF, of which Pillow keeps 8: it is asked for the others too."""

import sys
from typing import Any

import numpy as np
from PIL import Image

_BITS = 258  # tag of a TIFF
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}  # of Pillow's modes of 16 bits


def is_deep(image: Image.Image) -> bool:
    """Whether a picture that was opened and not loaded is in colours of 16 bits.

    Raises:
      ValueError: if they are in a form that Pillow reads as if they were of 8 bits, or one that is not read here.
    """
    return bool(_rawmodes(image))


def all_bits(image: Image.Image, again: Image.Image) -> np.ndarray:
    """The values of a picture for which `is_deep` is true, uint16 [H, W, C], the last of 2 or 4 channels transparency.

    Args:
      image: the picture, not loaded.
      again: the same, opened another time.
    """
    grey = _rawmodes(image)[0] == "LA;16B"
    again.tile = [_of_other_bytes(tile) for tile in _tiles(again)]  # pyright: ignore[reportAttributeAccessIssue]
    low = np.asarray(again).astype(np.uint16)
    if grey:  # its four bytes, read as four channels
        return low[..., ::2] * np.uint16(256) + low[..., 1::2]
    return np.asarray(image).astype(np.uint16) * np.uint16(256) + low


def with_transparency(image: Image.Image, values: np.ndarray) -> np.ndarray:
    """Values of a PNG of 16 bits that names a colour which is transparent, with a channel that says where it is."""
    colour = image.info.get("transparency")
    if image.format != "PNG" or values.dtype != np.uint16 or colour is None or values.shape[2:] == (4,):
        return values
    values = values if values.ndim == 3 else values[..., None]
    shown = (values != np.array(colour, np.uint16)).any(-1, keepdims=True)
    return np.concatenate((values, shown * np.uint16(65535)), -1)


def _rawmodes(image: Image.Image) -> list[str]:
    """How a file has colours of 16 bits, in Pillow's words; nothing of others."""
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA"):
        return []
    rawmodes = [tile[3] if isinstance(tile[3], str) else tile[3][0] for tile in _tiles(image)]
    deep = [mode for mode in rawmodes if mode[-4:-1] == ";16" and "a" not in mode]
    if image.format == "TIFF" and max(image.tag_v2.get(_BITS, (8,))) == 16 and not deep:  # pyright: ignore
        raise ValueError("colours of 16 bits in planes, or multiplied by the transparency")
    return deep


def _tiles(image: Image.Image) -> list[Any]:
    """Where a file's pixels are, and in which form."""
    return image.tile  # pyright: ignore[reportAttributeAccessIssue]


def _of_other_bytes(tile: Any) -> Any:
    """A part of a file's pixels with the bytes that Pillow leaves out."""
    arguments = tile[3]
    raw = arguments if isinstance(arguments, str) else arguments[0]
    raw = "RGBA" if raw == "LA;16B" else raw[:-1] + _OTHER_BYTE[raw[-1]]
    changed = raw if isinstance(arguments, str) else (raw, *arguments[1:])
    return tile._replace(args=changed) if hasattr(tile, "_replace") else (*tile[:3], changed)  # before Pillow 11
