"""The nearest training images, and the distances to them, which show whether images are copies."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.data.mapped import release
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.efficientnet_lite import EfficientNetLite, efficientnet_features
from dcgan_jax.evaluation.images import in_chunks
from dcgan_jax.evaluation.metrics import nearest_distances

_PIXELS = 2**24  # values of training images on the device at a time, in float32: 64 MB


def mean_nearest(images: np.ndarray, train: np.ndarray) -> float:
    """The mean Euclidean distance of images to their nearest training image, for pixels scaled to [0, 1].

    Both are uint8, [N, H, W, C] and [M, H, W, C]. Training images are on the device a few at a time.
    """

    def flat(images: np.ndarray) -> jax.Array:
        return jnp.asarray(images, jnp.float32).reshape(len(images), -1) / 255

    queries = flat(images)
    nearest = np.full(len(images), np.inf, np.float32)
    with jax.default_matmul_precision("float32"):
        for some in in_chunks(train, _PIXELS):
            nearest = np.minimum(nearest, nearest_distances(queries, flat(some)))
            release(some)
    return float(jnp.asarray(nearest).mean())


@jax_defaults()
def nearest_images(
    images: np.ndarray, train: np.ndarray, network: EfficientNetLite | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The index of the training image that is nearest to each image, and the distance to it.

    Args:
      images: uint8 [N, H, W, C].
      train: uint8 [M, H, W, C].
      network: computes the features that are compared; pixels if None.

    Returns:
      Indices [N] below M, of equally near images the first, up to rounding; and Euclidean distances [N], of pixels
      scaled to [0, 1] or of features.
    """
    if network is not None:
        of_images, of_train = (efficientnet_features(each, network) for each in (images, train))
        return _nearest_rows(of_images, of_train, _as_they_are)
    return _nearest_rows(images, train, _flat)


def _nearest_rows(
    images: np.ndarray, train: np.ndarray, flat: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """`nearest_images` on the rows [., P] that ``flat`` returns, for a chunk of the training images at a time."""
    queries = flat(images)
    numbers, least, start = np.zeros(len(images), np.int64), np.full(len(images), np.inf), 0
    for some in in_chunks(train, _PIXELS):
        found = np.asarray(_nearest(queries, flat(some)))
        distances = np.linalg.norm(queries - flat(some[found]), axis=-1)  # more precise than in `_nearest`
        closer = distances < least
        numbers, least = np.where(closer, start + found, numbers), np.where(closer, distances, least)
        start += len(some)
        release(some)
    return numbers, least


@jax.jit
def _nearest(queries: jax.Array, others: jax.Array) -> jax.Array:
    """For each query [N, P], the index of the nearest of the others [M, P]."""
    with jax.default_matmul_precision("float32"):
        return (jnp.square(others).sum(-1) - 2 * queries @ others.T).argmin(-1)


def _as_they_are(features: np.ndarray) -> np.ndarray:
    return features


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255
