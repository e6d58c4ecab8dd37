"""Scores of images of any classes in the features of a classifier, relative to real images of these classes."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.data import Dataset
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.classifier import classify
from dcgan_jax.evaluation.classifier_file import Classifier
from dcgan_jax.evaluation.images import MIN_SAMPLES, EvaluationError, choose, to_bytes
from dcgan_jax.evaluation.metrics import (
    class_score,
    class_shares,
    confident_share,
    frechet_distance,
    kernel_distance,
    kl_to_uniform,
    neighbour_radii,
    precision_recall,
)
from dcgan_jax.evaluation.nearest import mean_nearest
from dcgan_jax.evaluation.real_images import RealImages
from dcgan_jax.evaluation.results import Evaluation, S, Scores


@jax_defaults()
def evaluate_classes(
    images: np.ndarray | jax.Array, real: RealImages, classifier: Classifier, labels: np.ndarray | None = None
) -> Evaluation[Scores]:
    """Score images in a classifier's features against real test images; as many training images give the floor.

    Args:
      images: [N, 28, 28, 1], uint8 or floating point in [0, 1], N at least 129.
      real: images of the data that the classifier was trained on, with labels if ``labels`` are given.
      classifier: from `dcgan_jax.evaluation.classifier_file.read_classifier`.
      labels: integers [N], the requested class of each image, as its number in the classifier.

    Raises:
      EvaluationError: if there are too few images or real images; or as `to_bytes`.
    """
    for what, few in (("images", images), ("real images", real.train.images), ("real test images", real.test.images)):
        if len(few) < MIN_SAMPLES:
            raise EvaluationError(
                f"at least {MIN_SAMPLES} {what} are needed, one more than there are features, got {len(few)}"
            )
    network = Features(classifier.variables, classifier.classes, classifier.digest())
    return compare_features(to_bytes(images), labels, real_features(real.train.images, real.test, network))


class Features(NamedTuple):
    """The networks that compute the features in which images are compared.

    Attributes:
      variables: of `DigitClassifier`.
      classes: the names of its classes, in the order of its logits.
      name: the SHA-256 that identifies the features.
      second: maps images to the features [N, D] of a second classifier, or None.
    """

    variables: dict[str, Any]
    classes: tuple[str, ...]
    name: str
    second: Callable[[np.ndarray], np.ndarray] | None = None


class RealFeatures(NamedTuple):
    """Real images and what is precomputed from them for any number of evaluations.

    Attributes:
      train: the training images, uint8 [M, 28, 28, 1].
      test: the test images, with labels if there are any.
      network: the networks that compute the features.
      logits, features: of the test images.
      radii: `neighbour_radii` of the features.
      second: features of the test images by the second classifier, or None.
    """

    train: np.ndarray
    test: Dataset
    network: Features
    logits: np.ndarray
    features: np.ndarray
    radii: np.ndarray
    second: np.ndarray | None


def real_features(train: np.ndarray, test: Dataset, network: Features) -> RealFeatures:
    """Precompute what `compare_features` needs of real images, uint8 [., 28, 28, 1]."""
    logits, features = classify(test.images, network.variables)
    second = None if network.second is None else network.second(test.images)
    return RealFeatures(train, test, network, logits, features, _real_radii(features), second)


def compare_features(
    images: np.ndarray, labels: np.ndarray | None, real: RealFeatures, floor: Scores | None = None
) -> Evaluation[Scores]:
    """Score images, and as many training images for the floor.

    Args:
      images: uint8 [N, 28, 28, 1], of any content.
      labels: the requested classes [N], or None.
      real: the real images to compare with.
      floor: `real_baseline` of as many images, if already known.
    """
    floor = floor or real_baseline(len(images), real)
    if labels is not None and real.test.labels is not None:
        floor = floor._replace(as_asked=_share_read_as(real.logits, real.test.labels))
    scores = _score(images, mean_nearest(images, real.train), labels, real)
    return Evaluation(len(images), scores, floor, real.network.name)


def real_baseline(n: int, real: RealFeatures) -> Scores:
    """The scores of ``n`` training images, with ``nearest`` computed on test images."""
    train, test = real.train, real.test.images
    nearest = mean_nearest(test[choose(len(test), n)], train)
    return _score(train[choose(len(train), n)], nearest, None, real)


def _score(images: np.ndarray, nearest: float, labels: np.ndarray | None, real: RealFeatures) -> Scores:
    network = real.network
    logits, features = classify(images, network.variables)
    second = None if network.second is None else network.second(images)
    with float64_on_cpu():
        x, y, predictions = (jnp.asarray(a, jnp.float64) for a in (features, real.features, logits))
        precision, recall = precision_recall(y, x, jnp.asarray(real.radii))
        shares = class_shares(predictions)
        by_name = {name: float(share) for name, share in zip(network.classes, shares, strict=True)}
        scores = Scores(
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
            second_fid=None if second is None else _second_fid(second, real.second),
            as_asked=None if labels is None else _share_read_as(logits, labels),
        )
    return checked(scores)


def _second_fid(features: np.ndarray, real: np.ndarray | None) -> float:
    return float(frechet_distance(*(jnp.asarray(a, jnp.float64) for a in (features, real))))


def checked(scores: S) -> S:
    """Return the scores. Raises: EvaluationError if one is not finite, as when squared features overflow float64."""
    for name, value in scores._asdict().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise EvaluationError(f"{name} is {value}")
    return scores


def _real_radii(features: np.ndarray) -> np.ndarray:
    """`neighbour_radii` in float64: features [N, D] -> [N]."""
    with float64_on_cpu():
        return np.asarray(neighbour_radii(jnp.asarray(features, jnp.float64)))


def _share_read_as(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of images classified as their label, from logits [N, classes] and labels [N]."""
    return float((logits.argmax(-1) == np.asarray(labels)).mean())


@contextlib.contextmanager
def float64_on_cpu() -> Iterator[None]:
    """A context in which JAX computes in float64, on the CPU if available: not every accelerator has float64."""
    with jax.enable_x64(True), jax.default_device(_cpu()), jax.default_matmul_precision("highest"):
        yield


def _cpu() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS excludes the CPU
        return jax.local_devices()[0]
