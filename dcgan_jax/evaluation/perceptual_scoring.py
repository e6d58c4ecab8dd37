"""Scores of images of any kind, size and colour, in the features of a network trained on ImageNet."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.class_scoring import checked, float64_on_cpu
from dcgan_jax.evaluation.efficientnet_lite import (
    FEATURES,
    NAME,
    EfficientNetLite,
    efficientnet_features,
    load_efficientnet_lite,
)
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, MAX_SAMPLES, EvaluationError, choose, to_bytes
from dcgan_jax.evaluation.metrics import (
    frechet_distance,
    kernel_distance,
    nearest_distances,
    neighbour_radii,
    precision_recall,
)
from dcgan_jax.evaluation.real_images import MAX_QUERIES, Parts, part_real
from dcgan_jax.evaluation.results import Evaluation, PerceptualScores

FEW = 4  # images: each needs three neighbours
MIN_REAL = 2 * FEW  # half of them are for the floor


@jax_defaults()
def compare_perceptually(
    images: np.ndarray | jax.Array, train: np.ndarray, test: np.ndarray | None = None
) -> Evaluation[PerceptualScores]:
    """Compare images with real ones in the features of EfficientNet-Lite0; as many real images give the floor.

    Images are compared with at most 10,000 of ``test`` or, without it, of a fixed half of ``train``. The floor is the
    score of training images, without ``test`` those of the other half. There is a FID if the images, those that they
    are compared with and those available for the floor are each more than 1,280. It takes 5 ms per image, including
    real ones, on a CPU core of 2025.

    Args:
      images: [N, H, W, C], uint8, or floating point in [0, 1], which is rounded to 8 bits. N from 4 to 60,000; C 1 or
        3.
      train: the real images used for training, uint8 [M, H', W', 1 or 3], M at least 8; of more than 60,000, a fixed
        random choice.
      test: other real images of the same kind, uint8 [K, H', W', 1 or 3], K at least 4.

    Raises:
      EvaluationError: if the extra ``perceptual`` is not installed; or there are too few or too many images, or they
        have unsuitable shapes or types, or are out of range, not finite, or all the same.
    """
    _check_shape("images", images, FEW)
    for what, array, few in (("real images", train, MIN_REAL), ("test images", test, FEW)):
        if array is None:
            continue
        _check_shape(what, array, few)
        if array.dtype != np.uint8:
            raise EvaluationError(f"{what} must be uint8, got {array.dtype}")
    images = checked_images(images)
    return score_perceptually(images, perceptual_features(train, test, load_efficientnet_lite()))


def checked_images(images: np.ndarray | jax.Array) -> np.ndarray:
    """Check images to score, before features of real ones are computed, and convert them to uint8 [N, H, W, 1 or 3].

    Raises:
      EvaluationError: if there are fewer than four, or they have another shape; or as `to_bytes`.
    """
    _check_shape("images", images, FEW)
    return to_bytes(images)


def _check_shape(what: str, images: np.ndarray | jax.Array, few: int) -> None:
    """Raises: EvaluationError if ``images`` are not [N, H, W, 1 or 3], or N is below ``few``."""
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:3]:
        raise EvaluationError(f"{what} must be [N, H, W, 1 or 3], got {list(images.shape)}")
    if len(images) < few:
        raise EvaluationError(f"at least {few} {what} are needed, got {len(images)}")


class PerceptualFeatures(NamedTuple):
    """What is precomputed from real images for any number of evaluations.

    Attributes:
      network: computes the features.
      train: features of the training images [M, 1280].
      parts: `part_real` of the real images' features.
      radii: `neighbour_radii` of the reference.
    """

    network: EfficientNetLite
    train: np.ndarray
    parts: Parts
    radii: np.ndarray


def perceptual_features(train: np.ndarray, test: np.ndarray | None, network: EfficientNetLite) -> PerceptualFeatures:
    """Precompute what `score_perceptually` needs of real images, uint8 [., H, W, 1 or 3]; 60,000 and 10,000 at most."""
    if len(train) > MAX_SAMPLES:
        train = train[choose(len(train), MAX_SAMPLES)]
    of_train = efficientnet_features(train, network)
    of_test = None
    if test is not None:
        of_test = efficientnet_features(test[choose(len(test), DEFAULT_SAMPLES)], network)
    parts = part_real(of_train, of_test)
    parts = parts._replace(reference=parts.reference[:DEFAULT_SAMPLES])  # in random order
    with float64_on_cpu():
        radii = np.asarray(neighbour_radii(jnp.asarray(parts.reference, jnp.float64)))
    return PerceptualFeatures(network, of_train, parts, radii)


def score_perceptually(
    images: np.ndarray, real: PerceptualFeatures, floor: PerceptualScores | None = None
) -> Evaluation[PerceptualScores]:
    """Score images, and as many training images for the floor.

    Args:
      images: uint8 [N, H, W, 1 or 3], from `checked_images`.
      real: the features of the real images to compare with.
      floor: `perceptual_floor` of as many images, if already known.
    """
    features = efficientnet_features(images, real.network)
    nearest = _nearest(features[choose(len(features), MAX_QUERIES)], real.train)
    scores = _score(features, nearest, real)
    return Evaluation(len(images), scores, floor or perceptual_floor(len(images), real), NAME)


def perceptual_floor(n: int, real: PerceptualFeatures) -> PerceptualScores:
    """The scores of ``n`` training images, with ``nearest`` computed on held-out images."""
    chosen = real.parts.pool[choose(len(real.parts.pool), n)]
    return _score(real.train[chosen], _nearest(real.parts.held_out, real.parts.others), real)


def _nearest(queries: np.ndarray, train: np.ndarray) -> float:
    """The mean distance of features [N, 1280] to the nearest of others [M, 1280]."""
    with jax.default_matmul_precision("float32"):
        return float(nearest_distances(jnp.asarray(queries), jnp.asarray(train)).mean())


def _score(features: np.ndarray, nearest: float, real: PerceptualFeatures) -> PerceptualScores:
    """The scores of images from their features [N, 1280], with ``nearest`` as given."""
    reference = real.parts.reference
    with float64_on_cpu():
        x, y = jnp.asarray(features, jnp.float64), jnp.asarray(reference, jnp.float64)
        precision, recall = precision_recall(y, x, jnp.asarray(real.radii))
        full_rank = min(len(features), len(reference), len(real.parts.pool)) > FEATURES
        scores = PerceptualScores(
            kid_x1000=1e3 * float(kernel_distance(x, y)),
            precision=float(precision),
            recall=float(recall),
            nearest=nearest,
            fid=float(frechet_distance(x, y)) if full_rank else None,
        )
    return checked(scores)
