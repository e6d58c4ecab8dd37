"""Scores from pixels, without a network, for images of any size: patches, nearest training images and diversity."""

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.class_scoring import checked
from dcgan_jax.evaluation.images import EvaluationError, choose, to_bytes
from dcgan_jax.evaluation.metrics import mean_pairwise_distance
from dcgan_jax.evaluation.nearest import mean_nearest
from dcgan_jax.evaluation.patches import SIDE, draw_patches, pyramid_sizes, sliced_wasserstein
from dcgan_jax.evaluation.real_images import MAX_QUERIES, part_real
from dcgan_jax.evaluation.results import Evaluation, PixelScores
from dcgan_jax.prng import seed_key, split_key

MIN_REAL = 4  # two to compare with, and two for the floor


@jax_defaults()
def compare_images(
    images: np.ndarray | jax.Array, train: np.ndarray, test: np.ndarray | None = None
) -> Evaluation[PixelScores]:
    """Compare images with real ones by their pixels; as many real images give the floor.

    Patches are compared with those of ``test`` or, without it, of a fixed half of ``train``. The floor is the score of
    training images, without ``test`` those of the other half. ``nearest`` and ``diversity`` are means over at most
    1,000 images.

    Args:
      images: [N, H, W, C], uint8, or floating point in [0, 1], which is rounded to 8 bits. N from 2 to 60,000; H and W
        at least 7, C 1 or 3.
      train: the real images used for training, uint8 [M, H, W, C], M at least 4.
      test: other real images of the same kind, uint8 [K, H, W, C], K at least 2.

    Raises:
      EvaluationError: if there are too few or too many images, or they are too small, have unsuitable shapes or types,
        or are out of range, not finite, or all the same.
    """
    _check_shapes(images, train, test)
    images = to_bytes(images)
    reference, pool, held_out, others = part_real(train, test)
    floor = train[pool[choose(len(pool), len(images))]]
    patch_key, real_key, floor_key, direction_key = split_key(seed_key(0), 4)
    real_patches = draw_patches(reference, real_key)

    def score(images: np.ndarray, key: jax.Array, nearest: float) -> PixelScores:
        both = zip(draw_patches(images, key), real_patches, strict=True)
        distances = [sliced_wasserstein(fake, real, direction_key) for fake, real in both]
        sizes = [f"{height}x{width}" for height, width in pyramid_sizes(*images.shape[1:3])]
        mean = sum(distances) / len(distances)
        return checked(PixelScores(dict(zip(sizes, distances, strict=True)), mean, nearest, _diversity(images)))

    nearest = mean_nearest(images[choose(len(images), MAX_QUERIES)], train)
    scores = score(images, patch_key, nearest)
    return Evaluation(len(images), scores, score(floor, floor_key, mean_nearest(held_out, others)))


def _diversity(images: np.ndarray) -> float:
    some = images[choose(len(images), MAX_QUERIES)]
    with jax.default_matmul_precision("float32"):
        return float(mean_pairwise_distance(jnp.asarray(some, jnp.float32).reshape(len(some), -1) / 255))


def _check_shapes(images: np.ndarray | jax.Array, train: np.ndarray, test: np.ndarray | None) -> None:
    shape = train.shape[1:]
    if len(shape) != 3 or min(shape[:2]) < SIDE or shape[2] not in (1, 3):
        raise EvaluationError(
            f"images to compare must be [N, H, W, 1 or 3] of at least {SIDE}x{SIDE}, got {list(train.shape)}"
        )
    for what, array, few in (("images", images, 2), ("real images", train, MIN_REAL), ("test images", test, 2)):
        if array is None:
            continue
        if array.shape[1:] != shape:
            raise EvaluationError(f"{what} must be {list(shape)} as the real ones are, got {list(array.shape[1:])}")
        if len(array) < few:
            raise EvaluationError(f"at least {few} {what} are needed, got {len(array)}")
        if array is not images and array.dtype != np.uint8:
            raise EvaluationError(f"{what} must be uint8, got {array.dtype}")
