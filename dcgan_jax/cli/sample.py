"""``dcgan-jax sample``: draw images with a run's generator."""

import argparse
import io
import math
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
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
    by_class = parser.add_mutually_exclusive_group()
    by_class.add_argument(
        "--classes",
        metavar="NAMES",
        help="a row of --samples images for each of these classes of a conditional run, by name or number, with commas",
    )
    by_class.add_argument("--grid", action="store_true", help="such a row for every class")
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
    rows = None
    if args.grid or args.classes is not None:
        rows = _chosen_classes(args.classes, loaded.run.config.classes, args.source)
    labels = None if rows is None else jnp.repeat(jnp.asarray(rows, jnp.int32), args.samples)
    n = args.samples if labels is None else len(labels)
    if n > MAX_SAMPLES:
        raise ConfigError(f"--samples of {len(rows or ())} classes must be {MAX_SAMPLES} images at most, got {n}")
    images = sample_in_batches(loaded.run.state, seed_key(args.seed), n, labels)
    if not np.isfinite(images).all():
        raise ConfigError(f"the generator of {args.source} draws numbers that are NaN or infinite: nothing was written")
    if out.suffix == ".png":
        save_grid(out, images, columns=math.ceil(math.sqrt(n)) if rows is None else args.samples)
    else:
        replace_file(out, lambda partial: _save_npy(partial, np.rint(images * 255).astype(np.uint8)))
    print_line(f"{n:,} images of {loaded.title}, in {out}")


def _chosen_classes(text: str | None, classes: tuple[str, ...] | None, source: str) -> list[int]:
    """The numbers of the classes that are named, or of all.

    Raises:
      ConfigError: if there is no such class, or the run has none.
    """
    if classes is None:
        raise ConfigError(f"the run in {source} draws no classes: it was trained without --conditional")
    if text is None:
        return list(range(len(classes)))
    chosen = []
    for name in (part.strip() for part in text.split(",")):
        if name in classes:
            chosen.append(classes.index(name))
        elif name.isascii() and name.isdigit() and int(name) < len(classes):
            chosen.append(int(name))
        else:
            raise ConfigError(f"--classes: there is no class {name!r}: choose from {', '.join(classes)}")
    return chosen


def _save_npy(path: Path, images: np.ndarray) -> None:
    content = io.BytesIO()  # into a file NumPy writes in C, and does not notice that the last write fails
    np.save(content, images)
    path.write_bytes(content.getvalue())
