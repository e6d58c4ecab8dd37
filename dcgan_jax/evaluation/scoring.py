"""Scores of images of digits against MNIST's test images, beside the scores of as many real images."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.checks import scale_remedy
from dcgan_jax.data import load_dataset
from dcgan_jax.errors import UserError
from dcgan_jax.evaluation.classifier import FEATURES, classify
from dcgan_jax.evaluation.metrics import (
    class_score,
    class_shares,
    confident_share,
    frechet_distance,
    kernel_distance,
    kl_to_uniform,
    nearest_distances,
    neighbour_radii,
    precision_recall,
)
from dcgan_jax.evaluation.strided_classifier import strided_features
from dcgan_jax.pinning import jax_defaults
from dcgan_jax.sampling import image_shape, sample_in_batches
from dcgan_jax.state import GANState

DEFAULT_SAMPLES = 10_000  # as many as there are test images; a FID depends on the number
MIN_SAMPLES = FEATURES + 1  # with fewer the covariance of the features is singular
MAX_SAMPLES = 60_000  # as many as there are training images for the floor
_SHAPE = (28, 28, 1)
_WHITE = 128  # of 255; a digit that is nowhere brighter is on another scale
_BRIGHT = 192  # of 255; a fifth of the pixels of MNIST's digits are above 0, a tenth above this


class EvaluationError(UserError):
    """Images cannot be scored."""


class Scores(NamedTuple):
    """The scores of a set of images, by the features and predictions of `dcgan_jax.evaluation.classifier`.

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


class Evaluation(NamedTuple):
    """What `evaluate_images` returns.

    Attributes:
      samples: the number of images.
      scores: of the images.
      floor: the scores of as many real digits: training images chosen at random. Only its ``nearest`` is of test
        images, as training images are their own nearest; images much nearer than those are copies.
    """

    samples: int
    scores: Scores
    floor: Scores

    def to_json(self) -> dict[str, Any]:
        """A JSON object: ``samples``, and ``scores`` and ``floor`` as objects of numbers and lists."""
        return {"samples": self.samples, "scores": self.scores._asdict(), "floor": self.floor._asdict()}


@jax_defaults()
def evaluate_images(images: np.ndarray | jax.Array) -> Evaluation:
    """Score images of digits from any source against MNIST's 10,000 test images.

    Args:
      images: [N, 28, 28, 1] or [N, 28, 28], white on black: uint8 in [0, 255], or floating point in [0, 1], which
        is rounded to 8 bits as real images are. At least 129; 10,000 for figures that others can compare with.

    Raises:
      EvaluationError: if the images are too few, of another shape or type, out of range, not finite, or all the same;
        or if they cannot be digits in white on black: none is brighter than half of white, most pixels are bright, or
        the background is grey.
    """
    images = _as_bytes(images)
    _check_brightness(images)
    return _evaluate(images)


def _evaluate(images: np.ndarray) -> Evaluation:
    floor = _real_baseline(len(images))
    floor = floor._replace(digits=list(floor.digits), missing_digits=list(floor.missing_digits))  # it is cached
    return Evaluation(len(images), _score(images, _nearest(images)), floor)


@jax_defaults()
def evaluate(state: GANState, key: jax.Array, samples: int = DEFAULT_SAMPLES) -> Evaluation:
    """Score a generator's images of fresh noise, in inference mode.

    Args:
      state: from training; ``averaged(state)`` to score the moving average of the generator.
      key: a PRNG key for the noise.
      samples: the number of images to draw.

    Raises:
      EvaluationError: as `evaluate_images`.
    """
    if not MIN_SAMPLES <= samples <= MAX_SAMPLES:
        raise EvaluationError(f"samples must be {MIN_SAMPLES} to {MAX_SAMPLES:,}, got {samples}")
    shape = image_shape(state)
    if shape != _SHAPE:
        raise EvaluationError(f"only images of digits, {list(_SHAPE)}, can be scored, got {list(shape)}")
    # No check of the brightness: whatever an untrained or collapsed generator draws has its score.
    return _evaluate(_as_bytes(sample_in_batches(state, key, samples)))


def format_table(evaluation: Evaluation) -> str:
    """The scores and the floor side by side, a line each."""
    ours, floor = evaluation.scores, evaluation.floor

    def line(name: str, mine: str, real: str) -> str:
        return f"{name:<42}{mine:>10}{real:>10}"

    def share(value: float) -> str:
        return f"{100 * value:.1f} %"

    def missing(scores: Scores) -> str:
        return " ".join(map(str, scores.missing_digits)) or "none"

    lines = [
        line("", "images", "floor"),
        line("FID (lower is better)", f"{ours.fid:.3f}", f"{floor.fid:.3f}"),
        line("FID by a second classifier", f"{ours.second_fid:.3f}", f"{floor.second_fid:.3f}"),
        line("KID (lower is better)", f"{ours.kid:.3f}", f"{floor.kid:.3f}"),
        line("precision", share(ours.precision), share(floor.precision)),
        line("recall", share(ours.recall), share(floor.recall)),
        line("MNIST score (1 to 10)", f"{ours.mnist_score:.3f}", f"{floor.mnist_score:.3f}"),
        line("confident (a digit's probability >= 0.95)", share(ours.confident), share(floor.confident)),
        line("digits: KL to uniform", f"{ours.digit_kl:.4f}", f"{floor.digit_kl:.4f}"),
        line("digits that are missing", missing(ours), missing(floor)),
        line("distance to the nearest training image", f"{ours.nearest:.3f}", f"{floor.nearest:.3f}"),
        *(line(f"share of {i}", share(ours.digits[i]), share(floor.digits[i])) for i in range(10)),
    ]
    return "\n".join(lines)


def _as_bytes(images: np.ndarray | jax.Array) -> np.ndarray:
    """uint8 [N, 28, 28, 1], checked."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[1:] != _SHAPE:
        raise EvaluationError(f"images of digits must be [N, 28, 28, 1] or [N, 28, 28], got {list(images.shape)}")
    if len(images) < MIN_SAMPLES:
        raise EvaluationError(
            f"at least {MIN_SAMPLES} images are needed, one more than there are features, got {len(images)}"
        )
    if len(images) > MAX_SAMPLES:
        raise EvaluationError(f"at most {MAX_SAMPLES:,} images can be scored, got {len(images):,}")
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating) and images.dtype != jnp.bfloat16:
            raise EvaluationError(f"images must be uint8 or floating point in [0, 1], got {images.dtype}")
        images = images.astype(np.float64)
        if not np.isfinite(images).all():
            raise EvaluationError(f"{(~np.isfinite(images)).sum():,} pixels are NaN or infinite")
        low, high = float(images.min()), float(images.max())
        if not -0.5 < low * 255 <= high * 255 < 255.5:
            raise EvaluationError(
                f"floating-point images must be in [0, 1], got values from {low:.6g} to {high:.6g}: "
                f"{scale_remedy(low, high)}"
            )
        images = np.rint(images * 255).astype(np.uint8)
    if (images == images[0]).all():
        raise EvaluationError("all images are the same: there is nothing to score")
    return images


def _check_brightness(images: np.ndarray) -> None:
    """Raises: EvaluationError if the images are digits on another scale than white on black from 0 to 255."""
    if images.max() < _WHITE:
        raise EvaluationError(
            f"no pixel is above {images.max()} of 255: scale the images to [0, 255], or pass floats in [0, 1]"
        )
    shares = np.bincount(images.ravel(), minlength=256) / images.size  # four fifths of MNIST's pixels are 0
    background = int(shares.argmax())
    if background == 255 and shares[2:255].sum() == 0:
        raise EvaluationError(
            "all pixels are 255, 0 or 1, and most are 255: images in [-1, 1] wrap around so when they are converted to "
            "uint8; add 1 and multiply by 127.5 before"
        )
    if shares[_BRIGHT:].sum() > 0.5:
        raise EvaluationError("most pixels are bright: digits must be white on black; subtract them from 255")
    if background > 0 and shares[background] > 0.5:
        raise EvaluationError(
            f"the background is {background} and not 0, black: scale the images to [0, 255]; those in [-1, 1] wrap "
            "around when they are converted to uint8"
        )


def _score(images: np.ndarray, nearest: float) -> Scores:
    """Compute in float64, on the CPU where JAX may use it: not every accelerator has float64."""
    (logits, features), second = classify(images), strided_features(images)
    with jax.enable_x64(True), jax.default_device(_cpu()), jax.default_matmul_precision("highest"):
        x, y, predictions = (jnp.asarray(a, jnp.float64) for a in (features, _test_features(), logits))
        precision, recall = precision_recall(y, x, jnp.asarray(_test_radii()))
        shares = class_shares(predictions)
        scores = Scores(
            fid=float(frechet_distance(x, y)),
            second_fid=float(frechet_distance(*(jnp.asarray(a, jnp.float64) for a in (second, _second_features())))),
            kid=float(kernel_distance(x, y)),
            precision=float(precision),
            recall=float(recall),
            mnist_score=float(class_score(predictions)),
            confident=float(confident_share(predictions)),
            digits=[float(share) for share in shares],
            digit_kl=float(kl_to_uniform(shares)),
            missing_digits=[digit for digit, share in enumerate(shares) if share == 0],
            nearest=nearest,
        )
    for name, value in scores._asdict().items():
        if isinstance(value, float) and not math.isfinite(value):  # features whose squares overflow float64
            raise EvaluationError(f"{name} is {value}")
    return scores


def _cpu() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names other platforms only
        return jax.local_devices()[0]


def _nearest(images: np.ndarray) -> float:
    def flat(bytes_: np.ndarray) -> jax.Array:
        return jnp.asarray(bytes_, jnp.float32).reshape(len(bytes_), -1) / 255

    with jax.default_matmul_precision("float32"):
        return float(nearest_distances(flat(images), flat(_real_images("train"))).mean())


@functools.cache  # every evaluation of a run needs it
def _real_baseline(n: int) -> Scores:
    def chosen(split: str) -> np.ndarray:
        images = _real_images(split)
        return images[np.random.default_rng(0).choice(len(images), min(n, len(images)), replace=False)]

    return _score(chosen("train"), _nearest(chosen("test")))


@functools.cache
def _test_features() -> np.ndarray:
    return classify(_real_images("test"))[1]


@functools.cache
def _second_features() -> np.ndarray:
    return strided_features(_real_images("test"))


@functools.cache
def _test_radii() -> np.ndarray:
    """In float64, as `_score` is."""
    return np.asarray(neighbour_radii(jnp.asarray(_test_features(), jnp.float64)))


@functools.cache
def _real_images(split: str) -> np.ndarray:
    return load_dataset(split=split)
