"""Whether a discriminator learns its training images by heart: what it says of them, of held-out ones and of fakes."""

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

MAX_CALLED = 500  # images of each kind: the mean of so many logits is known to a twentieth of their deviation
_BATCH = 100  # images that are judged at a time, as many as are drawn
_ERRORS = 3.0  # standard errors: two means of one distribution are further apart in 1 of 700 cases


class Calls(NamedTuple):
    """Means of a discriminator's logits in inference mode, in the units of its loss.

    Attributes:
      train: of images that it was trained on.
      held_out: of real images that it was not trained on.
      fakes: of generated images.
      overfitting: `overfitting` of the three.
    """

    train: float
    held_out: float
    fakes: float
    overfitting: float | None

    def to_json(self) -> dict[str, float]:
        """A JSON object, without what is None."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Called(NamedTuple):
    """The real images that a discriminator is asked about, at most 500 of each kind, with labels if it takes them.

    Attributes:
      train: images that it is trained on.
      held_out: others of the same kind.
    """

    train: Dataset
    held_out: Dataset


def choose_called(train: Dataset, held_out: Dataset) -> Called:
    """At most 500 images of each, chosen at random and always the same."""
    return Called(*(_some(each) for each in (train, held_out)))


@jax_defaults()
def discriminator_calls(state: GANState, key: jax.Array, called: Called) -> Calls:
    """What the discriminator says of real images and of as many fakes as there are training images.

    The fakes are of the state's own generator, in inference mode. If the state has classes, they are of those of the
    training images.

    Args:
      state: from training, with the generator that its discriminator is trained against.
      key: a PRNG key for the noise.
      called: the real images, uint8 [N, H, W, C] of the shape of the generator's.
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
    """How far held-out images are from training images on the way to fakes, by the logits of each, [N], [K], [M].

    The heuristic r_v of Karras et al., "Training Generative Adversarial Networks with Limited Data",
    arXiv:2006.06676, section 3::

        r = (mean(train) - mean(held_out)) / (mean(train) - mean(fakes))

    0: the discriminator treats held-out images as those that it was trained on. 1: as fakes. None where it tells
    training images from fakes no better than by chance, that is where their means are within three standard errors: r
    would be the ratio of two errors. Neither a factor of all logits nor a constant changes it, so that it means the
    same for every loss.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of logits that are not finite; they have no r
        distance = float(train.mean() - fakes.mean())
        error = math.sqrt(train.var() / len(train) + fakes.var() / len(fakes))
        r = float(train.mean() - held_out.mean()) / distance if distance > _ERRORS * error else math.nan
    return r if math.isfinite(r) else None


def discriminator_logits(state: GANState, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """The logits, float64 [N], of images [N, H, W, C], uint8 or in [0, 1], in inference mode, a hundred at a time.

    The last batch is filled up with the first images: its shape is that of the others, and a layer that compares the
    images of a batch sees one kind alone.
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
