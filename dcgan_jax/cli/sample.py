"""``dcgan-jax sample``: draw images with a run's generator."""

import argparse
import collections
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from dcgan_jax.cli.drawing import (
    check_finite_images,
    check_grid,
    check_seeds,
    class_label,
    parse_classes,
    parse_seeds,
    save_npy,
)
from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_run, add_run_flags
from dcgan_jax.cli.outputs import check_folder, check_new_file, check_no_partial, check_printable, new_path
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import check_names_data, load_source
from dcgan_jax.console import counted, print_line
from dcgan_jax.data.mapped import Lazy
from dcgan_jax.evaluation.nearest import nearest_images
from dcgan_jax.evaluation.scoring import MAX_SAMPLES
from dcgan_jax.files import replace_file
from dcgan_jax.images import as_bytes, image_grid, labelled_grid, save_each, save_png
from dcgan_jax.sampling import generate_singly, image_shape, sample_seeds
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.run import Run
from dcgan_jax.training.setup import check_unchanged, load_images


def sample_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Draw images into a ``.png``, an ``.npy`` or a directory; the exit code, 0 or 2."""
    parser = Parser(prog=prog, description="Draw images with the generator of a run. Each has a seed of its own.")
    add_run(parser)
    add_run_flags(parser)
    parser.add_argument("--samples", type=int, metavar="N", help="number of images (default: 16)")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of the first image, the next has the next (default: 0)"
    )
    parser.add_argument("--seeds", metavar="SEEDS", help="these seeds instead, such as 17,42,100-115")
    by_class = parser.add_mutually_exclusive_group()
    by_class.add_argument(
        "--classes",
        metavar="NAMES",
        help="a row of these images for each of these classes of a conditional run, or of mnist, by name or number, "
        "with commas",
    )
    by_class.add_argument("--grid", action="store_true", help="such a row for every class")
    parser.add_argument(
        "--nearest",
        action="store_true",
        help="below each image of a .png the run's training image that is nearest to it by pixels, and their distance",
    )
    parser.add_argument("--no-labels", action="store_true", help="no seeds and classes beside the images of a .png")
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="a .png grid, an .npy of uint8 images, or a directory for a PNG of each, whose name has no suffix "
        "(default: samples.png, or samples-2.png and so on)",
    )
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _sample(args), args.no_compilation_cache)


def _sample(args: argparse.Namespace) -> None:
    check_printable(args.source)
    out = new_path(args.out, "samples", ".png")
    _check_out(out)
    for flag, given in (("--nearest", args.nearest), ("--no-labels", args.no_labels)):
        if given and out.suffix != ".png":
            raise ConfigError(f"{flag} is for a .png, got --out {out}")
    seeds = _seeds(args)
    by_class = args.grid or args.classes is not None
    loaded = load_source(args.source, args, by_class=by_class)
    classes = loaded.run.record.classes
    rows = None
    if by_class:
        rows = parse_classes(args.classes, classes, args.source)
        if len(set(rows)) < len(rows):
            raise ConfigError(f"--classes has a class twice, got {args.classes}")
    n = len(seeds) * len(rows or (None,))
    if n > MAX_SAMPLES:
        raise ConfigError(f"the samples of {len(rows or ())} classes must be {MAX_SAMPLES} images at most, got {n}")
    columns = math.ceil(math.sqrt(n)) if rows is None else len(seeds)
    if args.nearest:
        check_names_data(loaded, "--nearest needs the run that it was exported from, or leave it out")
    if out.suffix == ".png":
        check_grid(image_shape(loaded.run.state), n * (2 if args.nearest else 1), columns)
    train = _training_images(loaded.run) if args.nearest else None
    noise, labels = sample_seeds(loaded.run.state, np.asarray(seeds))
    if rows is not None:
        noise, labels = jnp.tile(noise, (len(rows), 1)), jnp.repeat(jnp.asarray(rows, jnp.int32), len(seeds))
    images = generate_singly(loaded.run.state, noise, labels)
    check_finite_images(images, args.source)
    if out.suffix == ".npy":
        replace_file(out, lambda partial: save_npy(partial, as_bytes(images)))
    elif out.suffix != ".png":
        save_each(out, _names(seeds, rows), images)
    else:
        above = [*map(str, seeds)] + [""] * (n - len(seeds))
        beside = [class_label(row, classes or ()) for row in rows or ()]
        if train is not None:
            images, above, beside = _with_nearest(images, train, columns, above, beside)
        save_png(out, image_grid(images, columns) if args.no_labels else labelled_grid(images, columns, above, beside))
    print_line(f"{counted(n, 'image')} of {loaded.title}, in {out}")


def _training_images(run: Run) -> Any:
    """The run's training images, and their mirror images if it mirrors them: uint8 [M, H, W, C].

    Raises:
      DatasetError, ConfigError: if the images cannot be loaded, or are no longer those that the run recorded.
    """
    data = load_images(run.config, run.record)
    check_unchanged(run.config, run.record, data, run.run_dir, "restore them, or leave --nearest out")
    return _and_mirrored(data.images) if run.config.mirror else data.images


def _and_mirrored(images: Any) -> Any:
    """Images [M, H, W, C] followed by their mirror images, which are computed on access: [2 M, H, W, C]."""
    n = len(images)

    def get(rows: Any) -> np.ndarray:
        numbers = np.arange(2 * n)[rows]
        some = images[numbers % n]
        return np.where((numbers < n)[:, None, None, None], some, some[:, :, ::-1])

    return Lazy(images, (2 * n, *images.shape[1:]), get)


def _with_nearest(
    images: np.ndarray, train: Any, columns: int, above: list[str], beside: list[str]
) -> tuple[np.ndarray, list[str], list[str]]:
    """A grid with alternating rows of images [N, H, W, C] and of their nearest training images, and its labels.

    Incomplete rows are padded with white images.
    """
    images = as_bytes(images)
    numbers, distances = nearest_images(images, train)
    empty = -len(images) % columns
    white = np.full((empty, *images.shape[1:]), 255, np.uint8)
    drawn, nearest = (np.concatenate([each, white]) for each in (images, train[numbers]))
    rows = len(drawn) // columns
    both = np.stack([each.reshape(rows, columns, *images.shape[1:]) for each in (drawn, nearest)], axis=1)
    texts = [*above, *[""] * empty], [*(f"{each:.1f}" for each in distances), *[""] * empty]
    labels = [text for row in range(rows) for each in texts for text in each[row * columns : (row + 1) * columns]]
    names = [each for row in range(rows) for each in (beside[row] if beside else "drawn", "nearest")]
    return both.reshape(-1, *images.shape[1:]), labels, names


def _check_out(out: Path) -> None:
    """Raises: ConfigError unless ``--out`` is a new file, or a new or empty directory."""
    if out.suffix in (".png", ".npy"):
        check_new_file(out, (".png", ".npy"))
        return
    try:
        empty = out.is_dir() and not any(out.iterdir())
    except OSError as error:
        raise ConfigError(f"cannot read the directory {out} of --out ({error.strerror}): choose another") from error
    if not empty:
        check_new_file(out, (".png", ".npy") if out.suffix else ("",), ", or be a directory without a suffix")
    elif out.is_symlink() or out.samefile(os.curdir):
        raise ConfigError(f"the directory {out} would be replaced: name a new one in it with --out")
    check_folder(out.parent)
    check_no_partial(out)


def _seeds(args: argparse.Namespace) -> list[int]:
    """The seeds. Raises: ConfigError if they are out of range, too many, repeated, or given by conflicting flags."""
    if args.seeds is None:
        samples = 16 if args.samples is None else args.samples
        if not 1 <= samples <= MAX_SAMPLES:
            raise ConfigError(f"--samples must be between 1 and {MAX_SAMPLES}, got {samples}")
        return check_seeds(args.seed or 0, samples)
    if args.samples is not None or args.seed is not None:
        raise ConfigError("--seeds names every image: leave --samples and --seed out")
    seeds = parse_seeds(args.seeds)
    seed, times = collections.Counter(seeds).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"--seeds has {seed} twice")
    return seeds


def _names(seeds: list[int], rows: list[int] | None) -> list[str]:
    """The names of single images: the seed, prefixed with the number of the class if classes are chosen."""
    by_seed = [f"{seed:06d}" for seed in seeds]
    return by_seed if rows is None else [f"{row}-{name}" for row in rows for name in by_seed]
