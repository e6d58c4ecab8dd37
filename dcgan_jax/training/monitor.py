"""What a run observes of itself, and what it decides by that: to warn, to stop, which checkpoints to keep.

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
      evaluations: the figure and the step of each evaluation so far that can be compared with the next, in order.
      collapsed: whether a collapse was observed since the run started or resumed.
      reached: whether the last evaluation has the FID to stop at.
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
          detector: of collapses, as it was when the run was saved.
          losses: of the state: they say in which steps there is a penalty.
          penalty: the last one, of a run that resumes.
          evaluations: the figures, of which lower is better, and the steps of earlier evaluations.
          other_evaluations: those that cannot be compared with the next, by what makes them comparable: a checkpoint of
            the best of each is kept too.
          stop_at_fid: the FID to stop at; none if None.
          overfitting: its detector, as it was when the run was saved; None of a run that holds out no images.
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
        """What a run that resumes needs of it, as JSON can hold it: the detectors', and the last penalty."""
        penalty = {} if self._penalty_every is None else {"d_penalty": self._penalty}
        overfitting = {} if self._overfitting is None else self._overfitting.state_dict()
        return self._detector.state_dict() | penalty | overfitting

    def observe_metrics(self, step: int, metrics: dict[str, float]) -> tuple[dict[str, float], str | None]:
        """Take one step's metrics.

        Returns:
          The metrics to show, and a line that describes a collapse the first time it is observed. A penalty of only
          some of the steps, which may all lie between those that are shown, is shown as it was last.
        """
        if self._penalty_every is not None:
            if (step - 1) % self._penalty_every == 0:
                self._penalty = metrics["d_penalty"]
            metrics = {**metrics, "d_penalty": self._penalty}
        return metrics, self._noted(self._detector.observe_losses(step, metrics))

    def observe_images(self, step: int, images: np.ndarray) -> str | None:
        """Take a grid's images [N, H, W, C] in [0, 1]; a line as from `observe_metrics`."""
        return self._noted(self._detector.observe_images(step, images))

    def observe_evaluation(self, step: int, figure: float) -> None:
        """Take the figure of an evaluation."""
        self.evaluations.append((figure, step))
        self.reached = self._stop_at_fid is not None and figure <= self._stop_at_fid

    def observe_calls(self, calls: Calls) -> str | None:
        """Take the discriminator's calls at an evaluation; a line that describes overfitting the first time."""
        return None if self._overfitting is None else self._overfitting.observe(calls)

    def steps_to_keep(self, saved: Sequence[int], step: int) -> set[int]:
        """Of the checkpoints that are ``saved`` and that of ``step``, those to keep beside the newest."""
        kinds = (self.evaluations, *self._other_evaluations)
        best = [best_evaluation(evaluations, {*saved, step}) for evaluations in kinds]
        return steps_to_keep(saved, step, best, self._detector.healthy_until, self._detector.settled_until)

    def last_healthy(self, saved: Iterable[int]) -> int | None:
        """The newest of the checkpoints that are ``saved`` from before a collapse, or None."""
        return max((step for step in saved if step <= self._detector.healthy_until), default=None)

    def _noted(self, message: str | None) -> str | None:
        self.collapsed |= message is not None
        return message


def steps_to_keep(
    steps: Sequence[int], step: int, best: Iterable[int | None], healthy_until: int, settled_until: int
) -> set[int]:
    """The checkpoints that a run keeps beside the newest when it saves ``step``.

    Args:
      steps: of the checkpoints so far.
      step: the one that is saved.
      best: the steps of the best evaluations, one of each kind that can be compared, or None.
      healthy_until: the collapse detector's: if a collapse has begun, the last checkpoint up to here is kept.
      settled_until: the collapse detector's: the last checkpoint up to here is kept, in case a collapse that is found
        later began after it.
    """
    limits = {settled_until, healthy_until} if healthy_until < step else {settled_until}
    healthy = {max((each for each in steps if each <= limit), default=None) for limit in limits}
    return {each for each in (*best, *healthy) if each is not None}
