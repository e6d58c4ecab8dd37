"""Modes of stacked MNIST: how many of the thousand combinations of three digits a generator draws, and how evenly."""

import functools
import hashlib

import numpy as np

from dcgan_jax.data import Dataset, load_data, load_labels
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.classifier import SHA256, classify, load_classifier
from dcgan_jax.evaluation.images import EvaluationError, choose, to_bytes
from dcgan_jax.evaluation.nearest import mean_nearest
from dcgan_jax.evaluation.real_images import MAX_QUERIES
from dcgan_jax.evaluation.results import Evaluation, ModeScores

MODES = 1000
MODE_SHAPE = (28, 28, 3)
MODE_SAMPLES = 26_000  # as in Srivastava et al., arXiv:1705.07761, and most papers since
MIN_MODE_SAMPLES = 2
# Scores are comparable if the classifier is the same.
NAME = hashlib.sha256(f"digits of three colours by the classifier {SHA256}".encode()).hexdigest()


@jax_defaults()
def evaluate_modes(images: np.ndarray, labels: np.ndarray | None = None) -> Evaluation[ModeScores]:
    """Count the modes of images of stacked MNIST, compared with those of as many real images.

    The package's classifier predicts a digit for each colour channel; the three digits are the mode (Metz et al.,
    arXiv:1611.02163). The KL divergence is that of the images' modes from three independent digits with MNIST's class
    frequencies. It decreases with the number of images: the floor includes this bias of about 999 / (2 N) nats.

    Args:
      images: [N, 28, 28, 3], uint8 or floating point in [0, 1], N from 2 to 60,000.
      labels: the requested modes, integers [N], 100 red + 10 green + blue; None if none were requested.

    Raises:
      EvaluationError: if the images have another shape or are fewer than 2, or as `to_bytes`; or if the labels are not
        those of modes, one for each image.
    """
    if images.shape[1:] != MODE_SHAPE or len(images) < MIN_MODE_SAMPLES:
        raise EvaluationError(f"images of stacked MNIST must be [N, 28, 28, 3], N at least 2, got {list(images.shape)}")
    images = to_bytes(images)
    if labels is not None:
        labels = np.asarray(labels)
        whole = labels.dtype.kind in "iu" and labels.shape == (len(images),)
        if not whole or labels.min() < 0 or labels.max() >= MODES:
            raise EvaluationError(
                f"labels must be {len(images):,} integers from 0 to {MODES - 1}, one for each image, got "
                f"{labels.dtype} {list(labels.shape)}" + (f" from {labels.min()} to {labels.max()}" if whole else "")
            )
    scores, floor = _score(images, images[choose(len(images), MAX_QUERIES)], labels), _floor(len(images))
    return Evaluation(len(images), scores, floor if labels is not None else floor._replace(as_asked=None), NAME)


@functools.cache  # every evaluation of a run needs it
def _floor(n: int) -> ModeScores:
    """The scores of ``n`` training images, with ``nearest`` computed on test images."""
    train, test = _training_images(), load_data("stacked_mnist", "test", labels=False).images
    assert train.labels is not None  # all 1,000 classes occur, so a label is the number of a mode
    chosen = choose(len(train.images), n)
    return _score(train.images[chosen], test[choose(len(test), MAX_QUERIES)], train.labels[chosen])


@functools.cache
def _training_images() -> Dataset:
    return load_data("stacked_mnist")


def _score(images: np.ndarray, queries: np.ndarray, labels: np.ndarray | None) -> ModeScores:
    modes, confidence = read_modes(images)
    counts = np.bincount(modes, minlength=MODES)
    return ModeScores(
        modes=int((counts > 0).sum()),
        mode_kl=divergence(counts / len(images), _mode_shares()),
        confident=float((confidence >= 0.95).mean()),
        nearest=mean_nearest(queries, _training_images().images),
        as_asked=None if labels is None else float((modes == np.asarray(labels)).mean()),
    )


def read_modes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mode of each image, uint8 [N, 28, 28, 3], 0 to 999 [N]; and the lowest probability of its digits [N]."""
    variables = load_classifier()
    logits = np.stack([classify(images[..., c : c + 1], variables)[0] for c in range(3)])  # [3, N, 10]
    largest = logits.max(-1, keepdims=True)
    probability = 1 / np.exp(logits - largest).sum(-1)  # [3, N], of the digit that is read
    return np.array([100, 10, 1]) @ logits.argmax(-1), probability.min(0)


def divergence(shares: np.ndarray, real: np.ndarray) -> float:
    """The KL divergence, in nats, of ``shares`` [K] from ``real`` [K], which are all above 0."""
    drawn = shares > 0
    return float((shares[drawn] * np.log(shares[drawn] / real[drawn])).sum())


@functools.cache
def _mode_shares() -> np.ndarray:
    """The shares of the modes [1000] for three independent digits with MNIST's class frequencies."""
    digits = np.bincount(load_labels(), minlength=10) / len(load_labels())
    return (digits[:, None, None] * digits[:, None] * digits).ravel()
