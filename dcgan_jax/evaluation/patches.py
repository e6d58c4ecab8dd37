"""The sliced Wasserstein distance between the patches of two sets of images, at each level of their Laplacian pyramids.

It needs no network, and takes images of any size with one or three channels. The definition is that of Karras and
others, Progressive growing of GANs, arXiv:1710.10196, section 5: patches of 7x7 pixels, from the full size down to 16
pixels, 512 directions. Here the number of patches does not depend on the number of images, and both sets are normalised
by the mean and standard deviation of the real one; the authors' code normalises each by its own, which hides a change
of contrast.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dcgan_jax.prng import pin_key

SIDE = 7  # of a patch, in pixels
PATCHES = 2**17  # per set and level
DIRECTIONS = 512
_SMALLEST = 16  # pixels: a level whose shorter side is at most this is the last one
_PIXELS = 2**22  # values of images on the device at a time: 16 MB, and a few times that while a pyramid is built
_AT_ONCE = 16  # directions that patches are projected onto at a time: 8 MB in float32 for each set


def pyramid_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes of a pyramid's levels: halved, rounded up, until the shorter side is at most 16."""
    sizes = [(height, width)]
    while min(sizes[-1]) > _SMALLEST:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


@jax.jit
def laplacian_pyramid(images: jax.Array) -> list[jax.Array]:
    """The Laplacian pyramid of images [N, H, W, C], the smallest level last; its sizes are those of `pyramid_sizes`.

    Downsampling blurs by (1, 4, 6, 4, 1) / 16 along both axes, with the image reflected at its edges, and takes every
    second pixel; upsampling inserts zeros between the pixels and applies four times the same blur.

    References:
      Burt and Adelson, The Laplacian pyramid as a compact image code, 1983.
    """
    levels = []
    for _ in pyramid_sizes(*images.shape[1:3])[1:]:
        smaller = _blur(images)[:, ::2, ::2]
        levels.append(images - _blur(jnp.zeros_like(images).at[:, ::2, ::2].set(4 * smaller)))
        images = smaller
    return [*levels, images]


def draw_patches(images: np.ndarray, key: jax.Array, count: int = PATCHES) -> list[np.ndarray]:
    """Draw patches of 7x7 pixels at random positions of each pyramid level: float32 [count, 7, 7, C] per level.

    All images have equally many patches, up to one. A few megabytes of images are processed at a time.

    Args:
      images: uint8 [N, H, W, C], H and W at least 7.
      key: a PRNG key for the positions.
      count: the number of patches per level.
    """
    n, height, width, channels = images.shape
    owner = np.arange(count) * n // count  # the image of each patch, ascending
    sizes = pyramid_sizes(height, width)
    corners = [
        _random_corners(jax.random.fold_in(pin_key(key), level), size, count) for level, size in enumerate(sizes)
    ]
    patches = [np.empty((count, SIDE, SIDE, channels), np.float32) for _ in sizes]
    size = min(max(_PIXELS // (height * width * channels), 1), n)
    for start in range(0, n, size):
        some = images[start : start + size]
        padded = np.concatenate([some, np.zeros((size - len(some), *some.shape[1:]), np.uint8)])  # one compiled program
        chosen = slice(*np.searchsorted(owner, (start, start + size)))
        for level, at, out in zip(_pyramid_of_bytes(padded), corners, patches, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(np.asarray(level), (SIDE, SIDE), axis=(1, 2))
            rows, columns = at[chosen].T
            out[chosen] = np.moveaxis(windows[owner[chosen] - start, rows, columns], 1, -1)  # [.., C, 7, 7]
    return patches


def sliced_wasserstein(fake: np.ndarray, real: np.ndarray, key: jax.Array, directions: int = DIRECTIONS) -> float:
    """The mean Wasserstein-1 distance of two sets of patches, projected onto random directions, times 1,000.

    Args:
      fake: [N, 7, 7, C].
      real: [N, 7, 7, C]; its mean and standard deviation in each channel normalise both sets.
      key: a PRNG key for the directions.
      directions: the number of directions.
    """
    mean, std = real.mean((0, 1, 2)), real.std((0, 1, 2))
    std = np.where(std > 0, std, 1)  # a constant channel
    fake, real = (((patches - mean) / std).reshape(len(patches), -1) for patches in (fake, real))
    with jax.default_matmul_precision("float32"):
        drawn = jax.random.normal(pin_key(key), (fake.shape[1], directions), jnp.float32)
        drawn = np.asarray(drawn / jnp.linalg.norm(drawn, axis=0))
    total = 0.0
    for start in range(0, directions, _AT_ONCE):
        some = drawn[:, start : start + _AT_ONCE].T
        # In NumPy, whose sort is twenty times as fast as XLA's on a CPU.
        along = np.sort(some @ fake.T, axis=1) - np.sort(some @ real.T, axis=1)
        total += float(np.abs(along, out=along).mean(1, dtype=np.float64).sum())
    return 1e3 * total / directions


def _blur(x: jax.Array) -> jax.Array:
    for axis in (1, 2):
        n = x.shape[axis]
        padded = jnp.pad(x, [(2, 2) if i == axis else (0, 0) for i in range(4)], mode="reflect")
        parts = [lax.slice_in_dim(padded, i, i + n, axis=axis) for i in range(5)]
        x = (parts[0] + parts[4] + 4 * (parts[1] + parts[3]) + 6 * parts[2]) / 16
    return x


@jax.jit
def _pyramid_of_bytes(images: jax.Array) -> list[jax.Array]:
    return laplacian_pyramid(images.astype(jnp.float32) / 255)


def _random_corners(key: jax.Array, size: tuple[int, int], count: int) -> np.ndarray:
    """Row and column of each patch's top left pixel: [count, 2]."""
    last = jnp.array([size[0] - SIDE + 1, size[1] - SIDE + 1])
    return np.asarray(jax.random.randint(key, (count, 2), 0, last, jnp.int32))
