"""Detection of three kinds of GAN failure in which every number stays finite."""

import dataclasses
from collections import deque
from typing import Any

import numpy as np

from dcgan_jax.evaluation.classifier import classify


@dataclasses.dataclass(frozen=True)
class CollapseThresholds:
    """When a run counts as collapsed.

    Attributes:
      window: steps over which the discriminator's accuracy and loss are averaged. In healthy runs it wins for some tens
        of steps.
      block: steps averaged into one stored value, so that a checkpoint holds few numbers.
      accuracy: the discriminator has won if its mean accuracy is at least this,
      loss: or its mean loss at most this, in nats; ln 2 = 0.693 is the loss at chance.
      fooled: consecutive steps in which the discriminator classifies every image, real or fake, as real.
      grids: consecutive grids of samples without variety,
      from_step: from this step on; the first samples are all alike.
      distance: a grid has no variety if the mean distance of two samples is below this share of that of real images,
      digits: or if it has at most this many different digits. Sixteen random digits have eight different ones on
        average, and at most two with a probability of 3e-10.
    """

    window: int = 300
    block: int = 30
    accuracy: float = 0.998
    loss: float = 0.02
    fooled: int = 100
    grids: int = 2
    from_step: int = 1_000
    distance: float = 0.25
    digits: int = 2


class CollapseDetector:
    """Observes each step's losses and each grid of samples of a run, from its start or from where it resumes.

    A negative discriminator loss is that of a critic, such as Wasserstein's. Its loss has no minimum and its logits
    have no threshold, so neither the loss nor the accuracies are judged.

    Attributes:
      healthy_until: the last step before the first sign of a collapse, confirmed or not.
      settled_until: a lower bound of ``healthy_until`` after any later detection.
    """

    def __init__(
        self,
        step: int,
        reals: np.ndarray,
        digits: bool,
        state: dict[str, Any] | None = None,
        thresholds: CollapseThresholds | None = None,
        fakes: str = "inference",
    ):
        """Begin after ``step`` steps.

        Args:
          step: steps so far.
          reals: real images [N, H, W, C] in [0, 1], for their mean distance.
          digits: whether the images are handwritten digits, whose classes are counted.
          state: the detector's `state_dict` before an interruption; collapses reported then are reported again.
          thresholds: the defaults if None.
          fakes: ``GANState.fakes``; "training" is suggested as a remedy unless it is set already.
        """
        state = state or {}
        training = [] if fakes == "training" else ["fakes in training mode (`fakes='training'`)"]
        self._remedies = ", ".join(["lower learning rates", *training, "or another `seed`"])
        self._thresholds = thresholds or CollapseThresholds()
        self._step = step
        self._real_distance = mean_distance(reals)
        self._digits = digits
        self._reported: set[str] = set()
        self._collapsed: bool = state.get("collapsed", False)
        self.healthy_until: int = state.get("healthy_until", step)
        self._last_good: int = state.get("good_picture", step)
        self._bad_grids: int = state.get("bad_pictures", 0)
        self._fooled: int = state.get("fooled", 0)
        # Accuracy and loss: means of complete blocks, and the count and sums of the steps since.
        blocks = max(self._thresholds.window // self._thresholds.block, 1)
        self._blocks: deque[list[float]] = deque(state.get("blocks", []), maxlen=blocks)
        self._sums: list[float] = list(state.get("sums", [0, 0.0, 0.0]))

    def state_dict(self) -> dict[str, Any]:
        """The detector's state as a JSON object."""
        return {
            "healthy_until": self.healthy_until,
            "good_picture": self._last_good,
            "bad_pictures": self._bad_grids,
            "fooled": self._fooled,
            "collapsed": self._collapsed,
            "blocks": list(self._blocks),
            "sums": list(self._sums),
        }

    @property
    def settled_until(self) -> int:
        return min(self.healthy_until, self._last_good, self._step - self._thresholds.window)

    def observe_losses(self, step: int, metrics: dict[str, float]) -> str | None:
        """Observe one step's metrics; returns a line that describes a collapse when it is first detected."""
        self._step = step
        if not self._collapsed and not self._bad_grids:
            self.healthy_until = step
        fooled, won = self._observe_fooled(step, metrics), self._observe_won(step, metrics)
        return fooled or won

    def _observe_fooled(self, step: int, metrics: dict[str, float]) -> str | None:
        """Detect that all images are classified as real, also by a discriminator that returns probabilities."""
        limits = self._thresholds
        real = metrics["d_accuracy"] == 0.5 and metrics["g_accuracy"] == 1 and metrics["d_loss"] >= 0
        self._fooled = self._fooled + 1 if real else 0
        if self._fooled < limits.fooled:
            return None
        self.healthy_until = min(self.healthy_until, step - limits.fooled)
        return self._report(
            "fooled",
            f"the discriminator has called every image real for {limits.fooled} steps. Remedies: if its module is your "
            "own, remove the sigmoid at its end (it must return logits); else lower learning rates, or "
            "another `seed`",
        )

    def _observe_won(self, step: int, metrics: dict[str, float]) -> str | None:
        limits = self._thresholds
        count, accuracy, loss = self._sums
        self._sums = [count + 1, accuracy + metrics["d_accuracy"], loss + metrics["d_loss"]]
        if self._sums[0] < limits.block:
            return None
        self._blocks.append([total / limits.block for total in self._sums[1:]])
        self._sums = [0, 0.0, 0.0]
        accuracy, loss = np.mean(self._blocks, axis=0)
        if len(self._blocks) < limits.window // limits.block or loss < 0:
            return None
        if accuracy < limits.accuracy and loss > limits.loss:
            return None
        self.healthy_until = min(self.healthy_until, step - limits.window)
        return self._report(
            "discriminator",
            f"the discriminator has won: over the last {limits.window} steps its accuracy was {accuracy:.3f} and its "
            f"loss {loss:.4f}, which teaches the generator nothing. Remedies: {self._remedies}",
        )

    def observe_images(self, step: int, images: np.ndarray) -> str | None:
        """Observe a grid's images [N, H, W, C] in [0, 1]; returns a line as `observe_losses`."""
        limits = self._thresholds
        # Real images that are all alike give no scale for the distance of others.
        share = mean_distance(images) / self._real_distance if self._real_distance else 1.0
        different = len(set(classify(images)[0].argmax(-1).tolist())) if self._digits else 10
        if share >= limits.distance and different > limits.digits:
            self._last_good, self._bad_grids = step, 0
            return None
        if step < limits.from_step:
            return None
        self._bad_grids += 1
        self.healthy_until = min(self.healthy_until, self._last_good)
        if self._bad_grids < limits.grids or step - self._last_good < limits.window:
            return None
        what = f"{different} different digits among {len(images)} images, " if self._digits else ""
        return self._report(
            "generator",
            f"the generator has collapsed to few images: {what}whose mean distance is {share:.2f} times that of real "
            "ones. Remedies: an earlier checkpoint, lower learning rates, a larger batch, or another "
            "`seed`",
        )

    def _report(self, what: str, line: str) -> str | None:
        self._collapsed = True
        if what in self._reported:
            return None
        self._reported.add(what)
        return line


def mean_distance(images: np.ndarray) -> float:
    """The mean Euclidean distance between two different images of [N, H, W, C], N at least 2."""
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    return float(distances.sum() / (len(flat) * (len(flat) - 1)))
