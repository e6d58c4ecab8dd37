"""The arguments of `dcgan_jax.init_state`: defaults and checks.

Each check raises a ValueError or a TypeError that names the argument.
"""

import math
import numbers
from typing import Any, NamedTuple

import flax.linen as nn
import optax

from dcgan_jax.losses import Losses, check_losses
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.presets import Preset
from dcgan_jax.presets import preset as preset_of_name

FAKES = ("inference", "training")  # the generator's modes for the fakes of the discriminator's update


class Parts(NamedTuple):
    """The arguments that have defaults in a preset."""

    generator: nn.Module
    discriminator: nn.Module
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    ema: float | None
    ema_ramp: float | None
    fakes: str
    losses: Losses


def chosen_parts(preset: str | Preset, classes: int | None, *given: Any) -> Parts:
    """The ``given`` parts, in the order of `Parts` and checked; those that are None are the preset's."""
    chosen = preset_of_name(preset) if isinstance(preset, str) else preset
    if not isinstance(chosen, Preset):
        raise TypeError(f"preset must be a name or a Preset, got {preset!r}")
    options: dict[str, Any] = {"dropout_rate": chosen.dropout_rate, "classes": classes}
    averages = Parts(*given).ema is not None or chosen.ema is not None
    defaults = Parts(
        Generator(**options),
        Discriminator(**options),
        chosen.generator,
        chosen.discriminator,
        chosen.ema,
        chosen.ema_ramp if averages else None,
        chosen.fakes,
        chosen.losses,
    )
    parts = Parts._make(default if each is None else each for each, default in zip(given, defaults, strict=True))
    _check_average(parts.ema, parts.ema_ramp)
    if parts.fakes not in FAKES:
        raise ValueError(f"fakes must be one of {', '.join(FAKES)}, got {parts.fakes!r}")
    check_losses(parts.losses)
    _check_network(parts.generator, parts.generator_tx, classes, "generator")
    _check_network(parts.discriminator, parts.discriminator_tx, classes, "discriminator")
    return parts


def check_functions(**values: Any) -> None:
    """Check for functions or None."""
    for name, value in values.items():
        if value is not None and not callable(value):
            raise TypeError(f"{name} must be a function, got {value!r}")


def _check_average(ema: float | None, ema_ramp: float | None) -> None:
    """Check for a decay in [0, 1) or None, and a ramp above 0, with a decay, or None."""
    if ema is not None and not (isinstance(ema, numbers.Real) and 0 <= ema < 1):
        raise ValueError(f"ema must be a number in [0, 1), got {ema!r}")
    if ema_ramp is not None and not (ema is not None and 0 < ema_ramp < math.inf):
        raise ValueError(f"ema_ramp must be above 0, and with an ema, got {ema_ramp} and {ema}")


def _check_network(module: object, tx: object, classes: int | None, name: str) -> None:
    """Check for a Linen module that can be static, of as many classes if it is the package's, and an optimizer."""
    if not isinstance(module, nn.Module):
        is_class = isinstance(module, type)
        got = f"the class {module.__name__}: build it" if is_class else f"an object of type {type(module).__name__}"
        nnx = (
            ", which flax.nnx.bridge.to_linen may turn into one"
            if type(module).__module__.startswith("flax.nnx")
            else ""
        )
        raise TypeError(f"the {name} must be an instance of a Flax Linen module, got {got}{nnx}")
    if not (callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None))):
        raise TypeError(f"the {name}'s optimizer must be an Optax gradient transformation, got {tx!r}")
    if isinstance(module, Generator | Discriminator) and module.classes != classes:
        raise ValueError(f"the {name} was built with classes={module.classes}, and init_state has classes={classes}")
