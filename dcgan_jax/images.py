"""Grids of images, as arrays and as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.files import replace_file
from dcgan_jax.paths import local_path

_GAP = 2  # pixels between the images of a grid
_SCALE = 4  # screen pixels per image pixel: 28x28 digits are too small to look at


def image_grid(images: np.ndarray, columns: int = 4) -> np.ndarray:
    """Lay images out row by row on white: [N, H, W, C] in [0, 1] or uint8 -> uint8 [height, width, C].

    Each image pixel becomes 4x4 pixels, and 2 image pixels are left between and around the images: sixteen
    28x28 images in 4 columns make 488x488.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    n, h, w, c = images.shape
    rows = -(-n // columns)
    grid = np.full((rows * (h + _GAP) + _GAP, columns * (w + _GAP) + _GAP, c), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = _GAP + i // columns * (h + _GAP), _GAP + i % columns * (w + _GAP)
        grid[top : top + h, left : left + w] = image
    return grid.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)


def save_grid(path: str | Path, images: np.ndarray, columns: int = 4) -> None:
    """Write `image_grid` as a PNG; a reader never sees part of the file.

    Raises:
      PathError: if the path is a URL.
      ValueError: unless the images have 1 (grey) or 3 (RGB) channels.
      OSError: if the directory cannot be written.
    """
    picture = to_picture(image_grid(images, columns))
    replace_file(local_path(path, "path"), lambda partial: picture.save(partial, format="png"))


def to_picture(grid: np.ndarray) -> Any:
    """A grid, uint8 [height, width, C], as Pillow's image.

    Raises:
      ValueError: unless it has 1 (grey) or 3 (RGB) channels.
    """
    from PIL import Image  # imported when used: sampling without files does not need it

    if grid.shape[-1] not in (1, 3):
        raise ValueError(f"a PNG needs 1 or 3 channels, got {grid.shape[-1]}")
    return Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid)


def read_grid(path: Path) -> np.ndarray:
    """What `save_grid` wrote: uint8 [height, width, C].

    Raises:
      OSError: if it cannot be read, or is no picture.
    """
    from PIL import Image

    with Image.open(path) as picture:
        return np.atleast_3d(np.asarray(picture))
