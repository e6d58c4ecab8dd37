"""Results of evaluations: scores of images and of real images, as tuples, as JSON and as a table."""

from typing import Any, Generic, NamedTuple, TypeVar


class Scores(NamedTuple):
    """Scores from the features and predictions of a classifier, of digits or of other classes.

    Attributes:
      fid: Frechet distance to real test images; lower is better. It decreases with the number of images.
      kid: kernel distance to the test images; lower is better, 0 on average for the same distribution.
      precision: share of the images that lie on the manifold of the test images.
      recall: share of the test images that lie on the manifold of the images.
      class_score: 1 to the number of classes; higher is better. For digits it is known as the MNIST score.
      confident: share of images whose predicted class has a probability of at least 0.95.
      shares: share of the images classified as each class, by its name.
      class_kl: KL divergence of ``shares`` from the uniform distribution, in nats; 0 to ln 10 = 2.303 for ten classes.
      missing: the classes that no image is classified as.
      nearest: mean Euclidean distance of an image to the nearest training image, for pixels in [0, 1].
      second_fid: for digits, the Frechet distance in the features of `dcgan_jax.evaluation.strided_classifier`, on
        another scale. One set of images is certain to be better than another only if ``fid`` and it agree.
      as_asked: share of the images that are classified as the requested class; None if no classes were requested.
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
    second_fid: float | None = None
    as_asked: float | None = None


# Names of scores in JSON from versions that supported only digits.
_FORMER_NAMES = {"mnist_score": "class_score", "digits": "shares", "digit_kl": "class_kl", "missing_digits": "missing"}


def present_names(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores from JSON with the names of `Scores`; earlier versions recorded them with names for digits."""
    if not _FORMER_NAMES.keys() & scores.keys():
        return scores
    named = {_FORMER_NAMES.get(name, name): value for name, value in scores.items()}
    if isinstance(digits := scores.get("digits"), list):
        named["shares"] = {str(digit): share for digit, share in enumerate(digits)}
    if isinstance(missing := scores.get("missing_digits"), list):
        named["missing"] = list(map(str, missing))
    return named


class PixelScores(NamedTuple):
    """Scores from pixels.

    Attributes:
      swd: for each level of the pyramid, by its size, the sliced Wasserstein distance of its patches to those of real
        images, times 1,000; lower is better.
      swd_mean: mean of ``swd`` over the levels.
      nearest: mean Euclidean distance of an image to the nearest training image, for pixels in [0, 1].
      diversity: mean Euclidean distance between two images, for pixels in [0, 1].
    """

    swd: dict[str, float]
    swd_mean: float
    nearest: float
    diversity: float


class PerceptualScores(NamedTuple):
    """Scores of images of any kind in the features of a network trained on ImageNet.

    Attributes:
      kid_x1000: kernel distance to real images, times 1,000; lower is better, 0 on average for the same distribution,
        for any number of images.
      precision, recall: as in `Scores`.
      nearest: mean Euclidean distance, in features, of an image to the nearest training image.
      fid: Frechet distance, or None unless there are more images, and more real ones, than features; lower is better.
        It decreases with the number of images.
    """

    kid_x1000: float
    precision: float
    recall: float
    nearest: float
    fid: float | None = None


class ModeScores(NamedTuple):
    """Scores of images of stacked MNIST, from the digit that the package's classifier predicts in each colour.

    Attributes:
      modes: how many of the 1,000 combinations of three digits occur.
      mode_kl: KL divergence of their shares from those of real images, in nats; lower is better. It decreases with the
        number of images.
      confident: share of images whose three predicted digits have a probability of at least 0.95 each.
      nearest: mean Euclidean distance of an image to the nearest training image, for pixels in [0, 1].
      as_asked: share of the images classified as the three requested digits; None if none were requested.
    """

    modes: int
    mode_kl: float
    confident: float
    nearest: float
    as_asked: float | None = None


S = TypeVar("S", Scores, PixelScores, PerceptualScores, ModeScores)


class Evaluation(NamedTuple, Generic[S]):
    """Scores of images, and of real images.

    Attributes:
      samples: the number of images.
      scores: of the images.
      floor: the scores of as many training images, chosen at random. Its ``nearest``, and ``as_asked`` of `Scores`, are
        computed on held-out real images instead: training images are their own nearest. Images much nearer than those
        are copies.
      features: SHA-256 that identifies the features, in hexadecimal; None for pixels. Scores in different features are
        not comparable.
    """

    samples: int
    scores: S
    floor: S
    features: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object: ``samples``, ``features``, and ``scores`` and ``floor`` as objects without None values."""
        both = {"scores": self.scores, "floor": self.floor}
        objects = {name: {k: v for k, v in each._asdict().items() if v is not None} for name, each in both.items()}
        return {"samples": self.samples, "features": self.features, **objects}


def summary(evaluation: Evaluation[Any]) -> str:
    """The main scores in one line, each with that of the floor in parentheses."""
    scores, floor = evaluation.scores, evaluation.floor
    if isinstance(scores, PixelScores):
        return (
            f"sliced Wasserstein distance {scores.swd_mean:.2f} (real images: {floor.swd_mean:.2f}), distance of two "
            f"images {scores.diversity:.2f} ({floor.diversity:.2f})"
        )
    if isinstance(scores, ModeScores):
        return f"{scores.modes:,} modes (real images: {floor.modes:,}), KL {scores.mode_kl:.3f} ({floor.mode_kl:.3f})"
    overlap = (
        f"precision {scores.precision:.3f} ({floor.precision:.3f}), recall {scores.recall:.3f} ({floor.recall:.3f})"
    )
    if isinstance(scores, PerceptualScores):
        return f"1,000 KID {scores.kid_x1000:.2f} (real images: {floor.kid_x1000:.2f}), {overlap}"
    second = ""
    if scores.second_fid is not None:
        second = f"by a second classifier {scores.second_fid:.2f} ({floor.second_fid:.2f}), "
    return f"FID {scores.fid:.2f} (real images: {floor.fid:.2f}), {second}{overlap}"


def format_table(evaluation: Evaluation[Any]) -> str:
    """A table of the scores and the floor, with a line for each score."""
    ours, floor = _rows(evaluation.scores), _rows(evaluation.floor)
    rows = [("", "images", "floor"), *((name, ours[name], floor[name]) for name in ours)]
    width = max(42, *(len(name) + 2 for name in ours))
    return "\n".join(f"{name:<{width}}{mine:>10}{real:>10}" for name, mine, real in rows)


def _rows(scores: Scores | PixelScores | PerceptualScores | ModeScores) -> dict[str, str]:
    if isinstance(scores, PixelScores):
        return {
            "SWD, mean of the levels (lower is better)": f"{scores.swd_mean:.2f}",
            **{f"SWD of patches at {size}": f"{value:.2f}" for size, value in scores.swd.items()},
            "mean distance of two images": f"{scores.diversity:.3f}",
            _NEAREST: f"{scores.nearest:.3f}",
        }
    if isinstance(scores, PerceptualScores):
        return {
            "KID, times 1,000 (lower is better)": f"{scores.kid_x1000:.3f}",
            **({} if scores.fid is None else {"FID (lower is better)": f"{scores.fid:.3f}"}),
            "precision": _share(scores.precision),
            "recall": _share(scores.recall),
            f"{_NEAREST}, of features": f"{scores.nearest:.3f}",
        }
    if isinstance(scores, ModeScores):
        return {
            "modes, of 1,000": f"{scores.modes:,}",
            "KL to the modes of real images, in nats": f"{scores.mode_kl:.4f}",
            "confident (each digit's probability >= 0.95)": _share(scores.confident),
            **({} if scores.as_asked is None else {"drawn as asked": _share(scores.as_asked)}),
            _NEAREST: f"{scores.nearest:.3f}",
        }
    second = {} if scores.second_fid is None else {"FID by a second classifier": f"{scores.second_fid:.3f}"}
    asked = {} if scores.as_asked is None else {"drawn as asked": _share(scores.as_asked)}
    return {
        "FID (lower is better)": f"{scores.fid:.3f}",
        **second,
        "KID (lower is better)": f"{scores.kid:.3f}",
        "precision": _share(scores.precision),
        "recall": _share(scores.recall),
        f"class score (1 to {len(scores.shares)})": f"{scores.class_score:.3f}",
        "confident (a class's probability >= 0.95)": _share(scores.confident),
        **asked,
        "classes: KL to uniform": f"{scores.class_kl:.4f}",
        "classes that are missing": _missing(scores.missing),
        _NEAREST: f"{scores.nearest:.3f}",
        **{f"share of {_printable(name)}": _share(share) for name, share in scores.shares.items()},
    }


_NEAREST = "distance to the nearest training image"


def _missing(names: list[str]) -> str:
    """The names if they fit into a column, otherwise their number."""
    text = " ".join(map(_printable, names)) or "none"
    return text if len(text) < 10 else str(len(names))


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)
