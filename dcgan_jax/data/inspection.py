"""Checks for suspect images in a data set: repeated, nearly black and nearly uniform ones."""

import hashlib

import numpy as np

from dcgan_jax.data.value_range import DARK

UNIFORM = 8  # of 255; a smaller difference within an image is noise or compression, judged by eye


def find_dark(images: np.ndarray) -> np.ndarray:
    """The indices of the nearly black images in [N, H, W, C], whose highest value is below a quarter of white."""
    return np.flatnonzero(images.reshape(len(images), -1).max(1) < DARK)


def find_uniform(images: np.ndarray) -> np.ndarray:
    """The indices of the images in [N, H, W, C] of nearly one colour, without those that `find_dark` finds.

    In each channel the highest value is less than `UNIFORM` above the lowest.
    """
    pixels = images.reshape(len(images), -1, images.shape[-1])  # [N, H W, C]
    contrast = (pixels.max(1) - pixels.min(1)).max(-1)
    return np.setdiff1d(np.flatnonzero(contrast < UNIFORM), find_dark(images))


def find_repeated(images: np.ndarray, earlier: np.ndarray | None = None) -> dict[int, int]:
    """The images with the same pixels as an earlier one: a dictionary from their indices to those of the first ones.

    Args:
      images: uint8 [N, H, W, C].
      earlier: the images to look for the first ones in, [M, H, W, C]; ``images`` themselves if None.
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
