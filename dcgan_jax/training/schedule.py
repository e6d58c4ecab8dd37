"""When a run logs, samples, evaluates and saves: pure functions of the step and the config."""

from typing import NamedTuple

from dcgan_jax.training.config import TrainConfig


class Due(NamedTuple):
    """What is due after a dispatch of steps.

    Attributes:
      log: a row of metrics.
      sample: a grid of samples.
      evaluate: an evaluation, and with it a checkpoint.
      save: a checkpoint.
    """

    log: bool
    sample: bool
    evaluate: bool
    save: bool


def is_logged(step: int, config: TrainConfig) -> bool:
    """Whether a step's metrics are written: the first step's, and every ``log_every``-th."""
    return step == 1 or step % config.log_every == 0


def is_sampled(step: int, config: TrainConfig) -> bool:
    """Whether samples are drawn after a step: every ``sample_every`` steps, before that at the powers of two."""
    return step % config.sample_every == 0 or (step < config.sample_every and step & (step - 1) == 0)


def next_stop(step: int, config: TrainConfig) -> int:
    """The next step after ``step`` whose state is needed on the host, not only its metrics."""
    intervals = filter(None, (config.sample_every, config.checkpoint_every, config.eval_every))
    stops = [config.steps, *(step - step % every + every for every in intervals)]
    power_of_two = 1 << step.bit_length()
    return min([*stops, power_of_two] if power_of_two < config.sample_every else stops)


def due(before: int, step: int, config: TrainConfig, *, stopping: bool) -> Due:
    """What is due after the steps ``before + 1`` to ``step``; the last step, or that of a stop, is saved.

    Only rows of metrics can be due for a step before the last of these: `next_stop` ends a dispatch wherever samples,
    an evaluation or a checkpoint are due.
    """
    evaluate = config.eval_every is not None and step % config.eval_every == 0
    last = stopping or step == config.steps
    return Due(
        log=any(is_logged(n, config) for n in range(before + 1, step + 1)),
        sample=is_sampled(step, config),
        evaluate=evaluate,
        save=last or evaluate or step % config.checkpoint_every == 0,
    )
