"""Checks that stop a run before losses or parameters that are NaN or infinite are saved."""

import math

import jax
import numpy as np

from dcgan_jax.state import GANState

_LOSSES = ("d_loss", "d_penalty", "g_loss")  # the other metrics are accuracies, and the caller's own


class NotFiniteError(ArithmeticError):
    """A loss or a number of the state is NaN or infinite; the message is one line that names it and the step."""


def check_finite_metrics(step: int, metrics: dict[str, float]) -> None:
    """Raises: NotFiniteError if a loss or a penalty among a step's metrics is not finite; others may be any number."""
    for name in _LOSSES:
        if name in metrics and not math.isfinite(metrics[name]):
            raise NotFiniteError(_message(f"{name} is {metrics[name]}", step))


def check_finite(state: GANState, step: int) -> None:
    """Raises: NotFiniteError if a parameter, statistic or optimizer state is not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(state)):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            continue
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        # A number of an optimizer's state may be infinite: the lowest loss so far, before the first step.
        lowest = "/opt_state/" in name and not np.ndim(leaf)
        if (np.isnan(leaf) if lowest else ~np.isfinite(leaf)).any():
            raise NotFiniteError(_message(f"{name} is not finite", step))


def _message(what: str, step: int) -> str:
    return (
        f"{what} at step {step}: stopped; the checkpoints are from before it, and `resume=True` would repeat the same "
        "steps, so try lower learning rates or another `seed`"
    )
