"""Scores of images of digits against MNIST's test images, and of as many real images for comparison."""

import functools

import jax
import numpy as np

from dcgan_jax.data import load_data, load_dataset
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.class_scoring import Features, RealFeatures, compare_features, real_baseline, real_features
from dcgan_jax.evaluation.classifier import IMAGE_SHAPE, SHA256, load_classifier
from dcgan_jax.evaluation.images import (
    DEFAULT_SAMPLES,
    MAX_SAMPLES,
    MIN_SAMPLES,
    EvaluationError,
    draw_bytes,
    to_bytes,
)
from dcgan_jax.evaluation.results import Evaluation, Scores
from dcgan_jax.evaluation.strided_classifier import strided_features
from dcgan_jax.sampling import image_shape, sample_labels
from dcgan_jax.state import GANState

_DIGITS = tuple("0123456789")
_WHITE = 128  # of 255; images that are nowhere brighter are on another scale
_BRIGHT = 192  # of 255; a fifth of the pixels of MNIST's digits are above 0, a tenth above this


@jax_defaults()
def evaluate_images(images: np.ndarray | jax.Array) -> Evaluation[Scores]:
    """Score images of digits from any source against MNIST's 10,000 test images.

    Args:
      images: [N, 28, 28, 1] or [N, 28, 28], white on black: uint8 in [0, 255], or floating point in [0, 1], which
        is rounded to 8 bits like real images. N at least 129; 10,000 for scores comparable with others.

    Raises:
      EvaluationError: if there are too few images, or they have another shape or type, or are out of range, not finite,
        or all the same; or if they cannot be white digits on black: no pixel is brighter than half of white, most
        pixels are bright, or the background is grey.
    """
    images = _as_bytes(images)
    _check_brightness(images)
    return evaluate_bytes(images)


def evaluate_bytes(images: np.ndarray, labels: np.ndarray | None = None) -> Evaluation[Scores]:
    """Score images, uint8 [N, 28, 28, 1], of any content; ``labels`` [N] are the requested digits, if any."""
    floor = _real_baseline(len(images))
    floor = floor._replace(shares=dict(floor.shares), missing=list(floor.missing))  # copies, because it is cached
    return compare_features(images, labels, _real_digits(), floor)


@jax_defaults()
def evaluate(state: GANState, key: jax.Array, samples: int = DEFAULT_SAMPLES) -> Evaluation[Scores]:
    """Score a generator's images of fresh noise, in inference mode.

    Args:
      state: from training; ``averaged(state)`` to score the moving average of the generator. Ten classes are assumed
        to be the digits.
      key: a PRNG key for the noise.
      samples: the number of images to draw, 129 to 60,000.

    Raises:
      EvaluationError: if ``samples`` is out of range, or the images have another shape than [28, 28, 1], or are out of
        range, not finite or all the same.
    """
    if not MIN_SAMPLES <= samples <= MAX_SAMPLES:
        raise EvaluationError(f"samples must be {MIN_SAMPLES} to {MAX_SAMPLES:,}, got {samples}")
    shape = image_shape(state)
    if shape != IMAGE_SHAPE:
        raise EvaluationError(f"only images of digits, {list(IMAGE_SHAPE)}, can be scored, got {list(shape)}")
    labels = sample_labels(state, key, samples)
    # No check of the brightness: the images of an untrained or collapsed generator are scored too.
    images = draw_bytes(state, key, samples, labels)
    return evaluate_bytes(images, None if labels is None or state.classes != len(_DIGITS) else np.asarray(labels))


def _as_bytes(images: np.ndarray | jax.Array) -> np.ndarray:
    """Check images, and convert them to uint8 [N, 28, 28, 1]."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[1:] != IMAGE_SHAPE:
        raise EvaluationError(f"images of digits must be [N, 28, 28, 1] or [N, 28, 28], got {list(images.shape)}")
    if len(images) < MIN_SAMPLES:
        raise EvaluationError(
            f"at least {MIN_SAMPLES} images are needed, one more than there are features, got {len(images)}"
        )
    return to_bytes(images)


def _check_brightness(images: np.ndarray) -> None:
    """Raises: EvaluationError if the images cannot be white digits on black in [0, 255]."""
    if images.max() < _WHITE:
        raise EvaluationError(
            f"no pixel is above {images.max()} of 255: scale the images to [0, 255], or pass floats in [0, 1]"
        )
    shares = np.bincount(images.ravel(), minlength=256) / images.size  # four fifths of MNIST's pixels are 0
    background = int(shares.argmax())
    if background == 255 and shares[2:255].sum() == 0:
        raise EvaluationError(
            "all pixels are 255, 0 or 1, and most are 255: images in [-1, 1] wrap around so when they are converted to "
            "uint8; add 1 and multiply by 127.5 before"
        )
    if shares[_BRIGHT:].sum() > 0.5:
        raise EvaluationError("most pixels are bright: digits must be white on black; subtract them from 255")
    if background > 0 and shares[background] > 0.5:
        raise EvaluationError(
            f"the background is {background} and not 0, black: scale the images to [0, 255]; those in [-1, 1] wrap "
            "around when they are converted to uint8"
        )


@functools.cache  # every evaluation of a run needs them
def _real_digits() -> RealFeatures:
    network = Features(load_classifier(), _DIGITS, SHA256, strided_features)
    return real_features(load_dataset(), load_data(split="test"), network)


@functools.cache
def _real_baseline(n: int) -> Scores:
    return real_baseline(n, _real_digits())
