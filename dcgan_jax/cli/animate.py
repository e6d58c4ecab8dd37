"""``dcgan-jax animate``: animate a run's samples of fixed noise, step by step."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcgan_jax.animation import ANIMATIONS, check_animation, save_animation
from dcgan_jax.cli.drawing import add_fps_flag, chosen_fps
from dcgan_jax.cli.errors import run_command
from dcgan_jax.cli.outputs import check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import recorded_run
from dcgan_jax.console import counted, print_line
from dcgan_jax.errors import first_line
from dcgan_jax.images import read_grid, with_title
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.history import sample_grids
from dcgan_jax.training.run_dir import read_config

_FPS = 4  # unless another number is given


def animate_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Write a run's samples as an animation; the exit code, 0 or 2."""
    parser = Parser(prog=prog, description="Show how a run's samples of the same noise changed from step to step.")
    parser.add_argument("source", metavar="RUN", help="a run directory, of a run that may be running")
    parser.add_argument(
        "--recipe",
        metavar="FILE.py",
        help="as of other commands on a run of your own networks; samples are pictures already, and it is not executed",
    )
    add_fps_flag(parser, _FPS)
    parser.add_argument("--no-labels", action="store_true", help="no steps above the pictures")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help=f"one of {', '.join(ANIMATIONS)} (default: samples.gif, or samples-2.gif and so on)",
    )
    args = parser.parse_args(argv)
    return run_command(lambda: _animate(args), cache=False)


def _animate(args: argparse.Namespace) -> None:
    check_printable(args.source)
    out = new_file(args.out, "samples", ANIMATIONS)
    check_animation(out)
    fps = chosen_fps(args.fps, _FPS, out)
    run_dir = recorded_run(args.source)
    read_config(run_dir)
    grids, problems = _read_samples(run_dir / "samples")
    if problems:
        print_line(f"warning: left out {len(problems)} of the samples: {problems[0]}", error=True)
    if not grids:
        raise ConfigError(f"there are no samples in {run_dir / 'samples'} yet: nothing was written")
    frames = [pixels if args.no_labels else with_title(pixels, f"step {step:,}") for step, pixels in grids.items()]
    save_animation(out, frames, fps)
    steps = f"steps {min(grids):,} to {max(grids):,}" if len(grids) > 1 else f"step {min(grids):,}"
    print_line(f"{counted(len(frames), 'picture')} of {run_dir}, {steps}, in {out}")


def _read_samples(folder: Path) -> tuple[dict[int, np.ndarray], list[str]]:
    """The grids of samples by step, uint8 [H, W, C], and a line for each one left out.

    Grids are left out if they cannot be read or do not have the most common shape.
    """
    grids, problems = {}, []
    for step, path in sample_grids(folder):
        try:
            grids[step] = read_grid(path)
        except Exception as error:  # Pillow's parsers raise many types
            problems.append(f"cannot read {path} ({first_line(error)})")
    if grids:
        shape = Counter(grid.shape for grid in grids.values()).most_common(1)[0][0]
        for step in [step for step, grid in grids.items() if grid.shape != shape]:
            height, width, _ = grids.pop(step).shape
            problems.append(f"that of step {step:,} is of {width}x{height} pixels, most are of {shape[1]}x{shape[0]}")
    return grids, problems
