"""What is wrong with images of a data set although they can be read: repeated, nearly black or nearly uniform ones."""

import hashlib

import numpy as np

from dcgan_jax.data.value_range import DARK

UNIFORM = 8  # of 255: less difference within an image is noise or compression, by eye


def find_dark(images: np.ndarray) -> np.ndarray:
    """The numbers of the images [N, H, W, C] whose brightest value is below a quarter of white: nearly black ones."""
    return np.flatnonzero(images.reshape(len(images), -1).max(1) < DARK)


def find_uniform(images: np.ndarray) -> np.ndarray:
    """The numbers of the images [N, H, W, C] of one colour, or nearly so, and brighter than `find_dark` finds.

    In each channel the highest value is less than `UNIFORM` above the lowest.
    """
    pixels = images.reshape(len(images), -1, images.shape[-1])  # [N, H W, C]
    contrast = (pixels.max(1) - pixels.min(1)).max(-1)
    return np.setdiff1d(np.flatnonzero(contrast < UNIFORM), find_dark(images))


def find_repeated(images: np.ndarray, earlier: np.ndarray | None = None) -> dict[int, int]:
    """The images that have the same pixels as an earlier one: their numbers, and those of the first ones.

    Args:
      images: uint8 [N, H, W, C].
      earlier: images of the same shape, [M, H, W, C], in which the first ones are then; the images' own if None.
    """
    first: dict[bytes, int] = {}
    if earlier is not None:
        for number, image in enumerate(earlier):
            first.setdefault(_digest(image), number)
        found = ((number, first.get(_digest(image))) for number, image in enumerate(images))
        return {number: original for number, original in found if original is not None}
    originals = ((number, first.setdefault(_digest(image), number)) for number, image in enumerate(images))
    return {number: original for number, original in originals if number != original}


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
