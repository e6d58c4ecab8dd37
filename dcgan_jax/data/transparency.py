"""Arrays of images with an alpha channel, composited on white like pictures with transparency."""

import numpy as np

from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.value_range import ValueRange

_ORDERS = ("NHWC", "NCHW")  # axis orders tried for arrays with alpha if none is given


def with_alpha(array: np.ndarray, layout: str | None) -> np.ndarray | None:
    """The array as [N, H, W, 4] if it has four channels and cannot be images with 1 or 3; else None."""
    shape = array.shape
    if array.ndim != 4 or min(shape) < 1 or (layout is None and {1, 3} & set(shape[1:])):
        return None
    for order in (layout,) if layout else _ORDERS:
        if len(order) == 4 and shape[order.index("C")] == 4:
            return array.transpose([order.index(letter) for letter in "NHWC"])
    return None


def opacity_range(opacity: np.ndarray, colours: ValueRange, what: object) -> ValueRange:
    """The values of transparent and opaque: 0 and the largest of uint8 or uint16, or else the colours' white.

    Raises:
      DatasetError: if values are outside.
    """
    low, high = float(opacity.min()), float(opacity.max())
    white = np.iinfo(opacity.dtype).max if opacity.dtype in (np.uint8, np.uint16) else colours.white
    if not 0 <= low <= high <= white:
        raise DatasetError(
            f"{what}: the fourth channel is from {low:g} to {high:g}, no opacity from 0 to {white:g}: leave it out"
        )
    return ValueRange(0, white)


def on_white(images: np.ndarray, colours: ValueRange, opacity: ValueRange) -> np.ndarray:
    """Composite images [N, H, W, 4] on white: uint8 [N, H, W, 3]."""
    pixels = colours.to_bytes(images[..., :3]).astype(np.uint32)
    alpha = opacity.to_bytes(images[..., 3:]).astype(np.uint32)
    return ((pixels * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def transparent_images(images: np.ndarray, opacity: ValueRange) -> int:
    """The number of images in [N, H, W, 4] with a pixel that is not opaque."""
    return int((images[..., 3].min((1, 2)) < opacity.white).sum())
