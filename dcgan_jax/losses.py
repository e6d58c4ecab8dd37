"""Losses and accuracies on logits: above 0 the discriminator classifies an image as real, otherwise as fake.

Logits narrower than float32 are converted first. A `Losses` holds the losses of both networks; the package has
`CROSS_ENTROPY`, the tutorial's, `HINGE`, `LEAST_SQUARES`, `WASSERSTEIN` and `RELATIVISTIC`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dcgan_jax.dtypes import at_least_float32
from dcgan_jax.penalties import Penalty, gradient_penalty
from dcgan_jax.types import FakeLogits, Logits, Scalar

LOSSES = ("cross-entropy", "hinge", "least-squares", "wasserstein", "relativistic")


class Losses(NamedTuple):
    """What the two networks minimise.

    Attributes:
      discriminator: ``(real_logits [B, 1], fake_logits [B, 1]) -> scalar``.
      generator: ``(fake_logits [B, 1]) -> scalar``, or if ``pairwise`` with the same arguments as ``discriminator``.
      penalty: ``(discriminator, real, fake, key) -> scalar``, added to the discriminator's loss, or None.
        ``discriminator`` maps images [N, H, W, C] to logits [N, 1], in training mode and always with the same dropout
        and augmentation; ``real`` and ``fake`` are the step's images [B, H, W, C]. The penalty may take gradients with
        respect to images. `dcgan_jax.penalties` has R1, R2, WGAN-GP and sums of them.
      penalty_every: steps between penalties; each is multiplied by it, so that the average weight is the same (lazy
        regularisation, Karras et al., arXiv:1912.04958). Steps are counted by the state's ``step``, which `train_step`
        advances; your own loop over ``discriminator_step`` must advance it, or it has a penalty in every step.
      penalty_stride: compute the penalty on every ``penalty_stride``-th image, real and fake: a mean over B / stride.
      pairwise: the generator's loss compares fakes with real images, so its update also evaluates the updated
        discriminator on the step's real images. Accuracies are then the shares of pairs in which the real image, or the
        fake, has the larger logit, because only differences of these logits are meaningful.
    """

    discriminator: Callable[[Logits, Logits], Scalar]
    generator: Callable[..., Scalar]
    penalty: Penalty | None = None
    penalty_every: int = 1
    penalty_stride: int = 1
    pairwise: bool = False


def discriminator_loss(real_logits: Logits, fake_logits: FakeLogits) -> Scalar:
    """Mean binary cross-entropy of real images against label 1 and of fakes against label 0.

    Args:
      real_logits: [B, 1].
      fake_logits: [B', 1]. Every image, real or fake, has the same weight.

    Returns:
      A scalar, in nats, at least 0; ln 2 = 0.693 for a discriminator at chance.
    """
    real_logits, fake_logits = _float32(real_logits), _float32(fake_logits)
    real = optax.sigmoid_binary_cross_entropy(real_logits, jnp.ones_like(real_logits))
    fake = optax.sigmoid_binary_cross_entropy(fake_logits, jnp.zeros_like(fake_logits))
    return (real.sum() + fake.sum()) / (real.size + fake.size)  # moves no logits between devices if they are sharded


def generator_loss(fake_logits: Logits) -> Scalar:
    """Mean binary cross-entropy of fakes against label 1: the non-saturating loss (Goodfellow et al. 2014).

    Args:
      fake_logits: [B, 1].

    Returns:
      A scalar, in nats, at least 0.
    """
    fake_logits = _float32(fake_logits)
    return optax.sigmoid_binary_cross_entropy(fake_logits, jnp.ones_like(fake_logits)).mean()


def hinge_loss(real_logits: Logits, fake_logits: FakeLogits) -> Scalar:
    """The discriminator's hinge loss: ``mean(max(0, 1 - real)) + mean(max(0, 1 + fake))``; 2 at chance.

    Logits [B, 1] beyond 1 on the correct side have no gradient (Lim and Ye, arXiv:1705.02894).
    """
    return jax.nn.relu(1 - _float32(real_logits)).mean() + jax.nn.relu(1 + _float32(fake_logits)).mean()


def least_squares_loss(real_logits: Logits, fake_logits: FakeLogits) -> Scalar:
    """The discriminator's least-squares loss: ``mean((real - 1)^2) / 2 + mean((fake + 1)^2) / 2``; 1 at chance.

    The targets of the logits [B, 1] are 1 and -1, one of the two choices of Mao et al., arXiv:1611.04076
    (a = -1, b = 1, c = 0): the other, 0 and 1, has its threshold at 1/2, and accuracies here use 0.
    """
    return (jnp.square(_float32(real_logits) - 1).mean() + jnp.square(_float32(fake_logits) + 1).mean()) / 2


def least_squares_generator_loss(fake_logits: Logits) -> Scalar:
    """The generator's least-squares loss: ``mean(fake^2) / 2`` of logits [B, 1], towards the boundary (c = 0)."""
    return jnp.square(_float32(fake_logits)).mean() / 2


def wasserstein_loss(real_logits: Logits, fake_logits: FakeLogits) -> Scalar:
    """The critic's loss: ``mean(fake) - mean(real)`` of logits [B, 1]. It is unbounded without a penalty.

    Its negative estimates the Wasserstein distance (Arjovsky et al., arXiv:1701.07875). These logits have no threshold,
    so accuracies say little.
    """
    return _float32(fake_logits).mean() - _float32(real_logits).mean()


def raise_fakes(fake_logits: Logits) -> Scalar:
    """The generator's loss with a hinge or Wasserstein loss: ``-mean(fake)`` of logits [B, 1]."""
    return -_float32(fake_logits).mean()


def relativistic_loss(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """The discriminator's pairwise loss: ``mean(log(1 + exp(fake - real)))`` of logits [B, 1]; ln 2 at chance.

    Each real image should look more real than the fake paired with it (Jolicoeur-Martineau, arXiv:1807.00734), in the
    form of R3GAN (Huang et al., arXiv:2501.05441).
    """
    return jax.nn.softplus(_float32(fake_logits) - _float32(real_logits)).mean()


def relativistic_generator_loss(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """The generator's pairwise loss: `relativistic_loss` with the arguments exchanged."""
    return relativistic_loss(fake_logits, real_logits)


CROSS_ENTROPY = Losses(discriminator_loss, generator_loss)  # the tutorial's
HINGE = Losses(hinge_loss, raise_fakes)
LEAST_SQUARES = Losses(least_squares_loss, least_squares_generator_loss)
WASSERSTEIN = Losses(wasserstein_loss, raise_fakes, penalty=gradient_penalty())  # WGAN-GP
RELATIVISTIC = Losses(relativistic_loss, relativistic_generator_loss, pairwise=True)


def named_losses(name: str) -> Losses:
    """The losses with this name, one of `LOSSES`.

    Raises:
      ValueError: for any other name.
    """
    match name:
        case "cross-entropy":
            return CROSS_ENTROPY
        case "hinge":
            return HINGE
        case "least-squares":
            return LEAST_SQUARES
        case "wasserstein":
            return WASSERSTEIN
        case "relativistic":
            return RELATIVISTIC
    raise ValueError(f"unknown loss {name!r}: choose from {', '.join(LOSSES)}")


def check_losses(losses: Any) -> None:
    """Check what can be checked without logits.

    Raises:
      TypeError: if it is not a `Losses` of functions.
      ValueError: if the interval or the stride of the penalty is not an integer of at least 1.
    """
    if not isinstance(losses, Losses):
        raise TypeError(f"losses must be a Losses(discriminator, generator), got {losses!r}")
    for name in ("discriminator", "generator", "penalty"):
        value = getattr(losses, name)
        if not callable(value) and not (name == "penalty" and value is None):
            raise TypeError(f"losses: {name} must be a function, got {value!r}")
    for name in ("penalty_every", "penalty_stride"):
        value = getattr(losses, name)
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def discriminator_accuracy(real_logits: Logits, fake_logits: FakeLogits) -> Scalar:
    """Share of images classified correctly, at the threshold of Keras's binary accuracy: real if p > 0.5. In [0, 1]."""
    right = (real_logits > 0).sum(dtype=jnp.int32) + (fake_logits <= 0).sum(dtype=jnp.int32)
    return right.astype(jnp.float32) / (real_logits.size + fake_logits.size)


def generator_accuracy(fake_logits: Logits) -> Scalar:
    """Share of fakes that the discriminator classifies as real. In [0, 1]."""
    return (fake_logits > 0).mean(dtype=jnp.float32)


def pair_accuracy(larger_logits: Logits, logits: Logits) -> Scalar:
    """Share of pairs in which the first logit [B, 1] is larger than the second. In [0, 1]."""
    return (larger_logits > logits).mean(dtype=jnp.float32)


def _float32(logits: Logits) -> Logits:
    return logits.astype(at_least_float32(logits.dtype))
