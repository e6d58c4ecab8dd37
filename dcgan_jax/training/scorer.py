"""The scorer of a run's images: by the features of a network, by modes of stacked MNIST, or by pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dcgan_jax.data import Dataset
from dcgan_jax.data.stacked import STACKED
from dcgan_jax.evaluation.classifier import IMAGE_SHAPE, SHA256
from dcgan_jax.evaluation.classifier_file import Classifier, read_classifier
from dcgan_jax.evaluation.comparability import MODES, PERCEPTUAL, PIXELS, Comparability
from dcgan_jax.evaluation.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from dcgan_jax.evaluation.image_scorer import ImageScorer, scorer_of_images
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, MAX_SAMPLES, MIN_SAMPLES, draw_bytes
from dcgan_jax.evaluation.mode_scoring import MIN_MODE_SAMPLES, MODE_SAMPLES, MODE_SHAPE, evaluate_modes
from dcgan_jax.evaluation.overfitting import Called
from dcgan_jax.evaluation.perceptual_scoring import FEW
from dcgan_jax.evaluation.results import Evaluation
from dcgan_jax.evaluation.scoring import evaluate
from dcgan_jax.sampling import sample_labels
from dcgan_jax.state import GANState
from dcgan_jax.training.config import ConfigError, TrainConfig


class RunScorer(NamedTuple):
    """Scores a run's generator.

    Attributes:
      score: a function of a state and of a PRNG key for the noise.
      comparability: that of all its evaluations.
      called: the real images of `discriminator_calls` during training; None if none are held out.
    """

    score: Callable[[GANState, jax.Array], Evaluation[Any]]
    comparability: Comparability
    called: Called | None = None


def is_of_digits(config: TrainConfig) -> bool:
    """Whether the run's images are MNIST's, unchanged, which the package's classifiers were trained on."""
    return config.dataset == "mnist" and config.image_shape() == IMAGE_SHAPE and _read_as_they_are(config)


def is_of_modes(config: TrainConfig) -> bool:
    """Whether the run's images are those of stacked MNIST, unchanged, whose modes can be counted."""
    sizes, channels = (None, "28", "28x28"), (None, MODE_SHAPE[2])
    as_they_are = config.image_size in sizes and config.channels in channels and _read_as_they_are(config)
    return config.dataset == STACKED and as_they_are


def _read_as_they_are(config: TrainConfig) -> bool:
    return config.range is None and config.layout is None


def figure_while_training(config: TrainConfig) -> str:
    """The score by which evaluations during training are compared, by its name in a row."""
    if config.features is not None:
        return Comparability(PERCEPTUAL, config.eval_samples).figure
    if config.classifier is not None or is_of_digits(config):
        return "fid"
    return Comparability(MODES if is_of_modes(config) else PIXELS, config.eval_samples).figure


def scorer_while_training(config: TrainConfig, data: Dataset) -> RunScorer:
    """`scorer_of_run` with the config's network and number of images, or as many as there are real ones.

    Raises:
      UserError: as `scorer_of_run`; or if the network cannot be read.
    """
    network = None if config.classifier is None else read_classifier(Path(config.classifier))
    if config.features is not None:
        network = load_efficientnet_lite()
    return scorer_of_run(config, data, network, config.eval_samples, "eval_samples", at_most=True)


def scorer_of_run(
    config: TrainConfig,
    data: Dataset,
    network: Classifier | EfficientNetLite | None,
    samples: int | None,
    name: str,
    at_most: bool = False,
) -> RunScorer:
    """The scorer of a run's generator, on images of new noise.

    Args:
      config: the run's config.
      data: the run's images.
      network: the network in whose features images are compared: a classifier of the run's images, or an EfficientNet
        for pictures of any kind. If None, MNIST's digits are scored by the package's classifiers, stacked MNIST by its
        modes, and other images by their pixels.
      samples: the number of images to draw. If None, 26,000 for modes, else 10,000, or fewer if there are fewer real
        images for the floor.
      name: the name of ``samples`` in messages.
      at_most: whether fewer images are drawn if there are fewer real ones.

    Raises:
      ConfigError: if the classifier has other classes than the run, or the run holds out images of its own, or
        ``samples`` is out of range.
      EvaluationError: if the classifier is not of the run's images, or these are too few or too small to be scored.
      DatasetError: as `load_test_split`.
    """
    if network is None and is_of_digits(config):
        count = _checked(DEFAULT_SAMPLES if samples is None else samples, MIN_SAMPLES, name)
        return RunScorer(lambda state, key: evaluate(state, key, count), Comparability(SHA256, count))
    if network is None and is_of_modes(config):
        count = _checked(MODE_SAMPLES if samples is None else samples, MIN_MODE_SAMPLES, name)
        return RunScorer(_of_drawn(evaluate_modes, count), Comparability(MODES, count))
    if isinstance(network, Classifier) and config.hold_out is not None:
        raise ConfigError(
            "`classifier` and `hold_out`: a classifier compares with the tenth that train-classifier has held out, and "
            "the run holds out others: leave one of them out"
        )
    if isinstance(network, Classifier) and data.classes not in ((), network.classes):
        raise ConfigError(
            f"the run draws the classes {', '.join(data.classes)}; the classifier of {network.data} knows "
            f"{', '.join(network.classes)}: train one on the run's images (dcgan-jax train-classifier)"
        )
    score, real = scorer_of_images(data, config.dataset, config.reading(), network)
    features, few = _features(network)
    most = min(real, MAX_SAMPLES)
    count = DEFAULT_SAMPLES if samples is None else samples
    if samples is None or at_most:
        count = min(count, most)
    if not few <= count <= most:
        numbers = f"{few} to {most}" if few < most else str(few)
        raise ConfigError(f"`{name}` must be {numbers}, of which there are real images too, got {count}")

    return RunScorer(_of_drawn(score, count), Comparability(features, count))


def _checked(count: int, few: int, name: str) -> int:
    """A number of images, at least ``few``. Raises: ConfigError if it is out of range."""
    if not few <= count <= MAX_SAMPLES:
        raise ConfigError(f"`{name}` must be {few} to {MAX_SAMPLES}, got {count}")
    return count


def _of_drawn(score: ImageScorer, count: int) -> Callable[[GANState, jax.Array], Evaluation[Any]]:
    """A function of a state and a key that draws ``count`` images, of random classes if any, and scores them."""

    def score_state(state: GANState, key: jax.Array) -> Evaluation[Any]:
        labels = sample_labels(state, key, count)
        return score(draw_bytes(state, key, count, labels), None if labels is None else np.asarray(labels))

    return score_state


def _features(network: Classifier | EfficientNetLite | None) -> tuple[str, int]:
    """The name of the features that images are compared in, and the minimum number of images."""
    if network is None:
        return PIXELS, 2
    return (network.digest(), MIN_SAMPLES) if isinstance(network, Classifier) else (PERCEPTUAL, FEW)
