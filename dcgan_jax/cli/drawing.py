"""What the commands that draw with a run's generator share: seeds, classes, and checks of what is drawn."""

import argparse
from collections.abc import Sequence

import numpy as np

from dcgan_jax.animation import MAX_FPS
from dcgan_jax.console import counted
from dcgan_jax.evaluation.scoring import MAX_SAMPLES
from dcgan_jax.images import grid_pixels
from dcgan_jax.training.config import ConfigError

_LAST_SEED = 2**31 - 1
_LONGEST_NAME = 16  # characters of a class beside its images


def parse_seeds(text: str) -> list[int]:
    """The seeds of ``17,42,100-115``, in their order.

    Raises:
      ConfigError: if a part is neither a seed nor a range of seeds, or there are too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        numbers = [number.strip() for number in part.split("-")]
        if len(numbers) > 2 or not all(each.isascii() and each.isdigit() and len(each) < 20 for each in numbers):
            raise ConfigError(f"--seeds must be numbers and ranges, such as 17,42,100-115, got {part.strip()!r}")
        first, last = int(numbers[0]), int(numbers[-1])
        if not first <= last <= _LAST_SEED:
            raise ConfigError(f"--seeds must be between 0 and {_LAST_SEED}, and ranges go up, got {part.strip()}")
        if len(seeds) + last - first >= MAX_SAMPLES:
            raise ConfigError(f"--seeds must be {MAX_SAMPLES} seeds at most")
        seeds += range(first, last + 1)
    return seeds


def check_seeds(first: int, n: int) -> list[int]:
    """The ``n`` seeds from ``--seed`` on.

    Raises:
      ConfigError: if one of them is out of range.
    """
    if not 0 <= first <= _LAST_SEED - n + 1:
        raise ConfigError(f"--seed must be between 0 and {_LAST_SEED - n + 1} for {counted(n, 'sample')}, got {first}")
    return list(range(first, first + n))


def parse_classes(text: str | None, classes: tuple[str, ...] | None, source: str) -> list[int]:
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
        elif name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(classes):
            chosen.append(int(name))
        else:
            raise ConfigError(f"--classes: there is no class {name!r}: choose from {', '.join(classes)}")
    return chosen


def class_label(number: int, classes: Sequence[str]) -> str:
    """What is written beside images of a class: its name, or its number if the font has no characters for the name."""
    name = classes[number]
    if not (name.isascii() and name.isprintable()):
        return str(number)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def check_grid(shape: Sequence[int], n: int, columns: int) -> None:
    """Raises: ConfigError if a grid of images [H, W, C] is too large to be opened."""
    from PIL import Image

    # Pillow refuses to open more, as what a small file expands to could fill the memory.
    pixels, limit = grid_pixels(shape, n, columns), 2 * (Image.MAX_IMAGE_PIXELS or 2**27)
    if pixels > limit:
        raise ConfigError(
            f"a grid of {n:,} images of {shape[0]}x{shape[1]} has {pixels / 1e6:,.0f} million pixels, more than many "
            f"programs open ({limit / 1e6:,.0f}): draw fewer, or into a directory or an .npy"
        )


def check_finite_images(images: np.ndarray, source: str) -> None:
    """Raises: ConfigError if a pixel is not a number."""
    if not np.isfinite(images).all():
        raise ConfigError(f"the generator of {source} draws numbers that are NaN or infinite: nothing was written")


def add_fps_flag(parser: argparse.ArgumentParser, default: int) -> None:
    """Add ``--fps``."""
    parser.add_argument(
        "--fps", type=int, default=default, metavar="N", help=f"pictures a second of an animation (default: {default})"
    )


def check_fps(fps: int) -> None:
    """Raises: ConfigError if ``--fps`` is out of range."""
    if not 1 <= fps <= MAX_FPS:
        raise ConfigError(f"--fps must be between 1 and {MAX_FPS}, got {fps}")
