"""``dcgan-jax project``: find the noise from which a generator draws a picture."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.animation import ANIMATIONS, check_animation, save_animation
from dcgan_jax.cli.drawing import (
    LAST_SEED,
    MAX_WAY,
    WAY_FPS,
    add_fps_flag,
    check_finite_images,
    check_way,
    chosen_fps,
    class_label,
    parse_classes,
    save_npy,
    way_images,
    way_pictures,
    way_rows,
)
from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_config_flags, add_run, add_run_flags
from dcgan_jax.cli.outputs import check_new_file, check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import LoadedRun, load_source
from dcgan_jax.console import print_line
from dcgan_jax.data import Reading
from dcgan_jax.data.picture_folders import load_picture
from dcgan_jax.files import replace_file
from dcgan_jax.images import image_grid, labelled_grid, save_png
from dcgan_jax.paths import local_path
from dcgan_jax.prng import seed_key
from dcgan_jax.projection import MAX_STARTS, Projection, project
from dcgan_jax.sampling import generate_singly, image_shape, sample_seeds
from dcgan_jax.training.config import ConfigError, TrainConfig

_MAX_STEPS = 100_000
_OWN = 16  # generated images whose mean brightness is compared with the picture's; the first is projected too
_DARKER = 0.25  # of white: a note is printed if inversion brings the picture's brightness nearer by more than this
_FAR = 12  # levels of 255: above it, a generated image was not found again


class _Files(NamedTuple):
    """The output files: the pairs, the noise, and the path from one picture to the other if there is one."""

    pairs: Path
    noise: Path
    walk: Path | None


def project_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Find a picture's noise, and draw the picture beside its projection; the exit code, 0 or 2."""
    parser = Parser(
        prog=prog,
        description="Find the noise of which a run's generator draws what is nearest to a picture, and draw both.",
    )
    add_run(parser)
    parser.add_argument(
        "picture", metavar="PICTURE", help="a picture file; it is cropped around its centre and resized"
    )
    add_run_flags(parser)
    parser.add_argument("--to", metavar="PICTURE2", help="the same for another picture, and the way to it")
    parser.add_argument(
        "--class",
        dest="of_class",
        metavar="NAME",
        help="of a conditional run or of mnist, by name or number (default: of a conditional one the best)",
    )
    parser.add_argument("--invert", action="store_true", help="exchange black and white: for digits in black on white")
    add_config_flags(parser, only=("range",))
    parser.add_argument("--starts", type=int, default=8, metavar="N", help="the best of so many (default: 8)")
    parser.add_argument("--steps", type=int, default=500, metavar="N", help="steps of Adam (default: 500)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random noise (default: 0)")
    parser.add_argument(
        "--frames", type=int, metavar="N", help="images of the way, ends included (default: 10, or 60 of an animation)"
    )
    add_fps_flag(parser, WAY_FPS)
    parser.add_argument("--no-labels", action="store_true", help="no texts beside the images")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="a .png with the picture and what is drawn; the noise is beside it, in an .npy (default: projection.png, "
        "or projection-2.png and so on)",
    )
    parser.add_argument(
        "--walk",
        metavar="FILE",
        help=f"a .png of the way to PICTURE2, or an animation: {', '.join(ANIMATIONS)} (default: beside, ...-walk.png)",
    )
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _project(args), args.no_compilation_cache)


def _project(args: argparse.Namespace) -> None:
    paths = [local_path(each, "PICTURE") for each in (args.picture, args.to) if each is not None]
    check_printable(args.source, *map(str, paths))
    files = _files(args)
    _check_numbers(args, files.walk)
    if files.walk is not None:
        args.fps = chosen_fps(args.fps, WAY_FPS, files.walk, "--walk")
    reading = TrainConfig(range=getattr(args, "range", None)).reading()
    loaded = load_source(args.source, args, by_class=args.of_class is not None)
    state, names = loaded.run.state, loaded.run.record.classes
    label = None if args.of_class is None else _one_class(args.of_class, names, args.source)
    own_noise, own_labels = sample_seeds(state, np.arange(args.seed, args.seed + _OWN))
    if label is not None:
        own_labels = jnp.full(_OWN, label, jnp.int32)
    own = generate_singly(state, own_noise, own_labels)
    check_finite_images(own, args.source)
    pictures = [_read(path, image_shape(state), reading, args.invert, float(own.mean())) for path in paths]

    def find(image: np.ndarray) -> Projection:
        """Project one picture by itself, so that the result does not depend on the other."""
        labels = None if label is None else jnp.array([label], jnp.int32)
        key = seed_key(args.seed)
        images = jnp.asarray(image[None], jnp.float32)
        return jax.device_get(project(state, images, key, labels, starts=args.starts, steps=args.steps))

    found, floor = [find(picture) for picture in pictures], float(find(own[0]).distances[0])
    labels = [None if each.labels is None else int(each.labels[0]) for each in found]
    ends = [(jnp.asarray(each.noise[0]), each_label) for each, each_label in zip(found, labels, strict=True)]
    images = None
    if files.walk is not None:
        check_way(state, None if labels[0] is None else np.array(labels), "--class")
        frames = args.frames or (10 if files.walk.suffix == ".png" else 60)
        images = way_images(state, ends[0], ends[1], frames)
    _write(files, pictures, found, images, args)
    _report(paths, found, labels, names or (), floor, loaded, files)


def _files(args: argparse.Namespace) -> _Files:
    """The output files. Raises: ConfigError unless all are new; AnimationError if an animation cannot be written."""
    walk = "-walk.png"
    ends = (".npy",) if args.to is None else (".npy", walk)
    out = new_file(args.out, "projection", (".png",), beside=lambda name: [name + end for end in ends])
    noise = out.with_suffix(".npy")
    check_new_file(noise, (".npy",))
    if args.to is None:
        if args.walk is not None:
            raise ConfigError("--walk is the way to another picture: name it with --to")
        return _Files(out, noise, None)
    way = new_file(args.walk or str(out.with_name(out.stem + walk)), "", (".png", *ANIMATIONS), flag="--walk")
    if way == out:
        raise ConfigError(f"--walk and --out are the same file, {out}: choose another")
    if way.suffix != ".png":
        check_animation(way)
    return _Files(out, noise, way)


def _check_numbers(args: argparse.Namespace, walk: Path | None) -> None:
    """Raises: ConfigError if a number is out of range, or one of a path is given without one."""
    ranges = {
        "seed": (0, LAST_SEED - _OWN),
        "starts": (1, MAX_STARTS),
        "steps": (1, _MAX_STEPS),
        "frames": (2, MAX_WAY),
    }
    for flag, (low, high) in ranges.items():
        value = getattr(args, flag)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"--{flag} must be between {low} and {high}, got {value}")
    for flag in ("frames", "fps"):
        if walk is None and getattr(args, flag) is not None:
            raise ConfigError(f"--{flag} is of the way to another picture: name it with --to")


def _one_class(name: str, classes: tuple[str, ...] | None, source: str) -> int:
    chosen = parse_classes(name, classes, source, "--class")
    if len(chosen) > 1:
        raise ConfigError(f"--class must be one class, got {name}")
    return chosen[0]


def _read(path: Path, shape: tuple[int, ...], reading: Reading, invert: bool, brightness: float) -> np.ndarray:
    """A picture in the form of the generator's images, float32 [H, W, C] in [0, 1]; its conversions are printed.

    Raises:
      ConfigError: if the generator's images are neither grey nor RGB.
      DatasetError: as `load_picture`.
    """
    height, width, channels = shape
    if channels not in (1, 3):
        raise ConfigError(f"pictures are grey or RGB, and the generator's images have {channels} channels")
    data = load_picture(path, (height, width), channels, reading)
    for note in data.notes:
        print_line(f"{path}: {note}", error=True)
    picture = (255 - data.images[0] if invert else data.images[0]) / np.float32(255)
    mean = float(picture.mean())
    if abs(1 - mean - brightness) + _DARKER < abs(mean - brightness):
        which = ("bright", "dark") if mean > brightness else ("dark", "bright")
        how = "leave --invert out" if invert else "--invert exchanges black and white"
        print_line(
            f"note: {path} is mostly {which[0]}{' after --invert' if invert else ''}, and the generator's images are "
            f"mostly {which[1]}: {how}",
            error=True,
        )
    return picture


def _write(
    files: _Files,
    pictures: list[np.ndarray],
    found: list[Projection],
    way: np.ndarray | None,
    args: argparse.Namespace,
) -> None:
    labelled = not args.no_labels
    drawn = np.concatenate([each.images for each in found])
    pairs = np.stack([np.stack(pictures), drawn], axis=1).reshape(-1, *drawn.shape[1:])
    check_finite_images(pairs, args.source)
    texts = [text for each in found for text in ("picture", f"drawn: {each.distances[0]:.1f}")]
    save_png(files.pairs, labelled_grid(pairs, 2, texts) if labelled else image_grid(pairs, 2))
    noise = np.concatenate([each.noise for each in found])
    replace_file(files.noise, lambda partial: save_npy(partial, noise))
    if files.walk is None or way is None:
        return
    marks = ["picture 1", "picture 2"]
    if files.walk.suffix == ".png":
        save_png(files.walk, way_rows(way[None], marks, labelled))
    else:
        save_animation(files.walk, way_pictures(way[None], marks, labelled), args.fps)


def _report(
    paths: list[Path],
    found: list[Projection],
    labels: list[int | None],
    names: Sequence[str],
    floor: float,
    loaded: LoadedRun,
    files: _Files,
) -> None:
    """Print the distance of each picture from its projection, and of a generated image from its own as the floor."""
    for path, each, label in zip(paths, found, labels, strict=True):
        of_class = "" if label is None else f", class {class_label(label, names)}"
        print_line(f"{path}: {each.distances[0]:.1f} of 255 levels from what is drawn{of_class}")
    print_line(f"floor: {floor:.1f}, of an image of the generator's own (roots of mean squares of the difference)")
    if floor > _FAR:
        print_line("note: that should be near 0: more --starts or --steps find nearer noise", error=True)
    walk = "" if files.walk is None else f", the way in {files.walk}"
    print_line(f"drawn by {loaded.title}, in {files.pairs}, the noise in {files.noise}{walk}")
