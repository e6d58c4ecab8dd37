"""Which scores a run's images can have: in the features of the package's classifier, of another one, or by pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dcgan_jax.data import Dataset
from dcgan_jax.evaluation.classifier import IMAGE_SHAPE, SHA256
from dcgan_jax.evaluation.classifier_file import Classifier, read_classifier
from dcgan_jax.evaluation.comparability import PIXELS, Comparability
from dcgan_jax.evaluation.image_scorer import scorer_of_images
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, MAX_SAMPLES, MIN_SAMPLES, draw_bytes
from dcgan_jax.evaluation.results import Evaluation
from dcgan_jax.evaluation.scoring import evaluate
from dcgan_jax.sampling import sample_labels
from dcgan_jax.state import GANState
from dcgan_jax.training.config import ConfigError, TrainConfig


class RunScorer(NamedTuple):
    """What scores a run's generator.

    Attributes:
      score: scores images of noise from a key.
      comparability: what all its evaluations have in common.
    """

    score: Callable[[GANState, jax.Array], Evaluation[Any]]
    comparability: Comparability


def is_of_digits(config: TrainConfig) -> bool:
    """Whether the run's images are MNIST's as they are, which the classifiers of the evaluation know."""
    as_they_are = config.range is None and config.layout is None
    return config.dataset == "mnist" and config.image_shape() == IMAGE_SHAPE and as_they_are


def has_fid(config: TrainConfig) -> bool:
    """Whether evaluations of the run while it trains have a FID."""
    return config.classifier is not None or is_of_digits(config)


def scorer_while_training(config: TrainConfig, data: Dataset) -> RunScorer:
    """`scorer_of_run` with the config's classifier and number of images, or as many as there are real ones.

    Raises:
      UserError: as there; or if the classifier cannot be read.
    """
    classifier = None if config.classifier is None else read_classifier(Path(config.classifier))
    return scorer_of_run(config, data, classifier, config.eval_samples, "eval_samples", at_most=True)


def scorer_of_run(
    config: TrainConfig,
    data: Dataset,
    classifier: Classifier | None,
    samples: int | None,
    name: str,
    at_most: bool = False,
) -> RunScorer:
    """What scores a run's generator, by images of fresh noise.

    Args:
      config: the run's.
      data: the run's images.
      classifier: of the run's images. Without it, MNIST's digits are scored by the package's classifiers, and other
        images by their pixels.
      samples: the number of images to draw; 10,000 if None, or as many as there are real ones for the floor.
      name: what sets ``samples``, for messages.
      at_most: whether fewer images are drawn where there are fewer real ones.

    Raises:
      ConfigError: if the classifier has other classes than the run, or ``samples`` is out of range.
      EvaluationError: if it is not of the run's images, or these are too few or too small to be scored.
      DatasetError: as `load_test_split`.
    """
    if classifier is None and is_of_digits(config):
        count = DEFAULT_SAMPLES if samples is None else samples
        if not MIN_SAMPLES <= count <= MAX_SAMPLES:
            raise ConfigError(f"`{name}` must be {MIN_SAMPLES} to {MAX_SAMPLES}, got {count}")
        return RunScorer(lambda state, key: evaluate(state, key, count), Comparability(SHA256, count))
    if classifier is not None and data.classes not in ((), classifier.classes):
        raise ConfigError(
            f"the run draws the classes {', '.join(data.classes)}; the classifier of {classifier.data} knows "
            f"{', '.join(classifier.classes)}: train one on the run's images (dcgan-jax train-classifier)"
        )
    score, real = scorer_of_images(data, config.dataset, config.reading(), classifier)
    few, most = 2 if classifier is None else MIN_SAMPLES, min(real, MAX_SAMPLES)
    count = DEFAULT_SAMPLES if samples is None else samples
    if samples is None or at_most:
        count = min(count, most)
    if not few <= count <= most:
        numbers = f"{few} to {most}" if few < most else str(few)
        raise ConfigError(f"`{name}` must be {numbers}, of which there are real images too, got {count}")

    def score_state(state: GANState, key: jax.Array) -> Evaluation[Any]:
        labels = sample_labels(state, key, count)
        return score(draw_bytes(state, key, count, labels), None if labels is None else np.asarray(labels))

    return RunScorer(score_state, Comparability(PIXELS if classifier is None else classifier.digest(), count))
