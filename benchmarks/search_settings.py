"""The settings of the search: one frozen dataclass, and the table of what is tried.

Every setting trains the tutorial's two networks: the same layers, widths and parameter counts. The defaults of
`Setting` are the preset ``article`` at batch 64, so a setting shows only where it differs from it.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to train, and what it is predicted to give.

    Attributes:
      predicted: one sentence, written before the run.
      dropout_g, dropout_d: rates of the dropout of generator and discriminator, in [0, 1); 0.4 is the tutorial's.
      optimizer: ``rmsprop`` (Keras's, as `dcgan_jax.rmsprop`), ``adam``, ``relative`` (Adam's direction of each
        kernel at the length of the kernel, as in LAMB, arXiv:1904.00962) or ``muon`` (`dcgan_jax.muon`: the orthogonal
        matrix that is nearest to the momentum of each kernel's gradient). Rates of the last two are relative to the
        weights, and what is no kernel moves by Adam at ``rate_vectors``.
      rate_g, rate_d: learning rates.
      rho: decay of RMSprop's mean of squared gradients, and Adam's beta2.
      rate_vectors: see there.
      beta1: Adam's, and Muon's momentum; RMSprop has none.
      eps: what the division by the root of the mean of squares is kept finite with.
      clip: largest absolute value of a gradient's element, or None.
      fall_from: the step from which both rates fall in a straight line, to 0 at ``horizon``; None: they stay.
      decay_steps: both rates are divided by sqrt(1 + step / this), or None: they stay.
      horizon: the length of the run that schedules are made for, in steps.
      loss: ``cross-entropy``, ``hinge`` or ``relativistic``.
      label: target of real images in D's cross-entropy; below 1 it is one-sided label smoothing.
      r1: gamma of the penalty gamma / 2 |dD/dx|^2 on real images (Mescheder and others, arXiv:1801.04406); 0: none.
      r2: gamma of the same penalty on fakes.
      penalty_every: steps between penalties, each of so many times the weight (lazy regularisation,
        arXiv:1912.04958).
      translate: largest shift of what D sees, in pixels along each axis (DiffAugment, arXiv:2006.10738); 0: none.
      noise: standard deviation of Gaussian noise on what D sees at step 0; it falls in a straight line to 0 at
        ``noise_until``.
      noise_until: see there, in steps.
      momentum: of the generator's moving statistics.
      fakes: mode in which the generator draws for D's update, ``inference`` or ``training``.
      ramp: half-life of the average of G's weights as a share of the images seen so far, at most ``half_life``
        (StyleGAN3's schedule, arXiv:2106.12423, with its 0.05).
      half_life: the bound, in images; StyleGAN3's for batch 64: 64 * 10 / 32 thousand.
      batches: pairs (step, batch size): the batch has that size from that step on.
      branch: (name, step): what the run is up to that step, where it differs only later; None: a run of its own.
    """

    predicted: str
    dropout_g: float = 0.4
    dropout_d: float = 0.4
    optimizer: str = "rmsprop"
    rate_g: float = 4e-4
    rate_d: float = 8e-4
    rho: float = 0.9
    rate_vectors: float = 1e-3
    beta1: float = 0.0
    eps: float = 1e-7
    clip: float | None = 1.0
    fall_from: int | None = None
    decay_steps: float | None = None
    horizon: int = 1000
    loss: str = "cross-entropy"
    label: float = 1.0
    r1: float = 0.0
    r2: float = 0.0
    penalty_every: int = 4
    translate: int = 0
    noise: float = 0.0
    noise_until: int = 500
    momentum: float = 0.9
    fakes: str = "inference"
    ramp: float = 0.05
    half_life: float = 20_000
    batches: tuple[tuple[int, int], ...] = ((0, 64),)
    branch: tuple[str, int] | None = None

    def differences(self) -> dict[str, Any]:
        """The fields that are not those of ``article``."""
        fields = [field for field in dataclasses.fields(self) if field.name != "predicted"]
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}

    def batch_size(self, step: int) -> int:
        """Images in the step after ``step`` steps."""
        return [size for start, size in self.batches if step >= start][-1]


def _muon(predicted: str, **fields: Any) -> Setting:
    """Muon without dropout, but for the ``fields``."""
    base = {"dropout_g": 0, "dropout_d": 0, "rate_g": 0.01, "rate_d": 0.02, "rho": 0.99, "beta1": 0.5, "clip": None}
    return Setting(predicted, optimizer="muon", **{**base, **fields})


SETTINGS: dict[str, Setting] = {
    "article": Setting("The reference: FID about 105 at 1,000 steps with the last weights, all digits."),
    "no-dropout": Setting(
        "D learns faster and teaches more: ahead of article up to step 500, then uneven digits.",
        dropout_g=0,
        dropout_d=0,
    ),
    "fall": Setting(
        "As no-dropout to step 250; rates that fall from there end the circling of the two: far below 70 at 1,000.",
        dropout_g=0,
        dropout_d=0,
        fall_from=250,
        branch=("no-dropout", 250),
    ),
    "penalty": Setting(
        "Without dropout D's loss is ln 2 from step 150 on: one step of G undoes what D learned. R1 and R2 damp that "
        "circling; Adam's longer memory of squares is for the lazy interval. D's accuracy and G's pace rise.",
        dropout_g=0,
        dropout_d=0,
        optimizer="adam",
        rho=0.99,
        clip=None,
        r1=0.3,
        r2=0.3,
    ),
    "training-fakes": Setting(
        "Without dropout the two modes differ by statistics alone: D judges what G optimises, so G learns faster.",
        dropout_g=0,
        dropout_d=0,
        fakes="training",
    ),
    "adam": Setting(
        "Momentum 0.5 averages the noise of both, but makes circling worse: no better than RMSprop.",
        dropout_g=0,
        dropout_d=0,
        optimizer="adam",
        beta1=0.5,
        rho=0.99,
        clip=None,
    ),
    "adam-momentum-0": Setting(
        "Without momentum Adam is RMSprop with a longer memory and a steady start: as rms-decay, and better than adam.",
        dropout_g=0,
        dropout_d=0,
        optimizer="adam",
        rho=0.99,
        clip=None,
    ),
    "slow-g": Setting(
        "G outruns D by step 150: half its rate leaves D the time to learn what is wrong, and lowers FID by 250.",
        dropout_g=0,
        dropout_d=0,
        rate_g=2e-4,
    ),
    "slower-g": Setting(
        "An eighth of D's rate for G, if slow-g raises D's accuracy: lower FID still, or too slow a start.",
        dropout_g=0,
        dropout_d=0,
        rate_g=1e-4,
    ),
    "dropout-d-0.1": Setting(
        "A little dropout of D alone: the balance of article at nearly the pace of no-dropout.",
        dropout_g=0,
        dropout_d=0.1,
    ),
    "translate": Setting(
        "Shifts of up to 2 pixels: D cannot go by places, which evens out digits; too few epochs for more.",
        dropout_g=0,
        dropout_d=0,
        translate=2,
    ),
    "noise": Setting(
        "Noise of 0.2 that fades by step 500 lets the two overlap early: D's lead at step 50 teaches more.",
        dropout_g=0,
        dropout_d=0,
        noise=0.2,
    ),
    "smoothing": Setting(
        "One-sided label smoothing keeps D's logits small, which they are: no change.",
        dropout_g=0,
        dropout_d=0,
        label=0.9,
    ),
    "momentum-0.5": Setting(
        "D judges fakes of newer statistics: half of what training-fakes gains.", dropout_g=0, dropout_d=0, momentum=0.5
    ),
    "rms-decay": Setting(
        "A tenfold memory of squared gradients steadies the length of the steps, not their direction: 5 % lower.",
        dropout_g=0,
        dropout_d=0,
        rho=0.99,
    ),
    "rms-epsilon": Setting(
        "1e-3 is near the size of the gradients: weights with small ones hardly move. Slower, digits no evener.",
        dropout_g=0,
        dropout_d=0,
        eps=1e-3,
    ),
    "growing-batch": Setting(
        "Half the batch for 500 steps costs little early; twice the batch from 750 on averages as falling rates do.",
        dropout_g=0,
        dropout_d=0,
        batches=((0, 32), (500, 64), (750, 128)),
    ),
    "hinge": Setting(
        "D stops where it is sure: balance without dropout, at equal pace.", dropout_g=0, dropout_d=0, loss="hinge"
    ),
    "relativistic": Setting(
        "As penalty, with pairs of real and fake as in R3GAN (arXiv:2501.05441): no lost digits, recall up.",
        dropout_g=0,
        dropout_d=0,
        optimizer="adam",
        rho=0.99,
        clip=None,
        loss="relativistic",
        r1=0.3,
        r2=0.3,
    ),
    "relative": Setting(
        "At 8e-4 a step of RMSprop replaces a twelfth of each weight of D's last convolution: D forgets. 1 % of each "
        "kernel a step, whatever its size, lets it remember: accuracy of D up, and FID with it.",
        dropout_g=0,
        dropout_d=0,
        optimizer="relative",
        rate_g=0.01,
        rate_d=0.01,
        rho=0.99,
        clip=None,
    ),
    "muon": _muon(
        "As relative, in the norm that counts: no direction of a layer moves by more than 2 % of it (G: 1 %), all of "
        "them move. The fastest of the table by steps.",
    ),
    "muon-slow-g": _muon(
        "Muon moves all directions of G at once, and D is behind at step 100: half the rate of G balances them.",
        rate_g=0.005,
    ),
    "muon-half": _muon(
        "Half of both rates: less circling, more precise; as good at 250, better at 1,000.",
        rate_g=0.005,
        rate_d=0.01,
    ),
    "muon-momentum": _muon(
        "Muon makes noise as large as signal; momentum of 0.9 leaves more signal. In a game it may circle: worse.",
        beta1=0.9,
    ),
    "muon-double": _muon(
        "Twice both rates: G is faster to strokes, and coarse from then on.",
        rate_g=0.02,
        rate_d=0.04,
    ),
    "muon-training": _muon(
        "As training-fakes: D judges what G optimises. G with Muon changes faster than its moving statistics.",
        fakes="training",
    ),
    "muon-r1": _muon(
        "With Muon D is sharp enough for a penalty to matter: R1 of 0.3 damps circling, FID down by a tenth.",
        r1=0.3,
    ),
    "muon-dropout-d": _muon(
        "Dropout of 0.2 in D evens out the digits, at a tenth of the pace.",
        dropout_d=0.2,
    ),
    "muon-dropout-d-0.4": _muon(
        "Muon alone draws sharp strokes and few ones and sixes (KL 0.1). The dropout of D evened digits in article: KL "
        "below 0.04, FID below 70 at 1,000, though slower early.",
        dropout_d=0.4,
    ),
    "muon-r1-fall": _muon(
        "As muon-r1 to step 500; rates that fall from there to 0 at 1,000 end the circling: FID down by a third at "
        "1,000.",
        fall_from=500,
        r1=0.3,
        branch=("muon-r1", 500),
    ),
    "muon-r1-1": _muon(
        "R1 made digits even; three times as much of it makes them evener, and strokes slower: equal at 500.",
        r1=1.0,
    ),
    "muon-r1-r2": _muon(
        "The same penalty on fakes (R3GAN) damps G's side too: a little lower at 500, at the price of half a step.",
        r1=0.3,
        r2=0.3,
    ),
    "muon-r1-double": _muon(
        "With R1 the game is stable enough for twice the rates: faster to 500.",
        rate_g=0.02,
        rate_d=0.04,
        r1=0.3,
    ),
    "muon-r1-decay": _muon(
        "Rates of muon-r1-double that fall from the start, to those of muon-r1 at step 900: its pace early, less noise "
        "late. FID 19 at 1,000.",
        rate_g=0.02,
        rate_d=0.04,
        r1=0.3,
        decay_steps=300,
    ),
    "muon-r1-training": _muon(
        "D judges what G optimises: FID of the last weights down, of the average as before.",
        r1=0.3,
        fakes="training",
    ),
    "muon-r1-relativistic": _muon(
        "Pairs of real and fake, as R3GAN: no lost digits at all, KL below 0.02.",
        loss="relativistic",
        r1=0.3,
        r2=0.3,
    ),
}
