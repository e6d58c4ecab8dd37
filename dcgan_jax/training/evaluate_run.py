"""Scoring of a run on disk."""

from typing import Any

from dcgan_jax.console import print_line
from dcgan_jax.evaluation.classifier_file import Classifier
from dcgan_jax.evaluation.efficientnet_lite import EfficientNetLite
from dcgan_jax.evaluation.image_scorer import explain_pixels
from dcgan_jax.evaluation.results import Evaluation
from dcgan_jax.training.run import Run
from dcgan_jax.training.scorer import scorer_of_run
from dcgan_jax.training.setup import check_unchanged, load_images


def evaluate_run(
    run: Run, samples: int | None = None, network: Classifier | EfficientNetLite | None = None
) -> Evaluation[Any]:
    """Score images that a run's generator draws from new noise, which is the same in each call.

    Args:
      run: from `load_run`; its real images are loaded as its config says.
      samples: the number of images; as in `scorer_of_run`.
      network: the network in whose features images are compared; as in `scorer_of_run`. If images are scored by pixels,
        a note says what other scores need.

    Raises:
      ConfigError: if the classifier or the images are not those of the run, or ``samples`` is out of range.
      DatasetError: if the images cannot be loaded.
      EvaluationError: if the images cannot be scored.
    """
    config, key = run.config, run.keys["evaluation"]
    data = load_images(config, run.record)
    check_unchanged(config, run.record, data, run.run_dir, "`dataset` and `data_dir` say where those are")
    scorer = scorer_of_run(config, data, network, samples, "samples")
    if scorer.comparability.by_pixels:
        print_line(explain_pixels(config.dataset, data.images.shape[1:]), error=True)
    return scorer.score(run.state, key)
