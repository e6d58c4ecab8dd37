"""Known faults of real digits, with a strength from 0 (none) upwards.

Each `Fault` takes a pool of images, uint8 [N, 28, 28, 1], their labels [N], the number of images to return, the
strength and a random generator, and returns that many faulty images. They are drawn without replacement, unless the
fault is repetition.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

Fault = Callable[[np.ndarray, np.ndarray, int, float, np.random.Generator], np.ndarray]


class Scan(NamedTuple):
    """A fault, its strengths in ascending order, and the unit of a strength."""

    make: Fault
    strengths: tuple[float, ...]
    unit: str


def of_image(change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]) -> Fault:
    """A fault that applies ``change`` to each image [28, 28] in [0, 1] by itself."""

    def make(images: np.ndarray, labels: np.ndarray, n: int, strength: float, rng: np.random.Generator) -> np.ndarray:
        del labels
        chosen = images[rng.permutation(len(images))[:n]]
        if not strength:
            return chosen
        changed = np.stack([change(image[..., 0] / 255, strength, rng) for image in chosen])
        return np.rint(np.clip(changed, 0, 1) * 255).astype(np.uint8)[..., None]

    return make


def blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur with a standard deviation of ``sigma`` pixels."""
    return ndimage.gaussian_filter(image, sigma)


def break_strokes(image: np.ndarray, gaps: float, rng: np.random.Generator) -> np.ndarray:
    """Cut ``gaps`` gaps into strokes: black discs of radius 2 pixels, each around a random pixel of a stroke."""
    rows, columns = np.nonzero(image > 0.5)
    image, grid = image.copy(), np.mgrid[:28, :28]
    for at in rng.integers(len(rows), size=int(gaps)):
        image[(grid[0] - rows[at]) ** 2 + (grid[1] - columns[at]) ** 2 <= 4] = 0
    return image


def thicken(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Widen strokes by up to a pixel on each side: mix the image with its grey dilation by 3x3 pixels."""
    return image + share * (ndimage.grey_dilation(image, (3, 3)) - image)


def thin(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Narrow strokes by up to half a pixel on each side: mix the image with its grey erosion by a cross of 5 pixels."""
    cross = ndimage.generate_binary_structure(2, 1)
    return image + share * (ndimage.grey_erosion(image, footprint=cross) - image)


def fade(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Darken the image by this share, so that strokes are grey."""
    return image * (1 - share)


def add_blobs(image: np.ndarray, blobs: float, rng: np.random.Generator) -> np.ndarray:
    """Add ``blobs`` bright spots of 2x2 pixels at random places."""
    image = image.copy()
    for _ in range(int(blobs)):
        row, column = rng.integers(1, 26, size=2)
        spot = image[row : row + 2, column : column + 2]
        np.maximum(spot, rng.uniform(0.5, 1, (2, 2)), out=spot)
    return image


def add_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise with a standard deviation of ``sigma`` to each pixel; white is 1."""
    return image + sigma * rng.standard_normal(image.shape)


def rotate(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Rotate by this angle, to a random side, with cubic splines: linear interpolation would blur too."""
    return ndimage.rotate(image, rng.choice((-1, 1)) * degrees, reshape=False, order=3)


def distort(image: np.ndarray, pixels: float, rng: np.random.Generator) -> np.ndarray:
    """Elastic distortion by a smooth random field of shifts, of this standard deviation (Simard and others, 2003)."""
    shifts = ndimage.gaussian_filter(rng.uniform(-1, 1, (2, 28, 28)), (0, 3, 3))
    shifts *= pixels / shifts.std()
    return ndimage.map_coordinates(image, np.mgrid[:28, :28] + shifts, order=3)


def with_noise_images(
    images: np.ndarray, labels: np.ndarray, n: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Replace a share of the images with uniform noise."""
    chosen = images[rng.permutation(len(images))[:n]].copy()
    k = round(strength * n)
    chosen[:k] = rng.integers(0, 256, chosen[:k].shape)
    return chosen


def with_chimeras(
    images: np.ndarray, labels: np.ndarray, n: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Replace a share of the images with the upper half of one digit on the lower half of another: no digits."""
    order = rng.permutation(len(images))
    chosen, k = images[order[:n]].copy(), round(strength * n)
    others, own = images[order[::-1]], labels[order]
    other_labels = labels[order[::-1]]
    different = np.nonzero(own[:n] != other_labels[:n])[0][:k]
    chosen[different, 14:] = others[different, 14:]
    return chosen


def without_a_digit(
    images: np.ndarray, labels: np.ndarray, n: int, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Leave out a share of the eights."""
    return _drawn(images, labels, np.where(np.arange(10) == 8, 1 - strength, 1.0), n, rng)


def uneven(images: np.ndarray, labels: np.ndarray, n: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draw digits with shares that fall linearly from 0 to 9: 1 + strength, ..., 1 - strength tenths."""
    return _drawn(images, labels, 1 + strength * (1 - 2 * np.arange(10) / 9), n, rng)


def repeated(images: np.ndarray, labels: np.ndarray, n: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Repeat each image 2^strength times, so that modes are lost."""
    few = images[rng.permutation(len(images))[: round(n / 2**strength)]]
    return np.resize(few, (n, *images.shape[1:]))


def _drawn(images: np.ndarray, labels: np.ndarray, weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` different images; digit d's share is its share in the pool times ``weights[d]``, normalised."""
    shares = np.bincount(labels, minlength=10) * weights
    bounds = np.rint(n * np.cumsum(shares) / shares.sum()).astype(int)
    counts = np.diff(bounds, prepend=0)
    chosen = [rng.permutation(np.nonzero(labels == digit)[0])[:count] for digit, count in enumerate(counts)]
    return images[np.concatenate(chosen)]


SCANS = {
    "blurred": Scan(of_image(blur), (0.5, 0.75, 1, 1.5), "pixels"),
    "broken strokes": Scan(of_image(break_strokes), (1, 2, 4, 8), "gaps"),
    "thickened": Scan(of_image(thicken), (0.25, 0.5, 0.75, 1), "share"),
    "thinned": Scan(of_image(thin), (0.25, 0.5, 0.75, 1), "share"),
    "grey": Scan(of_image(fade), (0.1, 0.2, 0.4, 0.6), "share"),
    "stray spots": Scan(of_image(add_blobs), (1, 2, 4, 8), "spots"),
    "noisy pixels": Scan(of_image(add_noise), (0.05, 0.1, 0.2, 0.4), "sigma"),
    "rotated": Scan(of_image(rotate), (5, 10, 20, 40), "degrees"),
    "distorted": Scan(of_image(distort), (0.5, 1, 1.5, 2), "pixels"),
    "noise images": Scan(with_noise_images, (0.02, 0.05, 0.1, 0.2), "share"),
    "chimeras": Scan(with_chimeras, (0.1, 0.2, 0.4, 0.8), "share"),
    "eights missing": Scan(without_a_digit, (0.25, 0.5, 0.75, 1), "share"),
    "uneven digits": Scan(uneven, (0.25, 0.5, 0.75, 1), "slope"),
    "repeated": Scan(repeated, (2, 3, 4, 5), "log2 of times"),
}
