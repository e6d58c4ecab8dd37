"""``dcgan-jax interpolate``: draw the path from one image of a generator to another."""

import argparse
import itertools
from collections.abc import Sequence

import numpy as np

from dcgan_jax.animation import ANIMATIONS, check_animation, save_animation
from dcgan_jax.cli.drawing import (
    MAX_WAY,
    WAY_FPS,
    add_fps_flag,
    check_finite_images,
    check_grid,
    check_way,
    chosen_fps,
    class_label,
    parse_classes,
    parse_seeds,
    way_images,
    way_pictures,
    way_rows,
)
from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_run, add_run_flags
from dcgan_jax.cli.outputs import check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import load_source
from dcgan_jax.console import print_line
from dcgan_jax.images import save_png
from dcgan_jax.sampling import image_shape, sample_seeds
from dcgan_jax.training.config import ConfigError

_MAX_SEEDS = MAX_WAY // 2 + 1  # with the minimum of two images from one seed to the next


def interpolate_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Draw the path between seeds into a ``.png`` or an animation; the exit code, 0 or 2."""
    parser = Parser(
        prog=prog,
        description="Draw the way from the image of one seed to that of another, on a great circle.",
    )
    add_run(parser)
    add_run_flags(parser)
    parser.add_argument(
        "--seeds", default="0,1,2,3", metavar="A,B[,C...]", help="two or more seeds, as for sample (default: 0,1,2,3)"
    )
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="images from one seed to the next, both included (default: 10, or 60 of an animation)",
    )
    parser.add_argument("--straight", action="store_true", help="straight lines instead")
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="of a conditional run or of mnist: one class, or one for each seed (default: the class that a seed draws)",
    )
    add_fps_flag(parser, WAY_FPS)
    parser.add_argument("--no-labels", action="store_true", help="no seeds and classes beside the images")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help=f"a .png with a row from each seed to the next, or an animation: {', '.join(ANIMATIONS)} "
        "(default: interpolation.png, or interpolation-2.png and so on)",
    )
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _interpolate(args), args.no_compilation_cache)


def _interpolate(args: argparse.Namespace) -> None:
    check_printable(args.source)
    out = new_file(args.out, "interpolation", (".png", *ANIMATIONS))
    animated = out.suffix != ".png"
    if animated:
        check_animation(out)
    fps = chosen_fps(args.fps, WAY_FPS, out)
    seeds = parse_seeds(args.seeds)
    frames = (60 if animated else 10) if args.frames is None else args.frames
    _check_frames(seeds, frames)
    loaded = load_source(args.source, args, by_class=args.classes is not None)
    state, names = loaded.run.state, loaded.run.record.classes or ()
    if not animated:
        check_grid(image_shape(state), (len(seeds) - 1) * frames, frames)
    noise, labels = sample_seeds(state, np.asarray(seeds))
    if args.classes is not None:
        labels = _one_class_each(args, loaded.run.record.classes, len(seeds))
    check_way(state, labels)
    ends = [(noise[i], None if labels is None else int(labels[i])) for i in range(len(seeds))]
    images = np.stack([way_images(state, *each, frames, args.straight) for each in itertools.pairwise(ends)])
    check_finite_images(images, args.source)  # [legs, frames, H, W, C]
    marks = [str(seed) for seed in seeds]
    if labels is not None:
        marks = [f"{seed} {class_label(int(label), names)}" for seed, label in zip(seeds, labels, strict=True)]
    if animated:
        save_animation(out, way_pictures(images, marks, not args.no_labels), fps)
    else:
        save_png(out, way_rows(images, marks, not args.no_labels))
    print_line(f"seeds {args.seeds} of {loaded.title}, in {out}")


def _check_frames(seeds: list[int], frames: int) -> None:
    """Raises: ConfigError if there are too few seeds, or too few or too many images."""
    if len(seeds) < 2:
        raise ConfigError(f"--seeds must be at least two, from which to which to go, got {seeds[0]}")
    if len(seeds) > _MAX_SEEDS:
        raise ConfigError(f"--seeds must be {_MAX_SEEDS} seeds at most, got {len(seeds)}")
    limit = MAX_WAY // (len(seeds) - 1)
    if not 2 <= frames <= limit:
        raise ConfigError(f"--frames must be between 2 and {limit} for {len(seeds)} seeds, got {frames}")


def _one_class_each(args: argparse.Namespace, classes: tuple[str, ...] | None, n: int) -> np.ndarray:
    chosen = parse_classes(args.classes, classes, args.source)
    if len(chosen) not in (1, n):
        raise ConfigError(f"--classes must be one class, or one for each of the {n} seeds, got {len(chosen)}")
    return np.resize(chosen, n)
