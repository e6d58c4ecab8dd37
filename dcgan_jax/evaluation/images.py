"""Check images to score, and convert them to uint8 like real images."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.console import counted
from dcgan_jax.errors import UserError
from dcgan_jax.evaluation.classifier import FEATURES
from dcgan_jax.sampling import sample_in_batches
from dcgan_jax.scales import scale_remedy
from dcgan_jax.state import GANState

DEFAULT_SAMPLES = 10_000  # the number of MNIST's test images; FID depends on the number
MIN_SAMPLES = FEATURES + 1  # with fewer the covariance of the features is singular
MAX_SAMPLES = 60_000  # the number of MNIST's training images, which give the floor
_PIXELS = 2**24  # values converted to float64 at a time: 128 MB


class EvaluationError(UserError):
    """Images cannot be scored."""


def to_bytes(images: np.ndarray | jax.Array) -> np.ndarray:
    """Convert images [N, H, W, C], uint8 or floating point in [0, 1], to uint8.

    Raises:
      EvaluationError: if there are more than 60,000, or they have another type, are out of range, not finite, or all
        the same.
    """
    images = np.asarray(images)
    if len(images) > MAX_SAMPLES:
        raise EvaluationError(f"at most {MAX_SAMPLES:,} images can be scored, got {len(images):,}")
    if images.dtype != np.uint8:
        images = _rounded(images)
    if all((some == images[0]).all() for some in in_chunks(images)):
        raise EvaluationError("all images are the same: there is nothing to score")
    return images


def draw_bytes(state: GANState, key: jax.Array, n: int, labels: jax.Array | None) -> np.ndarray:
    """Draw ``n`` images in inference mode, of the classes ``labels`` [n] if the state has any, converted by `to_bytes`.

    Raises:
      EvaluationError: as `to_bytes`.
    """
    return to_bytes(sample_in_batches(state, key, n, labels, convert=_rounded))


def in_chunks(images: np.ndarray, pixels: int = _PIXELS) -> Iterator[np.ndarray]:
    """Iterate over images [N, ...] in chunks of at most ``pixels`` values, or of one image if it has more."""
    size = max(pixels // max(images[:1].size, 1), 1)
    return (images[start : start + size] for start in range(0, len(images), size))


def choose(n: int, count: int) -> np.ndarray:
    """``count`` different integers in [0, n), or all of them if there are fewer, in a fixed random order."""
    return np.random.default_rng(0).choice(n, min(count, n), replace=False)


def _rounded(images: np.ndarray) -> np.ndarray:
    """Round floating-point images in [0, 1] to uint8."""
    if not np.issubdtype(images.dtype, np.floating) and images.dtype != jnp.bfloat16:
        raise EvaluationError(f"images must be uint8 or floating point in [0, 1], got {images.dtype}")
    bad = sum(int((~np.isfinite(some.astype(np.float64))).sum()) for some in in_chunks(images))
    if bad:
        raise EvaluationError(f"{counted(bad, 'pixel')} {'is' if bad == 1 else 'are'} NaN or infinite")
    low, high = float(images.min()), float(images.max())
    if not -0.5 < low * 255 <= high * 255 < 255.5:
        raise EvaluationError(
            f"floating-point images must be in [0, 1], got values from {low:.6g} to {high:.6g}: "
            f"{scale_remedy(low, high)}"
        )
    rounded = np.empty(images.shape, np.uint8)
    for some, out in zip(in_chunks(images), in_chunks(rounded), strict=True):
        out[...] = np.rint(some.astype(np.float64) * 255)
    return rounded
