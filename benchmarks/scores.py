"""Distances between two sets of features, as they are and on other scales, in float64."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.evaluation.metrics import frechet_distance, kernel_distance, neighbour_radii, precision_recall

_FLOOR = 1e-3  # of a variance, as a share of the mean variance: dimensions below it are noise


class Scale(NamedTuple):
    """An affine map of features, fitted to those of real images: ``(x - mean) @ matrix``."""

    mean: np.ndarray  # [D]
    matrix: np.ndarray  # [D, D]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features [N, D] on this scale, in float64."""
        return (features.astype(np.float64) - self.mean) @ self.matrix


def of_one_length(features: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A map of features [N, D] that gives each row the root mean square length that ``features`` have.

    Features behind rectifiers grow with the contrast of an image; their direction hardly depends on it.
    """
    length = np.sqrt(np.square(features, dtype=np.float64).sum(1).mean())

    def map_(x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float64)
        return x * (length / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))

    return map_


def standardising(features: np.ndarray) -> Scale:
    """Each dimension of ``features`` [N, D] gets mean 0 and variance 1, but for those that hardly vary."""
    variances = features.astype(np.float64).var(0)
    return Scale(features.mean(0, dtype=np.float64), np.diag(_inverse_root(variances)))


def whitening(features: np.ndarray) -> Scale:
    """``features`` [N, D] get covariance 1, but for directions that hardly vary."""
    values, vectors = np.linalg.eigh(np.cov(features.astype(np.float64), rowvar=False))
    return Scale(features.mean(0, dtype=np.float64), vectors * _inverse_root(values))


def _inverse_root(variances: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(np.maximum(variances, _FLOOR * variances.mean()))


def distances(x: np.ndarray, y: np.ndarray, kid: bool = True) -> dict[str, float]:
    """FID of features [N, D] and [M, D], its part that is the distance of the means, and KID if wanted.

    KID compares all of ``x`` with as many of ``y`` at most: all pairs of both would take most of the time.
    """
    with jax.enable_x64(True):
        a, b = jnp.asarray(x, jnp.float64), jnp.asarray(y, jnp.float64)
        result = {
            "fid": float(frechet_distance(a, b)),
            "fid_of_means": float(jnp.square(a.mean(0) - b.mean(0)).sum()),
        }
        if kid:
            result["kid"] = float(kernel_distance(a, b[: len(a)]))
        return result


def overlap(fake: np.ndarray, real: np.ndarray, real_radii: np.ndarray | None = None) -> dict[str, float]:
    """Precision and recall of features [N, D] and [M, D]. ``real_radii``: `radii` of the latter."""
    with jax.enable_x64(True):
        radii_ = None if real_radii is None else jnp.asarray(real_radii)
        each = precision_recall(jnp.asarray(real, jnp.float64), jnp.asarray(fake, jnp.float64), radii_)
        return {"precision": float(each[0]), "recall": float(each[1])}


def radii(features: np.ndarray) -> np.ndarray:
    """Each point's squared distance to its third neighbour: [N, D] -> [N]."""
    with jax.enable_x64(True):
        return np.asarray(neighbour_radii(jnp.asarray(features, jnp.float64)))
