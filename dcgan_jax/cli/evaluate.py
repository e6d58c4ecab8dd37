"""``dcgan-jax evaluate``: score images beside real ones."""

import argparse
import json
from collections.abc import Sequence

from dcgan_jax.cli.common import Parser, add_run_flags, check_printable, load_source, run_inference_command
from dcgan_jax.console import print_result
from dcgan_jax.evaluation.image_files import is_image_source, read_images
from dcgan_jax.evaluation.scoring import DEFAULT_SAMPLES, evaluate, evaluate_images, format_table
from dcgan_jax.paths import local_path
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.setup import validate_evaluation


def evaluate_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Score a run's images, or those of files, and print a table or JSON; the exit code, 0 or 2."""
    parser = Parser(prog=prog, description="Score digits against MNIST's test images, beside the scores of real ones.")
    parser.add_argument(
        "source",
        metavar="RUN",
        help="a run directory; or images from any program: a directory of 28x28 PNGs, an .npy or an .npz",
    )
    add_run_flags(parser)
    parser.add_argument("--samples", type=int, metavar="N", help=f"number of images (default: {DEFAULT_SAMPLES})")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _evaluate(args), args.no_compilation_cache)


def _evaluate(args: argparse.Namespace) -> None:
    check_printable(args.source)
    source = local_path(args.source, "RUN")
    if is_image_source(source):
        for flag in ("checkpoint", "weights", "samples"):
            if getattr(args, flag) is not None:
                raise ConfigError(f"--{flag} is for runs: {source} holds images")
        images, metadata = read_images(source), {"images": str(source)}
        evaluation = evaluate_images(images)
        title = f"{source}: {evaluation.samples:,} images"
    else:
        loaded = load_source(source, args)
        run, metadata = loaded.run, loaded.metadata
        samples = DEFAULT_SAMPLES if args.samples is None else args.samples
        validate_evaluation(run.config, samples, "--samples")
        evaluation = evaluate(run.state, run.keys["evaluation"], samples)
        title = f"{loaded.title}: {samples:,} images"
    if args.json:
        print_result(json.dumps({**metadata, **evaluation.to_json()}, indent=2))
    else:
        print_result(f"{title}; floor: as many real ones\n\n{format_table(evaluation)}")
