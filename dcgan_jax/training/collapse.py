"""Looks on while a GAN trains, and tells once of each way in which it fails without a number going wrong."""

from collections import deque
from typing import Any

import numpy as np

from dcgan_jax.evaluation.classifier import classify

# For the discriminator to have won, its mean over so many steps. Healthy runs have it win for some tens of steps.
_STEPS = 300
_BLOCK = 30  # steps whose mean is kept in one, so that a checkpoint holds a few numbers
_ACCURACY = 0.998
_LOSS = 0.02  # nats; ln 2 = 0.693 cannot tell real from fake
# For the generator to draw one thing only, on as many pictures one after the other, after the first strokes.
_PICTURES = 2
_FROM_STEP = 1_000
_SPREAD = 0.25  # of the mean distance between two real images
_DIGITS = 2  # of ten; sixteen random digits are eight different ones on average, at most two in 3 of 10^10 cases


class Watchdog:
    """Sees each step's losses and each picture of a run, from its start or from where it goes on.

    Attributes:
      healthy_until: the last step before the first sign of what is being watched or has been told of.
      beyond_doubt: the last step that no sign to come can reach back to.
    """

    def __init__(self, step: int, reals: np.ndarray, digits: bool, memory: dict[str, Any] | None = None):
        """Begin at ``step``; ``reals`` [N, H, W, C] in [0, 1] show how far real images are apart.

        With ``digits`` the images are handwritten digits, and it is counted how many different ones there are. With
        the `memory` of another, all goes on as if it had never been interrupted, and what was told is told again.
        """
        memory = memory or {}
        self._step = step
        self._real_spread = spread(reals)
        self._digits = digits
        self._told: set[str] = set()
        self._collapsed: bool = memory.get("collapsed", False)
        self.healthy_until: int = memory.get("healthy_until", step)
        self._good_picture: int = memory.get("good_picture", step)
        self._bad_pictures: int = memory.get("bad_pictures", 0)
        # Accuracy and loss: means of whole blocks, and the sums of the steps since.
        self._blocks: deque[list[float]] = deque(memory.get("blocks", []), maxlen=max(_STEPS // _BLOCK, 1))
        self._sums: list[float] = list(memory.get("sums", [0, 0.0, 0.0]))

    @property
    def memory(self) -> dict[str, Any]:
        """All that was seen, as JSON can hold it."""
        return {
            "healthy_until": self.healthy_until,
            "good_picture": self._good_picture,
            "bad_pictures": self._bad_pictures,
            "collapsed": self._collapsed,
            "blocks": list(self._blocks),
            "sums": list(self._sums),
        }

    @property
    def beyond_doubt(self) -> int:
        return min(self.healthy_until, self._good_picture, self._step - _STEPS)

    def see_losses(self, step: int, losses: dict[str, float]) -> str | None:
        """Take one step's metrics; a line to tell, if there is reason to and for the first time."""
        self._step = step
        if not self._collapsed and not self._bad_pictures:
            self.healthy_until = step
        count, accuracy, loss = self._sums
        self._sums = [count + 1, accuracy + losses["d_accuracy"], loss + losses["d_loss"]]
        if self._sums[0] < _BLOCK:
            return None
        self._blocks.append([total / _BLOCK for total in self._sums[1:]])
        self._sums = [0, 0.0, 0.0]
        accuracy, loss = np.mean(self._blocks, axis=0)
        if len(self._blocks) < _STEPS // _BLOCK or (accuracy < _ACCURACY and loss > _LOSS):
            return None
        self.healthy_until = min(self.healthy_until, step - _STEPS)
        return self._tell(
            "discriminator",
            f"the discriminator has won: over the last {_STEPS} steps its accuracy was {accuracy:.3f} and its loss "
            f"{loss:.4f}, which teaches the generator nothing. What people do: lower its learning rate (another "
            "--preset), draw its fakes as the generator trains on them (--fakes training), or try another --seed",
        )

    def see_images(self, step: int, images: np.ndarray) -> str | None:
        """Take a picture's images [N, H, W, C] in [0, 1]; a line to tell, as `see_losses`."""
        share = spread(images) / self._real_spread
        different = len(set(classify(images)[0].argmax(-1).tolist())) if self._digits else 10
        if share >= _SPREAD and different > _DIGITS:
            self._good_picture, self._bad_pictures = step, 0
            return None
        if step < _FROM_STEP:
            return None
        self._bad_pictures += 1
        self.healthy_until = min(self.healthy_until, self._good_picture)
        if self._bad_pictures < _PICTURES or step - self._good_picture < _STEPS:
            return None
        what = f"{different} different digits among {len(images)} images, " if self._digits else ""
        return self._tell(
            "generator",
            f"the generator draws little else than one image: {what}which are {share:.2f} times as far apart as real "
            "ones. What people do: go back to an earlier checkpoint, lower the learning rates (another --preset), use "
            "a larger batch, or try another --seed",
        )

    def _tell(self, what: str, line: str) -> str | None:
        self._collapsed = True
        if what in self._told:
            return None
        self._told.add(what)
        return line


def spread(images: np.ndarray) -> float:
    """The mean Euclidean distance between two different images of [N, H, W, C], N at least 2."""
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    return float(distances.sum() / (len(flat) * (len(flat) - 1)))
