"""What evaluations return: scores of images beside those of real ones, as tuples, as JSON and as a table."""

from typing import Any, Generic, NamedTuple, TypeVar


class Scores(NamedTuple):
    """The scores of images of digits, by the features and predictions of `dcgan_jax.evaluation.classifier`.

    Attributes:
      fid: Frechet distance to the test images; lower is better. It falls with the number of images.
      second_fid: the same in the features of `dcgan_jax.evaluation.strided_classifier`: another number, on another
        scale. Of two sets of images that differ in both, one is better for sure only if both say so.
      kid: kernel distance to the test images; lower is better, 0 on average for the same distribution.
      precision: share of the images that lie on the manifold of the test images.
      recall: share of the test images that lie on the manifold of the images.
      mnist_score: 1 to 10; higher is better.
      confident: share of images whose predicted digit has a probability of at least 0.95.
      digits: share of the images classified as 0, 1, ..., 9.
      digit_kl: KL divergence of ``digits`` from the uniform histogram, in nats; 0 to ln 10 = 2.303.
      missing_digits: the digits that no image is classified as.
      nearest: mean Euclidean distance of an image to the nearest training image, in units of a white pixel.
      as_asked: share of the images that are classified as the digit that was asked for; None if none was.
    """

    fid: float
    second_fid: float
    kid: float
    precision: float
    recall: float
    mnist_score: float
    confident: float
    digits: list[float]
    digit_kl: float
    missing_digits: list[int]
    nearest: float
    as_asked: float | None = None


class ClassScores(NamedTuple):
    """The scores of images of other classes, by a classifier that was trained on real ones.

    Attributes:
      fid, kid, precision, recall, confident, nearest, as_asked: as of `Scores`.
      class_score: 1 to the number of classes; higher is better.
      shares: share of the images classified as each class, by its name.
      class_kl: KL divergence of ``shares`` from the uniform histogram, in nats.
      missing: the classes that no image is classified as.
    """

    fid: float
    kid: float
    precision: float
    recall: float
    class_score: float
    confident: float
    shares: dict[str, float]
    class_kl: float
    missing: list[str]
    nearest: float
    as_asked: float | None = None


class PixelScores(NamedTuple):
    """What pixels alone say of images.

    Attributes:
      swd: for each level of the pyramid, by its size, the sliced Wasserstein distance of its patches to those of real
        images, times a thousand; lower is better.
      swd_mean: their mean.
      nearest: mean Euclidean distance of an image to the nearest training image, in units of a white pixel.
      diversity: mean Euclidean distance of two images, in units of a white pixel.
    """

    swd: dict[str, float]
    swd_mean: float
    nearest: float
    diversity: float


S = TypeVar("S", Scores, ClassScores, PixelScores)


class Evaluation(NamedTuple, Generic[S]):
    """Scores beside those of real images.

    Attributes:
      samples: the number of images.
      scores: of the images.
      floor: the scores of as many real images: training images chosen at random. Only its ``nearest`` and ``as_asked``
        are of real images that are held out, as training images are their own nearest; images much nearer than those
        are copies.
      features: SHA-256 of the classifier in whose features the scores are, in hexadecimal; None without one. FIDs in
        different features are not comparable.
    """

    samples: int
    scores: S
    floor: S
    features: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object: ``samples``, ``features``, and ``scores`` and ``floor`` as objects, without what is None."""
        both = {"scores": self.scores, "floor": self.floor}
        objects = {name: {k: v for k, v in each._asdict().items() if v is not None} for name, each in both.items()}
        return {"samples": self.samples, "features": self.features, **objects}


def summary(evaluation: Evaluation[Any]) -> str:
    """The main scores in a line, each with the floor's in parentheses."""
    scores, floor = evaluation.scores, evaluation.floor
    if isinstance(scores, PixelScores):
        return (
            f"sliced Wasserstein distance {scores.swd_mean:.2f} (real images: {floor.swd_mean:.2f}), distance of two "
            f"images {scores.diversity:.2f} ({floor.diversity:.2f})"
        )
    second = ""
    if isinstance(scores, Scores):
        second = f"by a second classifier {scores.second_fid:.2f} ({floor.second_fid:.2f}), "
    return (
        f"FID {scores.fid:.2f} (real images: {floor.fid:.2f}), {second}precision {scores.precision:.3f} "
        f"({floor.precision:.3f}), recall {scores.recall:.3f} ({floor.recall:.3f})"
    )


def format_table(evaluation: Evaluation[Any]) -> str:
    """The scores and the floor side by side, a line each."""
    ours, floor = _rows(evaluation.scores), _rows(evaluation.floor)
    rows = [("", "images", "floor"), *((name, ours[name], floor[name]) for name in ours)]
    width = max(42, *(len(name) + 2 for name in ours))
    return "\n".join(f"{name:<{width}}{mine:>10}{real:>10}" for name, mine, real in rows)


def _rows(scores: Scores | ClassScores | PixelScores) -> dict[str, str]:
    if isinstance(scores, PixelScores):
        return {
            "SWD, mean of the levels (lower is better)": f"{scores.swd_mean:.2f}",
            **{f"SWD of patches at {size}": f"{value:.2f}" for size, value in scores.swd.items()},
            "mean distance of two images": f"{scores.diversity:.3f}",
            _NEAREST: f"{scores.nearest:.3f}",
        }
    asked = {} if scores.as_asked is None else {"drawn as asked": _share(scores.as_asked)}
    if isinstance(scores, Scores):
        return {
            "FID (lower is better)": f"{scores.fid:.3f}",
            "FID by a second classifier": f"{scores.second_fid:.3f}",
            **_manifold(scores),
            "MNIST score (1 to 10)": f"{scores.mnist_score:.3f}",
            "confident (a digit's probability >= 0.95)": _share(scores.confident),
            **asked,
            "digits: KL to uniform": f"{scores.digit_kl:.4f}",
            "digits that are missing": " ".join(map(str, scores.missing_digits)) or "none",
            _NEAREST: f"{scores.nearest:.3f}",
            **{f"share of {i}": _share(share) for i, share in enumerate(scores.digits)},
        }
    return {
        "FID (lower is better)": f"{scores.fid:.3f}",
        **_manifold(scores),
        f"class score (1 to {len(scores.shares)})": f"{scores.class_score:.3f}",
        "confident (a class's probability >= 0.95)": _share(scores.confident),
        **asked,
        "classes: KL to uniform": f"{scores.class_kl:.4f}",
        "classes that are missing": str(len(scores.missing) or "none"),
        _NEAREST: f"{scores.nearest:.3f}",
        **{f"share of {_printable(name)}": _share(share) for name, share in scores.shares.items()},
    }


_NEAREST = "distance to the nearest training image"


def _manifold(scores: Scores | ClassScores) -> dict[str, str]:
    return {
        "KID (lower is better)": f"{scores.kid:.3f}",
        "precision": _share(scores.precision),
        "recall": _share(scores.recall),
    }


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)
