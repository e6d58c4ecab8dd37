"""Shared by the commands that draw with a run's generator: seeds, classes, checks, and grids of paths."""

import argparse
import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from dcgan_jax.animation import ANIMATIONS, MAX_FPS
from dcgan_jax.console import counted
from dcgan_jax.evaluation.scoring import MAX_SAMPLES
from dcgan_jax.images import grid_pixels, has_room, image_grid, labelled_grid, with_title
from dcgan_jax.models import Generator
from dcgan_jax.sampling import between_classes, generate_singly, interpolate
from dcgan_jax.state import GANState
from dcgan_jax.training.config import ConfigError

MAX_WAY = 5000  # images of a path
WAY_FPS = 24  # of its animation, unless another number is given
_SIDE = 256  # minimum width of an animation, in screen pixels
LAST_SEED = 2**31 - 1
_LONGEST_NAME = 16  # characters of a class beside its images


def parse_seeds(text: str) -> list[int]:
    """Parse seeds such as ``17,42,100-115``, in their order.

    Raises:
      ConfigError: if a part is neither a seed nor a range of seeds, or there are too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        numbers = [number.strip() for number in part.split("-")]
        if len(numbers) > 2 or not all(each.isascii() and each.isdigit() and len(each) < 20 for each in numbers):
            raise ConfigError(f"--seeds must be numbers and ranges, such as 17,42,100-115, got {part.strip()!r}")
        first, last = int(numbers[0]), int(numbers[-1])
        if not first <= last <= LAST_SEED:
            raise ConfigError(f"--seeds must be between 0 and {LAST_SEED}, and ranges go up, got {part.strip()}")
        if len(seeds) + last - first >= MAX_SAMPLES:
            raise ConfigError(f"--seeds must be {MAX_SAMPLES} seeds at most")
        seeds += range(first, last + 1)
    return seeds


def check_seeds(first: int, n: int) -> list[int]:
    """The ``n`` seeds from ``--seed`` on.

    Raises:
      ConfigError: if one of them is out of range.
    """
    if not 0 <= first <= LAST_SEED - n + 1:
        raise ConfigError(f"--seed must be between 0 and {LAST_SEED - n + 1} for {counted(n, 'sample')}, got {first}")
    return list(range(first, first + n))


def parse_classes(text: str | None, classes: tuple[str, ...] | None, source: str, flag: str = "--classes") -> list[int]:
    """The numbers of the classes that ``text``, the value of ``flag``, names; of all classes if it is None.

    Raises:
      ConfigError: if there is no such class, or the run has none.
    """
    if classes is None:
        raise ConfigError(f"{source} draws no classes: it was trained without --conditional")
    if text is None:
        return list(range(len(classes)))
    chosen = []
    for name in (part.strip() for part in text.split(",")):
        if name in classes:
            chosen.append(classes.index(name))
        elif name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(classes):
            chosen.append(int(name))
        else:
            raise ConfigError(f"{flag}: there is no class {name!r}: choose from {', '.join(classes)}")
    return chosen


def class_label(number: int, classes: Sequence[str]) -> str:
    """The label of a class: its name, shortened, or its number if the font lacks characters of the name."""
    name = classes[number]
    if not (name.isascii() and name.isprintable()):
        return str(number)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def check_grid(shape: Sequence[int], n: int, columns: int) -> None:
    """Raises: ConfigError if a grid of images [H, W, C] is too large to be opened."""
    from PIL import Image

    # Pillow refuses to open more, because a small file could expand to fill the memory.
    pixels, limit = grid_pixels(shape, n, columns), 2 * (Image.MAX_IMAGE_PIXELS or 2**27)
    if pixels > limit:
        raise ConfigError(
            f"a grid of {n:,} images of {shape[0]}x{shape[1]} has {pixels / 1e6:,.0f} million pixels, more than many "
            f"programs open ({limit / 1e6:,.0f}): draw fewer, or into a directory or an .npy"
        )


def check_finite_images(images: np.ndarray, source: str) -> None:
    """Raises: ConfigError if a pixel is NaN or infinite."""
    if not np.isfinite(images).all():
        raise ConfigError(f"the generator of {source} draws numbers that are NaN or infinite: nothing was written")


def add_fps_flag(parser: argparse.ArgumentParser, default: int) -> None:
    """Add ``--fps``."""
    parser.add_argument("--fps", type=int, metavar="N", help=f"pictures a second of an animation (default: {default})")


def chosen_fps(fps: int | None, default: int, out: Path, flag: str = "--out") -> int:
    """The value of ``--fps``, or its default, for the file that ``flag`` names.

    Raises:
      ConfigError: if it is out of range, or given for a file that is not an animation.
    """
    if fps is None:
        return default
    if out.suffix not in ANIMATIONS:
        raise ConfigError(f"--fps is for a {' or '.join(ANIMATIONS)}, got {flag} {out}")
    if not 1 <= fps <= MAX_FPS:
        raise ConfigError(f"--fps must be between 1 and {MAX_FPS}, got {fps}")
    return fps


def check_way(state: GANState, labels: np.ndarray | jnp.ndarray | None, flag: str = "--classes") -> None:
    """Raises: ConfigError for a path between classes unless the generator is `Generator`, which has class vectors."""
    module = state.generator.module
    if labels is not None and len(set(np.asarray(labels).tolist())) > 1 and not isinstance(module, Generator):
        raise ConfigError(
            f"a way between classes needs the generator dcgan_jax.Generator, got {type(module).__name__}: name one "
            f"class with {flag}"
        )


def way_images(
    state: GANState,
    start: tuple[jnp.ndarray, int | None],
    end: tuple[jnp.ndarray, int | None],
    n: int,
    straight: bool = False,
) -> np.ndarray:
    """The images [n, H, W, C] on the path from one noise vector and class to another."""
    noise = interpolate(start[0], end[0], n, straight=straight)
    if start[1] is None or end[1] is None:
        return generate_singly(state, noise)
    if start[1] == end[1]:
        return generate_singly(state, noise, jnp.full(n, start[1], jnp.int32))
    return generate_singly(between_classes(state, start[1], end[1], n), noise, jnp.arange(n, dtype=jnp.int32))


def way_rows(images: np.ndarray, marks: list[str], labelled: bool) -> np.ndarray:
    """A grid of paths [legs, frames, H, W, C], one per row, whose ends are labelled with ``marks``."""
    legs, frames = images.shape[:2]
    images = images.reshape(legs * frames, *images.shape[2:])
    if not labelled:
        return image_grid(images, frames)
    above = [text for start, end in itertools.pairwise(marks) for text in (start, *[""] * (frames - 2), end)]
    return labelled_grid(images, frames, above)


def way_pictures(images: np.ndarray, marks: list[str], labelled: bool) -> list[np.ndarray]:
    """The frames of an animation of paths, with shared ends once; a title names both ends of the current path.

    It has two lines if one of the titles does not fit into one.
    """
    scale = max(1, -(-_SIDE // images.shape[3]))
    titles = [(f"{start} to {end}",) for start, end in itertools.pairwise(marks)]
    if not all(has_room(images.shape[3] * scale, *title) for title in titles):
        titles = [(start, f"to {end}") for start, end in itertools.pairwise(marks)]
    frames = []
    for i, leg in enumerate(images):
        for image in leg if i == 0 else leg[1:]:
            picture = image_grid(image[None], 1, scale)
            frames.append(with_title(picture, *titles[i]) if labelled else picture)
    return frames


def save_npy(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``; to be used within `replace_file`."""
    content = io.BytesIO()  # to a file NumPy writes in C, and misses an error of the last write
    np.save(content, array)
    path.write_bytes(content.getvalue())
