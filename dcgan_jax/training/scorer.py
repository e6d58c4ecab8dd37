"""Which scores a run's images can have: in the features of the package's classifier, of another one, or by pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dcgan_jax.console import print_line
from dcgan_jax.data import Dataset
from dcgan_jax.evaluation.class_scoring import evaluate_classes
from dcgan_jax.evaluation.classifier import IMAGE_SHAPE, SHA256
from dcgan_jax.evaluation.classifier_file import Classifier, read_classifier
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, MAX_SAMPLES, MIN_SAMPLES, draw_bytes
from dcgan_jax.evaluation.patches import SIDE
from dcgan_jax.evaluation.pixel_scoring import compare_images, floor_size
from dcgan_jax.evaluation.real_images import load_test_split, split_for_testing
from dcgan_jax.evaluation.results import Evaluation
from dcgan_jax.evaluation.scoring import evaluate
from dcgan_jax.sampling import sample_labels
from dcgan_jax.state import GANState
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.history import PIXELS, Scoring

ImageScorer = Callable[[np.ndarray, np.ndarray | None], Evaluation[Any]]


class RunScorer(NamedTuple):
    """What scores a run's generator.

    Attributes:
      score: scores images of noise from a key.
      scoring: what all its evaluations have in common.
    """

    score: Callable[[GANState, jax.Array], Evaluation[Any]]
    scoring: Scoring


def is_of_digits(config: TrainConfig) -> bool:
    """Whether the run's images are MNIST's as they are, which the classifiers of the evaluation know."""
    return config.dataset == "mnist" and config.image_shape() == IMAGE_SHAPE


def has_fid(config: TrainConfig) -> bool:
    """Whether evaluations of the run while it trains have a FID."""
    return config.classifier is not None or is_of_digits(config)


def scorer_while_training(config: TrainConfig, data: Dataset) -> RunScorer:
    """`scorer_of_run` with the config's classifier and number of images, or as many as there are real ones.

    Raises:
      UserError: as there; or if the classifier cannot be read.
    """
    classifier = None if config.classifier is None else read_classifier(Path(config.classifier))
    return scorer_of_run(config, data, classifier, config.eval_samples, "`eval_samples`", at_most=True)


def scorer_of_run(
    config: TrainConfig,
    data: Dataset,
    classifier: Classifier | None,
    samples: int | None,
    flag: str,
    at_most: bool = False,
) -> RunScorer:
    """What scores a run's generator, by images of fresh noise.

    Args:
      config: the run's.
      data: the run's images.
      classifier: of the run's images. Without it, MNIST's digits are scored by the package's classifiers, and other
        images by their pixels.
      samples: the number of images to draw; 10,000 if None, or as many as there are real ones for the floor.
      flag: what sets ``samples``, for messages.
      at_most: whether fewer images are drawn where there are fewer real ones.

    Raises:
      ConfigError: if the classifier is not of the run's images, these are too small to be scored by pixels, or
        ``samples`` is out of range.
      DatasetError: as `load_test_split`.
    """
    if classifier is None and is_of_digits(config):
        count = DEFAULT_SAMPLES if samples is None else samples
        if not MIN_SAMPLES <= count <= MAX_SAMPLES:
            raise ConfigError(f"{flag} must be {MIN_SAMPLES} to {MAX_SAMPLES}, got {count}")
        return RunScorer(lambda state, key: evaluate(state, key, count), Scoring(SHA256, count))
    if classifier is not None and data.classes not in ((), classifier.classes):
        raise ConfigError(
            f"the run draws the classes {', '.join(data.classes)}; the classifier of {classifier.data} knows "
            f"{', '.join(classifier.classes)}: train one on the run's images (dcgan-jax train-classifier)"
        )
    score, real = scorer_of_images(data, config.dataset, config.data_dir, classifier)
    few, most = 2 if classifier is None else MIN_SAMPLES, min(real, MAX_SAMPLES)
    count = DEFAULT_SAMPLES if samples is None else samples
    if samples is None or at_most:
        count = min(count, most)
    if not few <= count <= most:
        raise ConfigError(f"{flag} must be {few} to {most}, of which there are real images too, got {count}")

    def score_state(state: GANState, key: jax.Array) -> Evaluation[Any]:
        labels = sample_labels(state, key, count)
        return score(draw_bytes(state, key, count, labels), None if labels is None else np.asarray(labels))

    return RunScorer(score_state, Scoring(PIXELS if classifier is None else classifier.digest(), count))


def scorer_of_images(
    data: Dataset, source: str, data_dir: str | None, classifier: Classifier | None
) -> tuple[ImageScorer, int]:
    """What scores images, and the classes that were asked for or None, against a data set's; and how many at most.

    Args:
      data: the images of ``source`` for training, with labels if images of classes are to be scored.
      source: as of `load_data`.
      data_dir: as of `load_data`.
      classifier: of these images. Without one, pixels are scored.

    Raises:
      ConfigError: if the classifier is of other images, or pixels are to be scored of too few.
      DatasetError: as `load_test_split`.
    """
    if classifier is None:
        height, width = data.images.shape[1:3]
        if min(height, width) < SIDE:
            raise ConfigError(
                f"images are scored by patches of {SIDE}x{SIDE} pixels, too large for those of {source}, which are "
                f"{height}x{width}: train on larger ones (`image_size`), or leave the scores out"
            )
        test = load_test_split(source, data._replace(labels=None, classes=()), data_dir)
        held_out = None if test is None else test.images
        return lambda images, _: compare_images(images, data.images, held_out), floor_size(data.images, held_out)
    if data.images.shape[1:] != IMAGE_SHAPE:
        shape = "x".join(map(str, data.images.shape[1:]))
        raise ConfigError(f"`classifier` is for images of 28x28x1, those of {source} are {shape}: leave it out")
    real = split_for_testing(source, data, data_dir)
    if real.digest != classifier.data_digest:
        raise ConfigError(
            f"the classifier knows the images of {classifier.data} (SHA-256 {classifier.data_digest[:12]}...), not "
            f"those of {source} ({real.digest[:12]}...): train one on them (dcgan-jax train-classifier)"
        )
    return lambda images, labels: evaluate_classes(images, real, classifier, labels), len(real.train.images)


def explain_pixels(source: str, shape: tuple[int, ...]) -> None:
    """Print why images [H, W, C] of a data set are scored by their pixels alone, and what a FID would need."""
    need = f"a classifier: dcgan-jax train-classifier --dataset {source}, then --classifier FILE"
    if shape != IMAGE_SHAPE:
        size = "x".join(map(str, shape))
        need = f"features of images of {size}: train-classifier makes those of labelled images of 28x28x1 alone"
    print_line(f"no FID, precision or recall: they need {need}", error=True)
