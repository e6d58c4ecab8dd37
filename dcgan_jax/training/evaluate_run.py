"""The scores of a run that is on disk."""

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
    """Score a run's images of fresh noise, always the same.

    Args:
      run: from `load_run`; of other data than MNIST, its images are loaded from where its config says.
      samples: the number of images; 10,000 if None, or as many as there are real ones for the floor.
      network: in whose features images are compared, a classifier of the run's images or one for pictures of any kind.
        Without it, MNIST's digits are scored by the package's classifiers, and other images by their pixels: what other
        scores would need is printed.

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
