"""Detection of a discriminator that memorises its training images, with remedies."""

from collections.abc import Mapping
from typing import Any

from dcgan_jax.augment import Adaptive, named_augmentation
from dcgan_jax.console import counted
from dcgan_jax.evaluation.overfitting import Calls
from dcgan_jax.presets import FEW_PICTURES, FEW_PICTURES_AUGMENT
from dcgan_jax.state import GANState

OVERFITTED = 0.5  # above it, held-out images are nearer to fakes than to training images
IN_A_ROW = 2  # evaluations: logits fluctuate as the networks alternate, so one may be an outlier


class OverfittingDetector:
    """Observes a discriminator's calls at each evaluation of a run, from its start or from where it resumes.

    Overfitting is not a collapse, and does not stop a run.
    """

    def __init__(self, images: int, remedy: str, state: Mapping[str, Any] | None = None):
        """Begin where the run starts or resumes.

        Args:
          images: the number of training images.
          remedy: `remedy_for` the run.
          state: the `state_dict` before an interruption; what was reported then is not reported again.
        """
        state = state or {}
        self._images, self._remedy = images, remedy
        self._in_a_row: int = state.get("overfitted", 0)
        self._reported: bool = state.get("overfitting_reported", False)

    def state_dict(self) -> dict[str, Any]:
        """The detector's state as a JSON object."""
        return {"overfitted": self._in_a_row, "overfitting_reported": self._reported}

    def observe(self, calls: Calls) -> str | None:
        """Observe the calls of an evaluation; returns a line that describes overfitting when it is first detected."""
        r = calls.overfitting
        self._in_a_row = self._in_a_row + 1 if r is not None and r > OVERFITTED else 0
        if self._reported or r is None or self._in_a_row < IN_A_ROW:
            return None
        self._reported = True
        return (
            f"the discriminator memorises its {counted(self._images, 'training image')}: at {IN_A_ROW} "
            "evaluations in a row real images that it was not trained on were nearer to fakes than to training images "
            f"for it (r {r:.2f}; 0 is as training images, 1 as fakes). {self._remedy}"
        )


def remedy_for(state: GANState, recipe: bool) -> str:
    """Remedies for a run against overfitting: the augmentation for few pictures, unless it is in use, and others."""
    strong = [named_augmentation(FEW_PICTURES_AUGMENT + more) for more in ("", ",flip")]
    if isinstance(state.augment, Adaptive) or state.augment in strong:
        return "What it sees is augmented already. Remedies: more pictures, or `init_from` a run of more"
    return f"Remedies: a new run with {_augmentation(recipe)}, more pictures, or `init_from` a run of more"


def _augmentation(recipe: bool) -> str:
    return "an augmentation in the recipe" if recipe else f"`augment={FEW_PICTURES_AUGMENT!r}`"


def note_few_images(state: GANState, images: int, called: bool, recipe: bool) -> str | None:
    """A note for a run on few images that neither prevents overfitting nor measures it; None for any other."""
    if images >= FEW_PICTURES or called or state.augment is not None:
        return None
    return (
        f"note: a discriminator can memorise {counted(images, 'image')}: {_augmentation(recipe)} helps "
        "against it, and `eval_every=N` `hold_out=N` (a tenth of them, or none where there is a test split) shows it"
    )
