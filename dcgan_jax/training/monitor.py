"""Monitoring of a run: when to warn, when to stop, and which checkpoints to keep.

Nothing here reads a file, a clock or a device: the same metrics, samples and evaluations give the same decisions.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dcgan_jax.evaluation.overfitting import Calls
from dcgan_jax.losses import Losses
from dcgan_jax.training.collapse import CollapseDetector
from dcgan_jax.training.history import best_evaluation
from dcgan_jax.training.overfitting import OverfittingDetector


class Monitor:
    """Observes a run's metrics, samples and evaluations, in the order of their steps.

    Attributes:
      evaluations: the figure and the step of each evaluation so far that is comparable with the next, in order.
      collapsed: whether a collapse was observed since the run started or resumed.
      reached: whether the last evaluation reached the FID to stop at.
    """

    def __init__(
        self,
        detector: CollapseDetector,
        losses: Losses,
        *,
        penalty: float = 0.0,
        evaluations: Iterable[tuple[float, int]] = (),
        other_evaluations: Iterable[list[tuple[float, int]]] = (),
        stop_at_fid: float | None = None,
        overfitting: OverfittingDetector | None = None,
    ):
        """Begin where the run starts or resumes.

        Args:
          detector: the collapse detector, as it was when the run was saved.
          losses: the state's losses, which determine the steps with a penalty.
          penalty: the last penalty of a resumed run.
          evaluations: the figures, of which lower is better, and the steps of earlier evaluations.
          other_evaluations: the same for each group of evaluations that are comparable with each other, but not with
            the next; the checkpoint of the best of each is kept too.
          stop_at_fid: the FID to stop at; none if None.
          overfitting: the overfitting detector, as it was when the run was saved; None without held-out images.
        """
        self.evaluations = list(evaluations)
        self.collapsed = self.reached = False
        self._detector = detector
        self._penalty_every = None if losses.penalty is None else losses.penalty_every
        self._penalty = penalty
        self._other_evaluations = list(other_evaluations)
        self._stop_at_fid = stop_at_fid
        self._overfitting = overfitting

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run, as a JSON object: that of the detectors, and the last penalty."""
        penalty = {} if self._penalty_every is None else {"d_penalty": self._penalty}
        overfitting = {} if self._overfitting is None else self._overfitting.state_dict()
        return self._detector.state_dict() | penalty | overfitting

    def observe_metrics(self, step: int, metrics: dict[str, float]) -> tuple[dict[str, float], str | None]:
        """Observe one step's metrics.

        Returns:
          The metrics to log, and a line that describes a collapse when it is first detected, else None. In steps
          without a penalty ``d_penalty`` is the last one, as all steps with a penalty may lie between logged steps.
        """
        if self._penalty_every is not None:
            if (step - 1) % self._penalty_every == 0:
                self._penalty = metrics["d_penalty"]
            metrics = {**metrics, "d_penalty": self._penalty}
        return metrics, self._noted(self._detector.observe_losses(step, metrics))

    def observe_images(self, step: int, images: np.ndarray) -> str | None:
        """Observe a grid's images [N, H, W, C] in [0, 1]; returns a line as `observe_metrics`."""
        return self._noted(self._detector.observe_images(step, images))

    def observe_evaluation(self, step: int, figure: float) -> None:
        """Observe the figure of an evaluation."""
        self.evaluations.append((figure, step))
        self.reached = self._stop_at_fid is not None and figure <= self._stop_at_fid

    def observe_calls(self, calls: Calls) -> str | None:
        """Observe the discriminator's calls of an evaluation; returns a line when overfitting is first detected."""
        return None if self._overfitting is None else self._overfitting.observe(calls)

    def steps_to_keep(self, saved: Sequence[int], step: int) -> set[int]:
        """The steps, of the ``saved`` ones and ``step``, whose checkpoints to keep besides the newest."""
        kinds = (self.evaluations, *self._other_evaluations)
        best = [best_evaluation(evaluations, {*saved, step}) for evaluations in kinds]
        return steps_to_keep(saved, step, best, self._detector.healthy_until, self._detector.settled_until)

    def last_healthy(self, saved: Iterable[int]) -> int | None:
        """The newest of the ``saved`` steps from before a collapse, or None."""
        return max((step for step in saved if step <= self._detector.healthy_until), default=None)

    def _noted(self, message: str | None) -> str | None:
        self.collapsed |= message is not None
        return message


def steps_to_keep(
    steps: Sequence[int], step: int, best: Iterable[int | None], healthy_until: int, settled_until: int
) -> set[int]:
    """The steps whose checkpoints a run keeps besides the newest when it saves ``step``.

    Args:
      steps: the steps of the checkpoints so far.
      step: the step being saved.
      best: the step of the best evaluation, or None, of each group of comparable ones.
      healthy_until: the collapse detector's: if a collapse has begun, the last checkpoint up to here is kept.
      settled_until: the collapse detector's: the last checkpoint up to here is kept, in case a collapse that is
        detected later began after it.
    """
    limits = {settled_until, healthy_until} if healthy_until < step else {settled_until}
    healthy = {max((each for each in steps if each <= limit), default=None) for limit in limits}
    return {each for each in (*best, *healthy) if each is not None}
