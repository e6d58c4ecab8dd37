"""Which scores a run's images can have: in the features of the package's classifier, of another one, or by pixels."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dcgan_jax.console import print_line
from dcgan_jax.data import Dataset
from dcgan_jax.evaluation.class_scoring import evaluate_classes
from dcgan_jax.evaluation.classifier import IMAGE_SHAPE
from dcgan_jax.evaluation.classifier_file import Classifier
from dcgan_jax.evaluation.pixel_scoring import compare_images, floor_size
from dcgan_jax.evaluation.prepare import DEFAULT_SAMPLES, MAX_SAMPLES, MIN_SAMPLES, draw_bytes
from dcgan_jax.evaluation.real_images import load_test_split, split_for_testing
from dcgan_jax.evaluation.results import Evaluation
from dcgan_jax.evaluation.scoring import evaluate
from dcgan_jax.sampling import sample_labels
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.run import Run
from dcgan_jax.training.setup import check_unchanged, is_of_digits, load_images, validate_evaluation

Scorer = Callable[[np.ndarray, np.ndarray | None], Evaluation[Any]]


def evaluate_run(run: Run, samples: int | None = None, classifier: Classifier | None = None) -> Evaluation[Any]:
    """Score a run's images of fresh noise, always the same.

    Args:
      run: from `load_run`; of other data than MNIST, its images are loaded from where its config says.
      samples: the number of images; 10,000 if None, or as many as there are real ones for the floor.
      classifier: of the run's images. Without it, MNIST's digits are scored by the package's classifiers, and other
        images by their pixels.

    Raises:
      ConfigError: if the classifier or the images are not those of the run, or ``samples`` is out of range.
      DatasetError: if the images cannot be loaded.
      EvaluationError: if the images cannot be scored.
    """
    config, key = run.config, run.keys["evaluation"]
    data = load_images(config)
    check_unchanged(config, data.digest(), config.workdir, "--dataset and --data-dir say where those are")
    if classifier is None and is_of_digits(config):
        samples = DEFAULT_SAMPLES if samples is None else samples
        validate_evaluation(config, samples, "--samples")
        return evaluate(run.state, key, samples)
    if classifier is not None and config.classes not in (None, classifier.classes):
        raise ConfigError(
            f"the run draws the classes {', '.join(config.classes or ())}; the classifier of {classifier.data} knows "
            f"{', '.join(classifier.classes)}: train one on the run's images (dcgan-jax train-classifier)"
        )
    score, most = scorer(data, config.dataset, config.data_dir, classifier)
    few, most = 2 if classifier is None else MIN_SAMPLES, min(most, MAX_SAMPLES)
    samples = min(DEFAULT_SAMPLES, most) if samples is None else samples
    if not few <= samples <= most:
        raise ConfigError(f"--samples must be {few} to {most}, of which there are real images too, got {samples}")
    labels = sample_labels(run.state, key, samples)
    return score(draw_bytes(run.state, key, samples, labels), None if labels is None else np.asarray(labels))


def scorer(data: Dataset, source: str, data_dir: str | None, classifier: Classifier | None) -> tuple[Scorer, int]:
    """What scores images, and the classes that were asked for or None, against a data set's; and how many at most.

    Args:
      data: the images of ``source`` for training, with labels if images of classes are to be scored.
      source: as of `load_data`.
      data_dir: as of `load_data`.
      classifier: of these images. Without one, pixels are scored, and what a FID would need is printed.

    Raises:
      ConfigError: if the classifier is of other images.
      DatasetError: as `load_test_split`.
    """
    shape = "x".join(map(str, data.images.shape[1:]))
    if classifier is None:
        need = f"a classifier: dcgan-jax train-classifier --dataset {source}, then --classifier FILE"
        if data.images.shape[1:] != IMAGE_SHAPE:
            need = f"features of images of {shape}: train-classifier makes those of labelled images of 28x28x1 alone"
        print_line(f"no FID, precision or recall: they need {need}", error=True)
        test = load_test_split(source, data._replace(labels=None, classes=()), data_dir)
        held_out = None if test is None else test.images
        return lambda images, _: compare_images(images, data.images, held_out), floor_size(data.images, held_out)
    if data.images.shape[1:] != IMAGE_SHAPE:
        raise ConfigError(f"--classifier is for images of 28x28x1, those of {source} are {shape}: leave it out")
    real = split_for_testing(source, data, data_dir)
    if real.digest != classifier.data_digest:
        raise ConfigError(
            f"the classifier knows the images of {classifier.data} (SHA-256 {classifier.data_digest[:12]}...), not "
            f"those of {source} ({real.digest[:12]}...): train one on them (dcgan-jax train-classifier)"
        )
    return lambda images, labels: evaluate_classes(images, real, classifier, labels), len(real.train.images)
