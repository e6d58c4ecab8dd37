"""Checks of `dcgan_jax.init_state`'s arguments. Each raises a ValueError or a TypeError that names the argument."""

import math
from typing import Any

import flax.linen as nn
import numpy as np

from dcgan_jax.losses import check_losses

FAKES = ("inference", "training")  # the generator's modes for the fakes of the discriminator's update


def check_counts(**values: Any) -> None:
    """Check for integers of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def check_average(ema: float | None, ema_ramp: float | None) -> None:
    """Check for a decay in [0, 1) or None, and a ramp above 0, with a decay, or None."""
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema must be in [0, 1), got {ema}")
    if ema_ramp is not None and not (ema is not None and 0 < ema_ramp < math.inf):
        raise ValueError(f"ema_ramp must be above 0, and with an ema, got {ema_ramp} and {ema}")


def check_rest(fakes: Any, losses: Any, **functions: Any) -> None:
    """Check the generator's mode, the losses, and arguments that are a function or None."""
    if fakes not in FAKES:
        raise ValueError(f"fakes must be one of {', '.join(FAKES)}, got {fakes!r}")
    check_losses(losses)
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, got {function!r}")


def check_types(module: object, tx: object, name: str) -> None:
    """Check for a Linen module and an Optax transformation."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"the {name} must be an instance of a Flax Linen module, got {module!r}")
    if not (callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None))):
        raise TypeError(f"the {name}'s optimizer must be an Optax gradient transformation, got {tx!r}")
