"""``dcgan-jax interpolate``: draw the way from one image of a generator to another."""

import argparse
import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dcgan_jax.animation import ANIMATIONS, check_animation, save_animation
from dcgan_jax.cli.drawing import (
    add_fps_flag,
    check_finite_images,
    check_fps,
    check_grid,
    class_label,
    parse_classes,
    parse_seeds,
)
from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_run, add_run_flags
from dcgan_jax.cli.outputs import check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import load_source
from dcgan_jax.console import print_line
from dcgan_jax.images import image_grid, labelled_grid, save_png, with_title
from dcgan_jax.models import Generator
from dcgan_jax.sampling import between_classes, generate_singly, image_shape, interpolate, sample_seeds
from dcgan_jax.state import GANState
from dcgan_jax.training.config import ConfigError

_MAX_IMAGES = 5000
_MAX_SEEDS = _MAX_IMAGES // 2 + 1  # two images are the fewest from one seed to the next
_SIDE = 256  # screen pixels that an animation has at least


def interpolate_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Draw the way between seeds into a ``.png`` or an animation; the exit code, 0 or 2."""
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
        help="of a conditional run: one class, or one for each seed (default: the class that a seed draws)",
    )
    add_fps_flag(parser, 24)
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
        check_fps(args.fps)
    seeds = parse_seeds(args.seeds)
    frames = (60 if animated else 10) if args.frames is None else args.frames
    _check_frames(seeds, frames)
    loaded = load_source(args.source, args)
    state, names = loaded.run.state, loaded.run.record.classes or ()
    if not animated:
        check_grid(image_shape(state), (len(seeds) - 1) * frames, frames)
    noise, labels = sample_seeds(state, np.asarray(seeds))
    if args.classes is not None:
        labels = _one_class_each(args, loaded.run.record.classes, len(seeds))
    _check_classes(state, labels)
    ends = [(noise[i], None if labels is None else int(labels[i])) for i in range(len(seeds))]
    images = np.stack([_leg(state, *each, frames, args.straight) for each in itertools.pairwise(ends)])
    check_finite_images(images, args.source)  # [legs, frames, H, W, C]
    marks = [str(seed) for seed in seeds]
    if labels is not None:
        marks = [f"{seed} {class_label(int(label), names)}" for seed, label in zip(seeds, labels, strict=True)]
    if animated:
        save_animation(out, _pictures(images, marks, not args.no_labels), args.fps)
    else:
        save_png(out, _rows(images, marks, not args.no_labels))
    print_line(f"seeds {args.seeds} of {loaded.title}, in {out}")


def _check_frames(seeds: list[int], frames: int) -> None:
    """Raises: ConfigError if there are too few seeds, or too few or too many images."""
    if len(seeds) < 2:
        raise ConfigError(f"--seeds must be at least two, from which to which to go, got {seeds[0]}")
    if len(seeds) > _MAX_SEEDS:
        raise ConfigError(f"--seeds must be {_MAX_SEEDS} seeds at most, got {len(seeds)}")
    limit = _MAX_IMAGES // (len(seeds) - 1)
    if not 2 <= frames <= limit:
        raise ConfigError(f"--frames must be between 2 and {limit} for {len(seeds)} seeds, got {frames}")


def _one_class_each(args: argparse.Namespace, classes: tuple[str, ...] | None, n: int) -> np.ndarray:
    chosen = parse_classes(args.classes, classes, args.source)
    if len(chosen) not in (1, n):
        raise ConfigError(f"--classes must be one class, or one for each of the {n} seeds, got {len(chosen)}")
    return np.resize(chosen, n)


def _check_classes(state: GANState, labels: np.ndarray | jnp.ndarray | None) -> None:
    """Raises: ConfigError if the way leads between classes, whose vectors other generators do not have."""
    module = state.generator.module
    if labels is not None and len(set(np.asarray(labels).tolist())) > 1 and not isinstance(module, Generator):
        raise ConfigError(
            f"a way between classes needs the generator dcgan_jax.Generator, got {type(module).__name__}: name one "
            "class with --classes"
        )


def _leg(
    state: GANState, start: tuple[jnp.ndarray, int | None], end: tuple[jnp.ndarray, int | None], n: int, straight: bool
) -> np.ndarray:
    """The images [n, H, W, C] from one noise and class to another."""
    noise = interpolate(start[0], end[0], n, straight=straight)
    if start[1] is None or end[1] is None:
        return generate_singly(state, noise)
    if start[1] == end[1]:
        return generate_singly(state, noise, jnp.full(n, start[1], jnp.int32))
    return generate_singly(between_classes(state, start[1], end[1], n), noise, jnp.arange(n, dtype=jnp.int32))


def _rows(images: np.ndarray, marks: list[str], labelled: bool) -> np.ndarray:
    """A grid with a row from each seed to the next, whose ends are marked."""
    legs, frames = images.shape[:2]
    images = images.reshape(legs * frames, *images.shape[2:])
    if not labelled:
        return image_grid(images, frames)
    above = [text for start, end in itertools.pairwise(marks) for text in (start, *[""] * (frames - 2), end)]
    return labelled_grid(images, frames, above)


def _pictures(images: np.ndarray, marks: list[str], labelled: bool) -> list[np.ndarray]:
    """The frames of an animation: each seed once, the way's ends above them."""
    scale = max(1, -(-_SIDE // images.shape[3]))
    frames = []
    for i, leg in enumerate(images):
        for image in leg if i == 0 else leg[1:]:
            picture = image_grid(image[None], 1, scale)
            frames.append(with_title(picture, f"{marks[i]} to {marks[i + 1]}") if labelled else picture)
    return frames
