"""Read images to score from files of any program."""

from pathlib import Path

import numpy as np

from dcgan_jax.data import Dataset, Reading, load_data
from dcgan_jax.data.decoding import read_header
from dcgan_jax.data.picture_files import SUFFIXES
from dcgan_jax.evaluation.classifier import IMAGE_SHAPE
from dcgan_jax.evaluation.images import EvaluationError, in_chunks

_SIDE = IMAGE_SHAPE[0]
_OTHERS = "`dataset` says which real images others are compared with"


def load_images(path: Path, reading: Reading | None = None) -> Dataset:
    """Load images with `load_data`, at their own size and without labels.

    Args:
      path: a file or folder.
      reading: how it is read; by its contents alone if None.

    Raises:
      EvaluationError: if ``path`` is a single picture.
      DatasetError: as `load_data`.
    """
    if path.suffix.lower() in SUFFIXES and path.is_file():
        _refuse_picture(path)
    reading = reading or Reading()
    # A name of labels is passed on: it says which array or column holds no images.
    images = load_data(path, image_size="own", **reading.arguments(labels=reading.labels is not None))
    return images._replace(labels=None, classes=())


def as_digits(images: Dataset, source: object) -> np.ndarray:
    """Check that images can be scored as digits, and return them in grey: uint8 [N, 28, 28, 1].

    Three equal channels count as one.

    Raises:
      EvaluationError: if they have another size or colours, or were altered when they were read.
    """
    height, width = images.images.shape[1:3]
    if (height, width) != (_SIDE, _SIDE):
        _refuse_grid(height, width, f"{source} holds pictures that are grids of images")
        raise EvaluationError(f"images of digits must be {_SIDE}x{_SIDE}, in {source} are {height}x{width}: {_OTHERS}")
    if images.altered:
        raise EvaluationError(
            f"{source} is not scored as it is: {images.altered[0]}; digits must be whole pictures, all of "
            f"{_SIDE}x{_SIDE}, without transparency"
        )
    grey = _as_grey(images.images)
    if grey is None:
        raise EvaluationError(f"the images in {source} are coloured, and digits are grey: {_OTHERS}")
    return grey


def as_real(images: np.ndarray, source: object, channels: int, dataset: str) -> np.ndarray:
    """Return images [N, H, W, 1 or 3] with the channels of the real images of ``dataset``.

    Three equal channels count as one, and grey images are given three equal channels.

    Raises:
      EvaluationError: if the images are coloured and the real ones are grey.
    """
    if channels > 1:
        return np.broadcast_to(images, (*images.shape[:3], channels))
    grey = _as_grey(images)
    if grey is None:
        raise EvaluationError(
            f"the images in {source} are coloured, those of {dataset} are grey: give coloured real images with "
            "`dataset`, or draw the images in grey"
        )
    return grey


def _as_grey(images: np.ndarray) -> np.ndarray | None:
    """Images [N, H, W, 1 or 3] as [N, H, W, 1], or None if the channels of a pixel differ."""
    equal = all((some == some[..., :1]).all() for some in in_chunks(images))
    return images[..., :1] if equal else None


def _refuse_picture(path: Path) -> None:
    try:
        size = read_header(path.read_bytes()).frames[0].size
    except Exception:  # whatever Pillow raises for a damaged file
        size = (1, 1)
    _refuse_grid(*size, f"{path} is a grid of images")
    raise EvaluationError(f"{path} is a single picture: give the folder that holds all of them")


def _refuse_grid(height: int, width: int, what: str) -> None:
    """Raises: EvaluationError if the size is that of a grid of digits, in which every pixel is drawn as 4x4."""
    if all(length > 8 and length % 4 == 0 and length // 4 % (_SIDE + 2) == 2 for length in (height, width)):
        raise EvaluationError(f"{what}: draw them into an .npy, by sample with `out=FILE.npy`")
