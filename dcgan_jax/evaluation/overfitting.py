"""Overfitting of the discriminator, from its logits on training images, held-out images and fakes."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.data import Dataset
from dcgan_jax.dtypes import at_least_float32, jax_defaults
from dcgan_jax.evaluation.images import choose
from dcgan_jax.sampling import sample_in_batches
from dcgan_jax.state import GANState

MAX_CALLED = 500  # images of each kind: the standard error of a mean logit is a twentieth of the standard deviation
_BATCH = 100  # images per batch, as in sampling
_ERRORS = 3.0  # standard errors: for equal distributions the difference of the means exceeds them in 1 of 700 cases


class Calls(NamedTuple):
    """Mean logits of a discriminator in inference mode; their scale depends on the loss.

    Attributes:
      train: on images that it was trained on.
      held_out: on real images that it was not trained on.
      fakes: on generated images.
      overfitting: the result of `overfitting` for these logits.
    """

    train: float
    held_out: float
    fakes: float
    overfitting: float | None

    def to_json(self) -> dict[str, float]:
        """A JSON object, without fields that are None."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Called(NamedTuple):
    """The real images on which a discriminator is evaluated, at most 500 of each kind, with labels if it takes them.

    Attributes:
      train: images that it is trained on.
      held_out: images of the same data that it is not trained on.
    """

    train: Dataset
    held_out: Dataset


def choose_called(train: Dataset, held_out: Dataset) -> Called:
    """A fixed random choice of at most 500 images of each data set."""
    return Called(*(_some(each) for each in (train, held_out)))


@jax_defaults()
def discriminator_calls(state: GANState, key: jax.Array, called: Called) -> Calls:
    """The discriminator's mean logits on real images, and on as many fakes as there are training images.

    The fakes are drawn from the state's own generator in inference mode, with the training images' classes if the state
    has classes.

    Args:
      state: from training, with the generator that its discriminator is trained against.
      key: a PRNG key for the noise.
      called: the real images, uint8 [N, H, W, C], in the shape of the generator's images.
    """
    train, held_out = called
    labels = None if state.classes is None else train.labels
    fakes = sample_in_batches(state, key, len(train.images), None if labels is None else jnp.asarray(labels))
    of_train = discriminator_logits(state, train.images, train.labels)
    of_held_out = discriminator_logits(state, held_out.images, held_out.labels)
    of_fakes = discriminator_logits(state, fakes, labels)
    return Calls(
        train=float(of_train.mean()),
        held_out=float(of_held_out.mean()),
        fakes=float(of_fakes.mean()),
        overfitting=overfitting(of_train, of_held_out, of_fakes),
    )


def overfitting(train: np.ndarray, held_out: np.ndarray, fakes: np.ndarray) -> float | None:
    """Measure overfitting by the logits of training images [N], held-out images [K] and fakes [M].

    The heuristic r_v of Karras et al., "Training Generative Adversarial Networks with Limited Data",
    arXiv:2006.06676, section 3::

        r = (mean(train) - mean(held_out)) / (mean(train) - mean(fakes))

    0 means that the discriminator treats held-out images like training images, 1 like fakes. r is None unless the mean
    of training images exceeds that of fakes by three standard errors: it would be a ratio of two errors. Scaling or
    shifting all logits does not change r, so it is comparable between losses.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # logits that are not finite give None
        distance = float(train.mean() - fakes.mean())
        error = math.sqrt(train.var() / len(train) + fakes.var() / len(fakes))
        r = float(train.mean() - held_out.mean()) / distance if distance > _ERRORS * error else math.nan
    return r if math.isfinite(r) else None


def discriminator_logits(state: GANState, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """The logits, float64 [N], of images [N, H, W, C], uint8 or in [0, 1], in inference mode, in batches of 100.

    The last batch is padded with the first images: all batches have the same shape, and a layer that compares the
    images of a batch sees images of only one kind.
    """
    rows = np.arange(-(-len(images) // _BATCH) * _BATCH) % len(images)
    of_classes = None if state.classes is None else labels
    parts = []
    with jax.default_matmul_precision("float32"):  # else TPUs and newer GPUs round to 8 or 10 bits
        for some in np.split(rows, len(rows) // _BATCH):
            batch = images[some], None if of_classes is None else of_classes[some]
            parts.append(np.asarray(jax.device_get(_logits(state.discriminator, *batch)), np.float64))
    return np.concatenate(parts)[: len(images), 0]


@jax.jit
def _logits(discriminator: Any, images: jax.Array, labels: jax.Array | None) -> jax.Array:
    scale = 255 if images.dtype == jnp.uint8 else 1
    images = images.astype(at_least_float32(images.dtype)) / scale
    logits = discriminator.infer(images, labels)
    return logits.astype(at_least_float32(logits.dtype))


def _some(dataset: Dataset) -> Dataset:
    return dataset.rows(choose(len(dataset.images), MAX_CALLED))._replace(held_out=None).in_memory()
