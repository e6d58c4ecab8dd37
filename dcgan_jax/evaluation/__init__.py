"""How good images are: scores beside those of real images."""

from dcgan_jax.evaluation.scoring import Evaluation, EvaluationError, Scores, evaluate, evaluate_images

__all__ = ["Evaluation", "EvaluationError", "Scores", "evaluate", "evaluate_images"]
