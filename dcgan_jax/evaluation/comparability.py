"""What makes the figures of two evaluations comparable."""

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
    """What two evaluations must share, or their figures cannot be compared.

    Attributes:
      features: the SHA-256 that names the features in which images are compared, or `PIXELS`.
      samples: the number of images: a FID falls with it.
    """

    features: str
    samples: int

    @classmethod
    def of(cls, evaluation: dict[str, Any]) -> "Comparability":
        """That of an evaluation's JSON. One that names no features is older than the name, and in the package's own."""
        features = evaluation.get("features", SHA256)
        return cls(PIXELS if features is None else str(features), evaluation["samples"])

    @property
    def by_pixels(self) -> bool:
        """Whether there is no classifier, and so no FID."""
        return self.features == PIXELS

    @property
    def figure(self) -> str:
        """The score by which evaluations are compared, as it is called in a row; lower is better."""
        return _FIGURES.get(self.features, ("fid", "FID"))[0]

    @property
    def name(self) -> str:
        """What that score is, within a sentence."""
        return _FIGURES.get(self.features, ("fid", "FID"))[1]

    @property
    def title(self) -> str:
        """The name, to stand above a chart."""
        return self.name[0].upper() + self.name[1:]

    def __str__(self) -> str:
        known = {
            SHA256: "",
            PIXELS: " by their pixels",
            PERCEPTUAL: " in perceptual features",
            MODES: " by their modes",
        }
        return f"{self.samples:,} images{known.get(self.features, f' in the features {self.features[:12]}')}"
