"""``dcgan-jax sample``: draw images with a run's generator."""

import argparse
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcgan_jax.cli.common import (
    Parser,
    add_run_flags,
    check_new_file,
    check_printable,
    load_source,
    run_inference_command,
)
from dcgan_jax.console import print_line
from dcgan_jax.evaluation.scoring import MAX_SAMPLES
from dcgan_jax.files import replace_file
from dcgan_jax.images import save_grid
from dcgan_jax.paths import local_path
from dcgan_jax.pinning import seed_key
from dcgan_jax.sampling import sample_in_batches
from dcgan_jax.training.config import ConfigError


def sample_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Draw images into a ``.png`` or an ``.npy``; the exit code, 0 or 2."""
    parser = Parser(prog=prog, description="Draw images with the generator of a run.")
    parser.add_argument("source", metavar="RUN", help="a run directory")
    add_run_flags(parser)
    parser.add_argument("--samples", type=int, default=16, metavar="N", help="number of images (default: 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: 0)")
    parser.add_argument("--out", default="samples.png", metavar="FILE", help="a .png grid, or an .npy of uint8 images")
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _sample(args), args.no_compilation_cache)


def _sample(args: argparse.Namespace) -> None:
    check_printable(args.source, args.out)
    out = local_path(args.out, "--out")
    check_new_file(out, (".png", ".npy"))
    if not 1 <= args.samples <= MAX_SAMPLES:
        raise ConfigError(f"--samples must be between 1 and {MAX_SAMPLES}, got {args.samples}")
    if not 0 <= args.seed < 2**31:
        raise ConfigError(f"--seed must be between 0 and {2**31 - 1}, got {args.seed}")
    loaded = load_source(args.source, args)
    images = sample_in_batches(loaded.run.state, seed_key(args.seed), args.samples)
    if not np.isfinite(images).all():
        raise ConfigError(f"the generator of {args.source} draws numbers that are NaN or infinite: nothing was written")
    if out.suffix == ".png":
        save_grid(out, images, columns=math.ceil(math.sqrt(args.samples)))
    else:
        replace_file(out, lambda partial: _save_npy(partial, np.rint(images * 255).astype(np.uint8)))
    print_line(f"{args.samples:,} images of {loaded.title}, in {out}")


def _save_npy(path: Path, images: np.ndarray) -> None:
    content = io.BytesIO()  # into a file NumPy writes in C, and does not notice that the last write fails
    np.save(content, images)
    path.write_bytes(content.getvalue())
