"""Which evaluations have comparable scores."""

from typing import Any, NamedTuple

from dcgan_jax.evaluation import efficientnet_lite, mode_scoring
from dcgan_jax.evaluation.classifier import SHA256

PIXELS = "pixels"
PERCEPTUAL = efficientnet_lite.NAME
MODES = mode_scoring.NAME
_FIGURES = {
    PIXELS: ("swd_mean", "sliced Wasserstein distance"),
    PERCEPTUAL: ("kid_x1000", "KID times 1,000"),
    MODES: ("mode_kl", "KL of the modes"),
}


class Comparability(NamedTuple):
    """What two evaluations must have in common for their scores to be comparable.

    Attributes:
      features: the SHA-256 that identifies the features in which images are compared, or `PIXELS`.
      samples: the number of images, because FID decreases with it.
    """

    features: str
    samples: int

    @classmethod
    def of(cls, evaluation: dict[str, Any]) -> "Comparability":
        """Read from an evaluation's JSON; old ones without ``features`` are in those of the package's classifier."""
        features = evaluation.get("features", SHA256)
        return cls(PIXELS if features is None else str(features), evaluation["samples"])

    @property
    def by_pixels(self) -> bool:
        """Whether images are compared without a network, and so without FID."""
        return self.features == PIXELS

    @property
    def figure(self) -> str:
        """The key of the main score in an evaluation's JSON; lower is better."""
        return _FIGURES.get(self.features, ("fid", "FID"))[0]

    @property
    def name(self) -> str:
        """The name of the main score, for use within a sentence."""
        return _FIGURES.get(self.features, ("fid", "FID"))[1]

    @property
    def title(self) -> str:
        """The name of the main score, as a chart title."""
        return self.name[0].upper() + self.name[1:]

    def __str__(self) -> str:
        known = {
            SHA256: "",
            PIXELS: " by their pixels",
            PERCEPTUAL: " in perceptual features",
            MODES: " by their modes",
        }
        return f"{self.samples:,} images{known.get(self.features, f' in the features {self.features[:12]}')}"
