"""``dcgan-jax train-classifier``: train a classifier whose features score runs on data other than MNIST."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_cache_flag, add_huge_pages_flag, add_reading_flags, given_reading
from dcgan_jax.cli.outputs import check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.console import print_line
from dcgan_jax.data import absolute_source, load_data, parse_size, say_classes
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.evaluation.classifier import IMAGE_SHAPE, classify
from dcgan_jax.evaluation.classifier_file import Classifier, write_classifier
from dcgan_jax.evaluation.image_scorer import check_classifiable
from dcgan_jax.evaluation.real_images import RealImages, split_for_testing
from dcgan_jax.evaluation.train_classifier import EPOCHS, augment_digits, augment_pictures, train
from dcgan_jax.training.config import ConfigError, TrainConfig


def train_classifier_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Train a classifier and write it; the exit code, 0, 2 or 130."""
    parser = Parser(prog=prog, description="Train a classifier of labelled images of 28x28x1, for evaluate.")
    parser.add_argument("--dataset", required=True, help="the images, as of train; they must have classes")
    parser.add_argument("--image-size", help="28, for images of another size: as the run has it")
    parser.add_argument("--channels", type=int, metavar="N", help="1, for images in colours: as the run has it")
    add_reading_flags(parser)
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, metavar="N", help=f"passes over the images (default: {EPOCHS})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the training (default: 0)")
    parser.add_argument("--out", metavar="FILE", help="the .npz to write (default: classifier-NAME.npz, a new file)")
    add_cache_flag(parser)
    add_huge_pages_flag(parser)
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _train_classifier(args), args.no_compilation_cache)


@jax_defaults()
def _train_classifier(args: argparse.Namespace) -> None:
    check_printable(args.dataset)
    out = new_file(args.out, f"classifier-{Path(args.dataset).stem}", (".npz",))
    if not 1 <= args.epochs <= 1_000:
        raise ConfigError(f"--epochs must be between 1 and 1000, got {args.epochs}")
    if not 0 <= args.seed < 2**31:
        raise ConfigError(f"--seed must be between 0 and {2**31 - 1}, got {args.seed}")
    source, real = absolute_source(args.dataset), _load(args)
    images, classes = real.train.images, real.train.classes
    labels, test = np.asarray(real.train.labels), (real.test.images, np.asarray(real.test.labels))
    augment = augment_digits if source == "mnist" else augment_pictures
    print_line(
        f"training on {len(images):,} images of {source} in {len(classes)} classes; tested on {real.tested_on}, by "
        "which nothing is chosen"
    )
    how = (
        "turned, sheared, scaled and shifted" if source == "mnist" else "scaled and shifted, but not turned or mirrored"
    )
    print_line(f"each image is {how}, a little and at random")
    variables = train(images, labels, test, args.seed, classes=len(classes), epochs=args.epochs, augment=augment)
    accuracy = float((classify(test[0], variables)[0].argmax(-1) == test[1]).mean())
    classifier = Classifier(variables, classes, source, real.digest, accuracy, real.tested_on, args.epochs, args.seed)
    write_classifier(out, classifier)
    print_line(f"accuracy {100 * accuracy:.2f} % on {real.tested_on}; wrote {out}, features {classifier.digest()[:12]}")


def _load(args: argparse.Namespace) -> RealImages:
    """Load the images, split for training and testing, and check that they suit a classifier.

    Raises:
      ConfigError: if they have another shape, are too few, or have no classes.
    """
    try:
        size = None if args.image_size is None else parse_size(args.image_size)
    except ValueError as error:
        raise ConfigError(f"--image-size {error}") from error
    reading = TrainConfig(**given_reading(args)).reading()
    dataset = load_data(args.dataset, image_size=size, channels=args.channels, **reading.arguments())
    shape = dataset.images.shape[1:]
    if shape != IMAGE_SHAPE:
        raise ConfigError(
            f"classifiers are of images of 28x28x1, those of {args.dataset} are {'x'.join(map(str, shape))}: for a run "
            "with --image-size 28 --channels 1, give both flags here too"
        )
    if dataset.labels is None or len(dataset.classes) < 2:
        raise ConfigError(
            f"a classifier needs images of at least two classes, those of {args.dataset} "
            f"{say_classes(dataset.classes, args.dataset)}: put the pictures of each class in a folder of its own"
        )
    real = split_for_testing(args.dataset, dataset, reading)
    check_classifiable(real, args.dataset)
    for note in dataset.notes:
        print_line(f"{args.dataset}: {note}")
    return real
