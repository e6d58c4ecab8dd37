"""Distances between two sets of features, unscaled and rescaled, in float64."""

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
    """A map that scales each row of features [N, D] to the root mean square length of ``features``.

    Features behind rectifiers grow with the contrast of an image; their direction hardly depends on it.
    """
    length = np.sqrt(np.square(features, dtype=np.float64).sum(1).mean())

    def map_(x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float64)
        return x * (length / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))

    return map_


def standardising(features: np.ndarray) -> Scale:
    """The scale on which ``features`` [N, D] have mean 0 and variance 1, except for dimensions that hardly vary."""
    variances = features.astype(np.float64).var(0)
    return Scale(features.mean(0, dtype=np.float64), np.diag(_inverse_root(variances)))


def whitening(features: np.ndarray) -> Scale:
    """The scale on which ``features`` [N, D] have identity covariance, except for directions that hardly vary."""
    values, vectors = np.linalg.eigh(np.cov(features.astype(np.float64), rowvar=False))
    return Scale(features.mean(0, dtype=np.float64), vectors * _inverse_root(values))


def _inverse_root(variances: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(np.maximum(variances, _FLOOR * variances.mean()))


def distances(x: np.ndarray, y: np.ndarray, kid: bool = True) -> dict[str, float]:
    """FID of features [N, D] and [M, D], its term of the means, and KID if ``kid``.

    KID compares ``x`` with at most N rows of ``y``: all pairs would take most of the time.
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
