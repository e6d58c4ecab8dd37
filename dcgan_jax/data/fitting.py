"""Image sizes: the choice of one for a data set, and cropping and resizing to it."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

from dcgan_jax.data.common import DatasetError
from dcgan_jax.data.mapped import Converted, Lazy, empty_images
from dcgan_jax.memory import free_memory

LARGEST = 64  # longest side of an inferred size, in pixels
_MULTIPLE = 4  # sides must be multiples of this for the networks
_CHUNK = 2**18  # values converted at a time
Size = tuple[int, int]  # height, width


def parse_size(text: str) -> Size:
    """Height and width from ``N`` or ``HxW``.

    Raises:
      ValueError: if it is neither, or a side is not a multiple of 4 from 4 to 1,024.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise ValueError(f"must be N or HxW, such as 64 or 48x64, got {text!r}")
    height, width = int(sides[0]), int(sides[-1])
    for side in (height, width):
        if not 4 <= side <= 1024 or side % _MULTIPLE:
            nearest = min(max((side + 1) // _MULTIPLE * _MULTIPLE, 4), 1024)
            raise ValueError(
                f"must have sides that are multiples of 4 from 4 to 1024, got {text}: {nearest} is the nearest"
            )
    return height, width


def choose_size(sizes: Iterable[Size]) -> Size:
    """The size for images of these sizes: their own, at most 64 on the longer side, in multiples of 4.

    Images of several sizes get a square with the median of their shorter sides.
    """
    distinct = set(sizes := list(sizes))
    if len(distinct) > 1:
        side = int(np.median([min(size) for size in sizes]))
        distinct = {(side, side)}
    ((height, width),) = distinct
    scale = min(1.0, LARGEST / max(height, width))
    return _down(height * scale), _down(width * scale)


def size_for(image_size: Size | Literal["own"] | None, sizes: list[Size]) -> Size:
    """The size to give images of these sizes; ``image_size`` is as in `dcgan_jax.data.load_data`."""
    if image_size == "own":
        return sizes[0] if len(set(sizes)) == 1 else choose_size(sizes)
    return image_size or choose_size(sizes)


def _down(side: float) -> int:
    return max(int(side + 1e-6) // _MULTIPLE * _MULTIPLE, _MULTIPLE)


def fit(image: Image.Image, size: Size) -> Image.Image:
    """Crop an image around its centre to the aspect ratio of ``size``, and resize it with antialiasing.

    An image whose sides exceed ``size`` by less than 4 pixels is only cropped, which keeps it sharp.
    """
    height, width = size
    if image.size == (width, height):
        return image
    if _is_nearly((image.height, image.width), size):
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def say_fit(sizes: Iterable[Size], size: Size) -> str:
    """What `fit` does to images of these sizes, some of which differ from ``size``, as the end of a sentence."""
    changed = [each for each in sizes if each != size]
    resized = [each for each in changed if not _is_nearly(each, size)]
    cropped = len(resized) < len(changed) or any(h * size[1] != w * size[0] for h, w in resized)
    done = (["cropped around their centre"] if cropped else []) + (["resized"] if resized else [])
    return f"{' and '.join(done)} to {size[0]}x{size[1]}"


def _is_nearly(have: Size, size: Size) -> bool:
    """Whether both sides exceed ``size`` by less than 4 pixels, so that an image is only cropped."""
    return all(0 <= side - wanted < _MULTIPLE for side, wanted in zip(have, size, strict=True))


def fit_array(images: np.ndarray, size: Size, channels: int) -> np.ndarray:
    """`fit` and `to_channels` for images uint8 [N, H, W, C], C 1 or 3: [N, *size, channels]."""
    return in_pieces(lambda some: to_channels(_fit_all(some, size), channels), images, (*size, channels))


def in_pieces(convert: Callable[[np.ndarray], np.ndarray], images: Any, shape: tuple[int, ...]) -> Any:
    """Apply ``convert`` to ``images`` [N, ...], a few at a time to save memory: uint8 [N, *shape].

    Images of a memory-mapped array are converted when they are read, so the result may be larger than memory.
    """
    if isinstance(images, (np.memmap, Lazy)):
        return Converted(images, lambda some: in_pieces(convert, np.asarray(some), shape), shape)
    out = empty_images((len(images), *shape))
    n = max(1, _CHUNK // max(math.prod(images.shape[1:]), math.prod(shape)))
    for start in range(0, len(images), n):
        out[start : start + n] = convert(images[start : start + n])
    return out


def _fit_all(images: np.ndarray, size: Size) -> np.ndarray:
    n, height, width, channels = images.shape
    if (height, width) == size:
        return images
    out = np.empty((n, *size, channels), np.uint8)
    for image, row in zip(images, out, strict=True):
        fitted = np.asarray(fit(Image.fromarray(image[..., 0] if channels == 1 else image), size))
        row[...] = fitted.reshape(row.shape)
    return out


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Convert uint8 [..., 1 or 3] to ``channels``: luma (ITU-R BT.601) of colours, or three equal channels."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    weights = np.array([299, 587, 114], np.uint32)
    return ((images @ weights + 500) // 1000).astype(np.uint8)[..., None]


def check_memory(images: int, size: Size, channels: int, source: object) -> None:
    """Raises: DatasetError if so many images do not fit into the free memory."""
    what = f"{source}: {images:,} images of {size[0]}x{size[1]}x{channels}"
    needed = 2 * images * size[0] * size[1] * channels  # on the host and on the device
    check_bytes(needed, what, "choose a smaller `image_size`, or fewer images")


def check_bytes(needed: int, what: str, remedy: str) -> None:
    """Raises: DatasetError if ``needed`` bytes exceed the free memory."""
    free = free_memory()
    if free is not None and needed > free:
        sizes = f"{needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free"
        raise DatasetError(f"{what} take {sizes}: {remedy}")
