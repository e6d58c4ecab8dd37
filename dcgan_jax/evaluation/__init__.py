"""Quality scores of images, compared with those of real images."""

from dcgan_jax.evaluation.images import EvaluationError
from dcgan_jax.evaluation.mode_scoring import evaluate_modes
from dcgan_jax.evaluation.perceptual_scoring import compare_perceptually
from dcgan_jax.evaluation.pixel_scoring import compare_images
from dcgan_jax.evaluation.results import Evaluation, Scores
from dcgan_jax.evaluation.scoring import evaluate, evaluate_images

__all__ = [
    "Evaluation",
    "EvaluationError",
    "Scores",
    "compare_images",
    "compare_perceptually",
    "evaluate",
    "evaluate_images",
    "evaluate_modes",
]
