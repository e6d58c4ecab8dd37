"""Scorers of images against any data set: in the features of a network, or by their pixels."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from dcgan_jax.console import print_line
from dcgan_jax.data import Dataset, Reading
from dcgan_jax.data.mapped import is_mapped
from dcgan_jax.evaluation.class_scoring import evaluate_classes
from dcgan_jax.evaluation.classifier import IMAGE_SHAPE
from dcgan_jax.evaluation.classifier_file import Classifier
from dcgan_jax.evaluation.efficientnet_lite import EfficientNetLite
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, MAX_SAMPLES, MIN_SAMPLES, EvaluationError, choose
from dcgan_jax.evaluation.patches import SIDE
from dcgan_jax.evaluation.perceptual_scoring import (
    FEW,
    PerceptualFeatures,
    checked_images,
    perceptual_features,
    perceptual_floor,
    score_perceptually,
)
from dcgan_jax.evaluation.perceptual_scoring import MIN_REAL as MIN_PERCEPTUAL
from dcgan_jax.evaluation.pixel_scoring import MIN_REAL, compare_images
from dcgan_jax.evaluation.real_images import RealImages, floor_size, load_test_split, split_for_testing
from dcgan_jax.evaluation.results import Evaluation

ImageScorer = Callable[[np.ndarray, np.ndarray | None], Evaluation[Any]]


def scorer_of_images(
    data: Dataset, source: str, reading: Reading, network: Classifier | EfficientNetLite | None
) -> tuple[ImageScorer, int]:
    """Choose how to score images against a data set.

    Args:
      data: the training images of ``source``, with labels if images have requested classes.
      source: as in `load_data`.
      reading: where ``source`` is looked up and how it is read.
      network: computes the features: a classifier of these images, or a network for images of any kind. If None,
        images are compared by pixels.

    Returns:
      A function from images and their requested classes (or None) to scores; and how many real images there are for
      its floor.

    Raises:
      EvaluationError: if the classifier was trained on other images, or the images are too few or too small.
      DatasetError: as `load_test_split`.
    """
    if network is None:
        return _scorer_of_pixels(data, source, reading)
    if isinstance(network, EfficientNetLite):
        return _perceptual_scorer(data, source, reading, network)
    check_size(data.images.shape[1:], source, network)
    real = split_for_testing(source, data, reading)
    if real.digest != network.data_digest:
        why = "they have changed, or other flags said how to read them; " if source == network.data else ""
        raise EvaluationError(
            f"the classifier knows the images of {network.data} (SHA-256 {network.data_digest[:12]}...), not "
            f"those of {source} ({real.digest[:12]}...): {why}train one on them (dcgan-jax train-classifier)"
        )
    check_classifiable(real, source)
    return lambda images, labels: evaluate_classes(images, real, network, labels), len(real.train.images)


def check_size(
    shape: tuple[int, ...],
    source: object,
    network: Classifier | EfficientNetLite | None,
    too_small: str = "leave the scores out",
) -> None:
    """Check that images of a size can be scored.

    Args:
      shape: their height and width, and their channels if these are checked too.
      source: what holds the images, for messages.
      network: computes the features; None for scores by pixels.
      too_small: what to do about images that are too small for scores by pixels.

    Raises:
      EvaluationError: if they are not those of a classifier, or too small for scores by pixels.
    """
    size = "x".join(map(str, shape))
    if isinstance(network, Classifier) and shape != IMAGE_SHAPE[: len(shape)]:
        raise EvaluationError(f"`classifier` is for images of 28x28x1, those of {source} are {size}: leave it out")
    if network is None and min(shape[:2]) < SIDE:
        raise EvaluationError(
            f"images are scored by patches of {SIDE}x{SIDE} pixels, too large for those of {source}, which are "
            f"{shape[0]}x{shape[1]}: {too_small}"
        )


def _scorer_of_pixels(data: Dataset, source: str, reading: Reading) -> tuple[ImageScorer, int]:
    remedy = "train on larger ones (`image_size`), or leave the scores out"
    check_size(data.images.shape[1:], source, None, remedy)
    test = _test_images(data, source, reading, MIN_REAL, 2)
    most = floor_size(min(len(data.images), MAX_SAMPLES), has_test=test is not None)
    return lambda images, _: compare_images(images, _some(data.images), test), most


def _some(images: np.ndarray) -> np.ndarray:
    """The images in memory; of more than 60,000, a fixed random choice."""
    if len(images) > MAX_SAMPLES:
        return images[np.sort(choose(len(images), MAX_SAMPLES))]
    return images[:] if is_mapped(images) else images


def _perceptual_scorer(
    data: Dataset, source: str, reading: Reading, network: EfficientNetLite
) -> tuple[ImageScorer, int]:
    """As `scorer_of_images`; the features of real images are computed once, in the scorer's first call."""
    test = _test_images(data, source, reading, MIN_PERCEPTUAL, FEW)
    known = min(len(data.images), MAX_SAMPLES)

    @functools.cache
    def real() -> PerceptualFeatures:
        count = known + (0 if test is None else min(len(test), DEFAULT_SAMPLES))
        print_line(f"computing the features of {count:,} real images, once", error=True)
        return perceptual_features(data.images, test, network)

    floor = functools.cache(lambda n: perceptual_floor(n, real()))
    most = floor_size(known, has_test=test is not None)

    def score(images: np.ndarray, _: np.ndarray | None) -> Evaluation[Any]:
        images = checked_images(images)  # before the features of real images, which take minutes
        return score_perceptually(images, real(), floor(len(images)))

    return score, most


def _test_images(data: Dataset, source: str, reading: Reading, few: int, few_test: int) -> np.ndarray | None:
    """The images of a data set's test split, or None. Raises: EvaluationError if these or ``data`` are too few."""
    test = load_test_split(source, data._replace(labels=None, classes=()), reading)
    _check_count(len(data.images), few, "images", source)
    if test is None:
        return None
    _check_count(len(test.images), few_test, "test images", source)
    return test.images


def check_classifiable(real: RealImages, source: str) -> None:
    """Raises: EvaluationError if a data set has too few images for a classifier, or a class has no training images."""
    for part in (real.train, real.test):
        if len(part.images) < MIN_SAMPLES:
            raise EvaluationError(
                f"scores by a classifier need at least {MIN_SAMPLES} images to train on and as many to test on, "
                f"{source} has {len(real.train.images):,} and {real.tested_on}: add images, or leave the classifier out"
            )
    if real.train.labels is not None:
        there = set(np.unique(real.train.labels).tolist())
        missing = [name for number, name in enumerate(real.train.classes) if number not in there]
        if missing:
            which = f"class {missing[0]}" if len(missing) == 1 else f"{len(missing)} classes {', '.join(missing[:5])}"
            raise EvaluationError(
                f"{source} has no image of the {which}{', ...' if len(missing) > 5 else ''} to train a classifier on "
                f"beside {real.tested_on}: add some, or take them out"
            )


def _check_count(count: int, few: int, what: str, source: str) -> None:
    if count < few:
        raise EvaluationError(
            f"at least {few} {what} are needed to score by, {source} has {count}: add more, or leave the scores out"
        )


def explain_pixels(source: str, shape: tuple[int, ...]) -> str:
    """A line that says why images [H, W, C] of a data set are scored only by pixels, and what other scores need."""
    need = f"or a classifier: dcgan-jax train-classifier --dataset {source}, then --classifier FILE"
    if shape != IMAGE_SHAPE:
        size = "x".join(map(str, shape))
        need = f"for images of {size}; train-classifier is for labelled ones of 28x28x1 alone"
    return f"no FID, precision or recall: they need --features perceptual, {need}"
