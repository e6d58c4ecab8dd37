"""Presets: how to train the two networks, as in one of the tutorial's sources, or as recommended."""

import functools
from typing import NamedTuple

import optax

from dcgan_jax.losses import CROSS_ENTROPY, Losses
from dcgan_jax.optimizers import InverseSqrt, muon, rmsprop
from dcgan_jax.penalties import r1_penalty

PRESETS = ("tutorial", "article", "upstream", "keras3", "recommended")
RECOMMENDED = "recommended"

# How runs with ``recommended`` keep D from memorising: with fewer training pictures than this, everything
# it sees is augmented; with more, such as MNIST's 60,000, nothing is. Which augmentation was measured on 300 pictures
# (docs/pictures-results.md); below which number was not.
FEW_PICTURES = 5_000
FEW_PICTURES_AUGMENT = "translation,color,cutout"  # names for `dcgan_jax.augment.named_augmentation`


class Preset(NamedTuple):
    """One way to train.

    Attributes:
      discriminator, generator: the optimizers.
      dropout_rate: of `Discriminator` and `Generator`.
      losses: what the two networks minimise.
      ema: decay of a moving average of the generator, or None.
      ema_ramp: the average's ramp, or None; see `dcgan_jax.ema.EMA`.
      fakes: the generator's mode for the fakes of the discriminator's update; see `dcgan_jax.GANState`.
    """

    discriminator: optax.GradientTransformation
    generator: optax.GradientTransformation
    dropout_rate: float = 0.4
    losses: Losses = CROSS_ENTROPY
    ema: float | None = None
    ema_ramp: float | None = None
    fakes: str = "inference"


def preset(
    name: str, generator_learning_rate: float | None = None, discriminator_learning_rate: float | None = None
) -> Preset:
    """The preset with this name, with other learning rates if they are given.

    Four are published in the tutorial's sources, and differ only in their RMSprop. ``recommended`` draws the best
    digits that a search found, with the same layers; docs/hyperparameter-search.md has the figures.

    Args:
      name: ``tutorial``, what the walkthrough gives as the current code; ``article``, the article's own
        listing; ``upstream``, the last version in the tutorial's repository (efe15a1); ``keras3``, the
        walkthrough's settings as Keras 3 runs them, with epsilon inside the root; ``recommended``: Muon, no dropout,
        the R1 penalty in every fourth step on every fourth image, fakes in training mode for both updates, and a moving
        average of the generator.
      generator_learning_rate: of the generator's optimizer, above 0, in the preset's schedule; the preset's if None.
      discriminator_learning_rate: the same for the discriminator.

    Raises:
      ValueError: for any other name.
    """
    return _preset(name, generator_learning_rate, discriminator_learning_rate)


def recommended_augmentation(images: int) -> str | None:
    """The augmentation of ``recommended`` for this number of training images, or None for no augmentation.

    Runs with that preset use it unless another is chosen. `init_state` does not augment by default: pass it
    ``augment=named_augmentation(names)`` with these names.

    Args:
      images: the number of training images, not counting held-out ones.

    Returns:
      Names for `dcgan_jax.augment.named_augmentation`: ``translation,color,cutout`` for fewer than 5,000 images.
    """
    return FEW_PICTURES_AUGMENT if images < FEW_PICTURES else None


@functools.cache  # the same objects each time, so that two states with one preset share a compiled step
def _preset(name: str, g: float | None, d: float | None) -> Preset:
    match name:
        case "tutorial":
            return Preset(discriminator=rmsprop(d or 1e-4, 3e-8), generator=rmsprop(g or 1e-4, 3e-8))
        case "article":
            return Preset(
                discriminator=rmsprop(d or 8e-4, 6e-8, clip=1.0), generator=rmsprop(g or 4e-4, 3e-8, clip=1.0)
            )
        case "upstream":
            return Preset(discriminator=rmsprop(d or 2e-4, 6e-8), generator=rmsprop(g or 1e-4, 3e-8))
        case "keras3":
            return Preset(
                discriminator=rmsprop(d or 1e-4, 3e-8, eps_in_sqrt=True),
                generator=rmsprop(g or 1e-4, 3e-8, eps_in_sqrt=True),
            )
        case "recommended":
            return Preset(
                discriminator=muon(InverseSqrt(d or 0.04, steps=300)),
                generator=muon(InverseSqrt(g or 0.02, steps=300)),
                dropout_rate=0.0,
                losses=CROSS_ENTROPY._replace(penalty=r1_penalty(0.3), penalty_every=4, penalty_stride=4),
                ema=0.998,
                ema_ramp=0.05,
                fakes="training",
            )
    raise ValueError(f"unknown preset {name!r}: choose from {', '.join(PRESETS)}")
