"""Images as files: grids, with or without labels, and one file per image."""

import functools
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.counts import check_counts
from dcgan_jax.files import create_dir, replace_file
from dcgan_jax.paths import local_path
from dcgan_jax.scales import scale_remedy

_SLACK = 0.1  # beyond [0, 1], by which resized images may be
_GAP = 2  # pixels between the images of a grid
_SCALE = 4  # screen pixels per image pixel: 28x28 digits are too small to look at
_LABEL = 14  # height of the label font, in screen pixels
_LINE = 26  # height of a line of labels, in screen pixels
_NEXT_LINE = 18  # of another below it


def image_grid(images: np.ndarray, columns: int = 4, scale: int = _SCALE) -> np.ndarray:
    """Lay images out row by row on white: [N, H, W, C] in [0, 1] or uint8 -> uint8 [height, width, C].

    Each image pixel becomes 4x4 pixels, or another ``scale``, with a gap of 2 image pixels between and around the
    images: sixteen 28x28 images in 4 columns make 488x488.

    Raises:
      ValueError: if there is no image, or the number of columns is not an integer of at least 1.
      TypeError: as `as_bytes`.
    """
    check_counts(columns=columns)
    images = as_bytes(images)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be [N, H, W, C], none of them 0, got {list(images.shape)}")
    n, h, w, c = images.shape
    rows = -(-n // columns)
    grid = np.full((rows * (h + _GAP) + _GAP, columns * (w + _GAP) + _GAP, c), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = _GAP + i // columns * (h + _GAP), _GAP + i % columns * (w + _GAP)
        grid[top : top + h, left : left + w] = image
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)


def grid_images(grid: np.ndarray, shape: Sequence[int], n: int, columns: int = 4) -> np.ndarray:
    """The images of an `image_grid`, from its pixels: uint8 [height, width, C] -> uint8 [n, H, W, C].

    Raises:
      ValueError: if the grid is not one of ``n`` images of this shape [H, W, C].
    """
    h, w, c = shape
    rows, pixels = -(-n // columns), grid[::_SCALE, ::_SCALE]
    if pixels.shape != (rows * (h + _GAP) + _GAP, columns * (w + _GAP) + _GAP, c):
        raise ValueError(f"a picture of {list(grid.shape)} is no grid of {n} images of {list(shape)}")
    cells = pixels[_GAP:, _GAP:].reshape(rows, h + _GAP, columns, w + _GAP, c)
    return cells[:, :h, :, :w].swapaxes(1, 2).reshape(-1, h, w, c)[:n]


def labelled_grid(
    images: np.ndarray, columns: int, labels: Sequence[str], row_labels: Sequence[str] = ()
) -> np.ndarray:
    """An `image_grid` with labels in black on white: uint8 [height, width, C].

    Args:
      images: [N, H, W, C].
      columns: the number of columns.
      labels: N texts in ASCII, one above each image. A row of empty texts takes no space.
      row_labels: a text for each row, to its left.
    """
    from PIL import ImageDraw

    font = _font()
    h, w = images.shape[1:3]
    widest = max(map(font.getlength, labels), default=0) + _LABEL / 2
    scale = max(_SCALE, math.ceil(widest / (w + _GAP)))  # tiny images are enlarged, so that their labels have room
    pitch, gap = (h + _GAP) * scale, _GAP * scale
    grid = image_grid(images, columns, scale)
    margin = math.ceil(max(map(font.getlength, row_labels)) + gap) if row_labels else 0
    pieces, texts, top = [], [], 0
    for row in range(-(-len(images) // columns)):
        above = labels[row * columns : (row + 1) * columns]
        if any(above):
            pieces.append(np.full((max(0, _LINE - gap), *grid.shape[1:]), 255, np.uint8))
            top += len(pieces[-1])
        centres = [margin + gap + w * scale / 2 + i * (w + _GAP) * scale for i in range(len(above))]
        texts += [((x, top + gap - 5), text, "ms") for x, text in zip(centres, above, strict=True)]
        if row_labels:
            texts.append(((margin, top + gap + h * scale / 2), row_labels[row], "rm"))
        pieces.append(grid[row * pitch : (row + 1) * pitch])
        top += pitch
    canvas = np.concatenate([*pieces, grid[-gap:]])
    canvas = np.pad(canvas, ((0, 0), (margin, 0), (0, 0)), constant_values=255)
    picture = as_picture(canvas)
    draw = ImageDraw.Draw(picture)
    for place, text, anchor in texts:
        draw.text(place, text, fill=0, font=font, anchor=anchor)
    return np.asarray(picture).reshape(canvas.shape)


def with_title(pixels: np.ndarray, *lines: str) -> np.ndarray:
    """A picture, uint8 [H, W, C], with lines of text above it, black on white, aligned left.

    The font is smaller if a line would be wider than the picture.
    """
    from PIL import ImageDraw

    canvas = np.pad(pixels, ((_LINE + _NEXT_LINE * (len(lines) - 1), 0), (0, 0), (0, 0)), constant_values=255)
    picture = as_picture(canvas)
    size = next(each for each in range(_LABEL, 0, -1) if each == 1 or has_room(pixels.shape[1], *lines, size=each))
    for i, line in enumerate(lines):
        place = (_GAP * _SCALE, _LINE - 6 + i * _NEXT_LINE)
        ImageDraw.Draw(picture).text(place, line, fill=0, font=_font(size), anchor="ls")
    return np.asarray(picture).reshape(canvas.shape)


def has_room(width: int, *lines: str, size: int = _LABEL) -> bool:
    """Whether lines of this font size fit above a picture of so many pixels in `with_title`."""
    return max(map(_font(size).getlength, lines)) <= width - 2 * _GAP * _SCALE


def grid_pixels(shape: Sequence[int], n: int, columns: int) -> int:
    """The number of pixels in a grid of ``n`` images of shape [H, W, C], without labels."""
    return (shape[0] + _GAP) * -(-n // columns) * (shape[1] + _GAP) * columns * _SCALE**2


def save_grid(path: str | Path, images: np.ndarray, columns: int = 4) -> None:
    """Write an `image_grid` as a PNG; a reader never sees a partial file.

    Raises:
      PathError: if the path is a URL.
      ValueError: unless the images have 1 (grey) or 3 (RGB) channels, if they are in another range, such as a tanh's,
        and as `image_grid`. Values up to a tenth below 0 or above 1 are cut off.
      TypeError: as `image_grid`.
      OSError: if the directory cannot be written.
    """
    path, grid = local_path(path, "path"), image_grid(images, columns)
    _check_range(np.asarray(images))
    save_png(path, grid)


def _check_range(images: np.ndarray) -> None:
    """Raises: ValueError if images that are not uint8 are in another range than [0, 1]."""
    finite = images[np.isfinite(images)].astype(np.float32) if images.dtype != np.uint8 else np.zeros(0, np.float32)
    low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
    if low < -_SLACK or high > 1 + _SLACK:
        raise ValueError(f"images must be uint8 or in [0, 1], got {low:.3g} to {high:.3g}: {scale_remedy(low, high)}")


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 [H, W, C] as a PNG; raises as `save_grid`."""
    picture = as_picture(pixels)
    replace_file(path, lambda partial: picture.save(partial, format="png"))


def save_each(folder: Path, names: Iterable[str], images: np.ndarray) -> None:
    """Write each image of [N, H, W, C] as its own PNG, ``<name>.png``; raises as `create_dir` and `save_grid`."""
    pictures = [as_picture(image) for image in as_bytes(images)]

    def write(partial: Path) -> None:
        for name, picture in zip(names, pictures, strict=True):
            picture.save(partial / f"{name}.png", format="png")

    create_dir(folder, write)


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1], rounded to 8 bits, NaN to 0; uint8 images are unchanged. Raises: TypeError for other types."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "fbV":  # V: bfloat16
        raise TypeError(f"images must be uint8 or numbers in [0, 1], got {images.dtype}")
    levels = np.clip(images, 0, 1) * 255
    return np.rint(np.where(np.isnan(levels), 0, levels)).astype(np.uint8)


def as_picture(pixels: np.ndarray) -> Any:
    """A Pillow image from uint8 [H, W, C], grey or RGB.

    Raises:
      ValueError: unless there are 1 or 3 channels.
    """
    from PIL import Image  # imported when used: sampling without files does not need it

    if pixels.shape[-1] not in (1, 3):
        raise ValueError(f"a PNG needs 1 or 3 channels, got {pixels.shape[-1]}")
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def read_grid(path: Path) -> np.ndarray:
    """The pixels that `save_grid` wrote: uint8 [H, W, C], grey or RGB.

    Raises:
      OSError, SyntaxError: if it cannot be read, or is not a PNG; Pillow raises others for some damaged files.
    """
    from PIL import Image

    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=["PNG"]) as picture:
        grey = picture.mode in ("1", "L")
        return np.asarray(picture.convert("L" if grey else "RGB")).reshape(picture.height, picture.width, -1)


@functools.cache
def _font(size: int = _LABEL) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)  # Pillow's own, which covers ASCII
