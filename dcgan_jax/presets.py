"""Presets: how to train the two networks, as one source of the tutorial has it, and as we recommend it."""

import functools
from typing import NamedTuple

import optax

from dcgan_jax.losses import CROSS_ENTROPY, Losses
from dcgan_jax.optimizers import InverseSqrt, muon, rmsprop
from dcgan_jax.penalties import r1_penalty

PRESETS = ("tutorial", "article", "upstream", "keras3", "recommended")


class Preset(NamedTuple):
    """One way to train.

    Attributes:
      discriminator, generator: the optimizers.
      dropout_rate: of `Discriminator` and of `Generator`.
      losses: what the two networks minimise.
      ema: decay of a moving average of the generator, or None.
      ema_ramp: the average's ramp, or None; see `dcgan_jax.ema.EMA`.
    """

    discriminator: optax.GradientTransformation
    generator: optax.GradientTransformation
    dropout_rate: float = 0.4
    losses: Losses = CROSS_ENTROPY
    ema: float | None = None
    ema_ramp: float | None = None


@functools.cache  # the same objects each time, so that two states of one preset share a compiled step
def preset(name: str) -> Preset:
    """The preset of a name.

    Four are what sources of the tutorial publish, and differ in their RMSprop alone. ``recommended`` draws the best
    digits that a search found, with the same layers; docs/hyperparameter-search.md has the figures.

    Args:
      name: ``tutorial``, what the walkthrough gives as the current code; ``article``, the article's own
        listing; ``upstream``, the last version in the tutorial's repository (efe15a1); ``keras3``, the
        walkthrough's settings as Keras 3 runs them, with epsilon inside the root; ``recommended``: Muon, no dropout,
        the R1 penalty in each fourth step, and a moving average of the generator.

    Raises:
      ValueError: for any other name.
    """
    match name:
        case "tutorial":
            return Preset(discriminator=rmsprop(1e-4, 3e-8), generator=rmsprop(1e-4, 3e-8))
        case "article":
            return Preset(discriminator=rmsprop(8e-4, 6e-8, clip=1.0), generator=rmsprop(4e-4, 3e-8, clip=1.0))
        case "upstream":
            return Preset(discriminator=rmsprop(2e-4, 6e-8), generator=rmsprop(1e-4, 3e-8))
        case "keras3":
            one = rmsprop(1e-4, 3e-8, eps_in_sqrt=True)
            return Preset(discriminator=one, generator=one)
        case "recommended":
            return Preset(
                discriminator=muon(InverseSqrt(0.04, steps=300)),
                generator=muon(InverseSqrt(0.02, steps=300)),
                dropout_rate=0.0,
                losses=CROSS_ENTROPY._replace(penalty=r1_penalty(0.3), penalty_every=4),
                ema=0.998,
                ema_ramp=0.05,
            )
    raise ValueError(f"unknown preset {name!r}: choose from {', '.join(PRESETS)}")
