"""Scores in the features of a classifier: those of images of any classes, against real images of theirs."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.classifier import classify
from dcgan_jax.evaluation.classifier_file import Classifier
from dcgan_jax.evaluation.images import MIN_SAMPLES, EvaluationError, choose, in_chunks, to_bytes
from dcgan_jax.evaluation.metrics import (
    class_score,
    class_shares,
    confident_share,
    frechet_distance,
    kernel_distance,
    kl_to_uniform,
    nearest_distances,
    neighbour_radii,
    precision_recall,
)
from dcgan_jax.evaluation.real_images import RealImages
from dcgan_jax.evaluation.results import ClassScores, Evaluation, S

_PIXELS = 2**24  # of training images that are on the device at a time, in float32: 64 MB


@jax_defaults()
def evaluate_classes(
    images: np.ndarray | jax.Array, real: RealImages, classifier: Classifier, labels: np.ndarray | None = None
) -> Evaluation[ClassScores]:
    """Score images in a classifier's features against real test images, beside as many real training images.

    Args:
      images: [N, 28, 28, 1], uint8 or floating point in [0, 1], N at least 129.
      real: images of the data that the classifier was trained on, with labels if ``labels`` are given.
      classifier: from `dcgan_jax.evaluation.classifier_file.read_classifier`.
      labels: integers [N], the classes that the images were asked to be of, by their numbers in the classifier.

    Raises:
      EvaluationError: if the images, or the real ones, are too few; or as `to_bytes`.
    """
    for what, few in (("images", images), ("real images", real.train.images), ("real test images", real.test.images)):
        if len(few) < MIN_SAMPLES:
            raise EvaluationError(
                f"at least {MIN_SAMPLES} {what} are needed, one more than there are features, got {len(few)}"
            )
    images, test, train = to_bytes(images), real.test.images, real.train.images
    test_logits, test_features = classify(test, classifier.variables)
    radii = real_radii(test_features)

    def score(images: np.ndarray, nearest: float, labels: np.ndarray | None) -> ClassScores:
        logits, features = classify(images, classifier.variables)
        return score_features(logits, features, test_features, radii, classifier.classes, nearest, labels)

    scores = score(images, mean_nearest(images, train), labels)
    nearest = mean_nearest(test[choose(len(test), len(images))], train)
    floor = score(train[choose(len(train), len(images))], nearest, None)
    if labels is not None and real.test.labels is not None:
        floor = floor._replace(as_asked=share_read_as(test_logits, real.test.labels))
    return Evaluation(len(images), scores, floor, classifier.digest())


def score_features(
    logits: np.ndarray,
    features: np.ndarray,
    real_features: np.ndarray,
    radii: np.ndarray,
    classes: Sequence[str],
    nearest: float,
    labels: np.ndarray | None,
) -> ClassScores:
    """The scores of images by their logits and features, in float64.

    Args:
      logits: [N, classes].
      features: [N, D].
      real_features: [M, D], of real images.
      radii: `real_radii` of them.
      classes: the names of the classes.
      nearest: as of `ClassScores`.
      labels: the classes that the images were asked to be of [N], or None.

    Raises:
      EvaluationError: if a score is not finite.
    """
    with float64_on_cpu():
        x, y, predictions = (jnp.asarray(a, jnp.float64) for a in (features, real_features, logits))
        precision, recall = precision_recall(y, x, jnp.asarray(radii))
        shares = class_shares(predictions)
        by_name = {name: float(share) for name, share in zip(classes, shares, strict=True)}
        scores = ClassScores(
            fid=float(frechet_distance(x, y)),
            kid=float(kernel_distance(x, y)),
            precision=float(precision),
            recall=float(recall),
            class_score=float(class_score(predictions)),
            confident=float(confident_share(predictions)),
            shares=by_name,
            class_kl=float(kl_to_uniform(shares)),
            missing=[name for name, share in by_name.items() if share == 0],
            nearest=nearest,
            as_asked=None if labels is None else share_read_as(logits, labels),
        )
    return checked(scores)


def checked(scores: S) -> S:
    """The scores. Raises: EvaluationError if one is not finite: features whose squares overflow float64."""
    for name, value in scores._asdict().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise EvaluationError(f"{name} is {value}")
    return scores


def real_radii(features: np.ndarray) -> np.ndarray:
    """`neighbour_radii` in float64: features [N, D] -> [N]."""
    with float64_on_cpu():
        return np.asarray(neighbour_radii(jnp.asarray(features, jnp.float64)))


def share_read_as(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of images that are classified as their label: [N, classes], [N]."""
    return float((logits.argmax(-1) == np.asarray(labels)).mean())


def mean_nearest(images: np.ndarray, train: np.ndarray) -> float:
    """The mean Euclidean distance of uint8 images to the nearest of others, in units of a white pixel.

    The others [M, H, W, C] are on the device a few at a time.
    """

    def flat(images: np.ndarray) -> jax.Array:
        return jnp.asarray(images, jnp.float32).reshape(len(images), -1) / 255

    queries = flat(images)
    nearest = np.full(len(images), np.inf, np.float32)
    with jax.default_matmul_precision("float32"):
        for some in in_chunks(train, _PIXELS):
            nearest = np.minimum(nearest, nearest_distances(queries, flat(some)))
    return float(jnp.asarray(nearest).mean())


@contextlib.contextmanager
def float64_on_cpu() -> Iterator[None]:
    """Within, JAX computes in float64, on the CPU where it may use it: not every accelerator has float64."""
    with jax.enable_x64(True), jax.default_device(_cpu()), jax.default_matmul_precision("highest"):
        yield


def _cpu() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names other platforms only
        return jax.local_devices()[0]
