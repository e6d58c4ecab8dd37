"""``dcgan-jax data``: describe a data set as `train` would read it, measure training on it, and write it prepared."""

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcgan_jax.cli.data_facts import describe_data, size_of
from dcgan_jax.cli.drawing import check_grid, class_label
from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_cache_flag, add_config_flags, add_huge_pages_flag
from dcgan_jax.cli.outputs import check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.console import counted, print_result
from dcgan_jax.data import Dataset, describe_sources, load_data, parse_size
from dcgan_jax.data.members import some
from dcgan_jax.data.prepared import needed_to_read, write_npz, write_zip
from dcgan_jax.evaluation.real_images import hold_out, load_test_split
from dcgan_jax.images import image_grid, labelled_grid, save_png
from dcgan_jax.memory import NotEnoughMemoryError
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.progress import format_duration
from dcgan_jax.training.step_cost import measure_step
from dcgan_jax.training.timing import peak_memory

_READING = ("image_size", "channels", "range", "layout", "frames", "images", "labels", "data_dir")
_USE = ("hold_out", "mirror", "conditional", "batch_size", "preset", "dtype", "width", "augment")
_SIDE = 8  # maximum images in a row or a column of the grid
_GRID = 512  # maximum image pixels in such a row or column
_ROWS = 1024  # maximum image pixels in a column with a row for each class


def data_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Describe a data set, and write it prepared if asked to; the exit code, 0, 2 or 130."""
    parser = Parser(
        prog=prog,
        description="Say what a data set holds, as train would read it, and what training on it takes.",
        allow_abbrev=False,
    )
    parser.add_argument("dataset", metavar="PATH", help=f"as of train --dataset: {describe_sources()}")
    add_config_flags(parser, only=(*_READING, *_USE))
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the images as the networks will see them: an .npz of both splits with their classes, or a .zip of "
        "PNGs in folders by class",
    )
    grid = parser.add_mutually_exclusive_group()
    grid.add_argument(
        "--grid",
        metavar="FILE",
        help="the .png of some of the images, as the networks will see them (default: data-NAME.png, a new file)",
    )
    grid.add_argument("--no-grid", action="store_true", help="draw none")
    parser.add_argument("--no-time", action="store_true", help="train no steps to measure their time and memory")
    add_cache_flag(parser)
    add_huge_pages_flag(parser)
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _data(args), args.no_compilation_cache)


def _data(args: argparse.Namespace) -> None:
    check_printable(args.dataset)
    given = {name: value for name, value in vars(args).items() if name in (*_READING, *_USE)}
    config = TrainConfig(dataset=args.dataset, **given)
    out = None if args.out is None else new_file(args.out, "", (".npz", ".zip"))
    name = Path(config.dataset).stem
    grid = None if args.no_grid else new_file(args.grid, f"data-{name}", (".png",), flag="--grid")
    data, test = _load(config)
    config = _with_batch(config, len(data.images), "batch_size" in given)
    for line in describe_data(args.dataset, config, data, test):
        print_result(line)
    if grid is not None:
        _draw(grid, data)
    if out is not None:
        _write(out, data, test)
    if not args.no_time:
        _measure(config, data)
    print_result(f"{'next':<16}{_command(args.dataset, config, data, out)}")


def _load(config: TrainConfig) -> tuple[Dataset, Dataset | None]:
    """The images of both splits, with their classes if they have any.

    Raises:
      DatasetError: as `load_data` and `load_test_split`.
      ConfigError: if images are to be held out of a data set with a test split, or there are too few classes for
        ``conditional``.
    """
    reading = config.reading()
    size = None if config.image_size is None else parse_size(config.image_size)
    data = load_data(config.dataset, image_size=size, channels=config.channels, **reading.arguments())
    test = load_test_split(config.dataset, data, reading, unlabelled=True)
    if config.hold_out is not None:
        if test is not None:
            raise ConfigError(f"`hold_out` is for images without a test split, and {config.dataset} has one")
        data = hold_out(data, config.hold_out, config.dataset)
        test = data.held_out
    if config.conditional and len(data.classes) < 2:
        raise ConfigError(
            f"`conditional` needs images of at least two classes, and {config.dataset} has "
            f"{len(data.classes) or 'none'}: put the pictures of each class in a folder of its own"
        )
    return data, test


def _with_batch(config: TrainConfig, images: int, given: bool) -> TrainConfig:
    """The config with a batch no larger than the images. Raises: ConfigError if a larger one was given."""
    if config.batch_size <= images:
        return config
    if given:
        raise ConfigError(
            f"`batch_size` must be at most {images}, the images of {config.dataset}, got {config.batch_size}"
        )
    return dataclasses.replace(config, batch_size=2 ** (images.bit_length() - 1))


def _draw(path: Path, data: Dataset) -> None:
    """Write images, chosen by a fixed seed, as a PNG: a row for each class if there are few, else from all."""
    n, height, width, _ = data.images.shape
    columns, rows = (max(1, min(_SIDE, _GRID // side)) for side in (width, height))
    random, shown = np.random.RandomState(0), 0
    if data.labels is not None and len(data.classes) > 1 and len(data.classes) * height <= _ROWS:
        images = np.full((len(data.classes), columns, *data.images.shape[1:]), 255, np.uint8)
        for label, row in enumerate(images):
            of_class = random.permutation(np.flatnonzero(data.labels == label))[:columns]
            row[: len(of_class)] = data.images[of_class]
            shown += len(of_class)
        images = images.reshape(-1, *images.shape[2:])
        beside = [class_label(label, data.classes) for label in range(len(data.classes))]
        check_grid(images.shape[1:], len(images), columns)
        pixels = labelled_grid(images, columns, [""] * len(images), beside)
    else:
        chosen = np.sort(random.permutation(n)[: columns * rows])
        images, shown = data.images[chosen], len(chosen)
        check_grid(images.shape[1:], len(images), columns)
        above = [] if data.labels is None else [class_label(int(data.labels[i]), data.classes) for i in chosen]
        pixels = labelled_grid(images, columns, above) if above else image_grid(images, columns)
    save_png(path, pixels)
    print_result(f"{'grid':<16}{path}, of {counted(shown, 'image')}")


def _write(path: Path, data: Dataset, test: Dataset | None) -> None:
    n = counted(len(data.images), "image")
    if path.suffix == ".zip":
        order = write_zip(path, data)
        lost = "" if test is None else f"; the {counted(len(test.images), 'test image')} are not in it, but in an .npz"
        numbers = f"; its classes are numbered by name, {some(order)}" if order else ""
        print_result(f"{'wrote':<16}{path}, {n}{numbers}{lost}")
        return
    write_npz(path, data, test)
    more = "" if test is None else f", and {counted(len(test.images), 'test image')}"
    print_result(f"{'wrote':<16}{path}, {n}{more}")


def _measure(config: TrainConfig, data: Dataset) -> None:
    """Print the time and the memory of a step."""
    if not config.conditional:
        data = data._replace(labels=None, classes=())
    try:
        cost = measure_step(config, data)
    except NotEnoughMemoryError as error:
        print_result(f"{'step':<16}{error}")
        return
    computed = "" if cost.step_bytes is None else f", {size_of(cost.step_bytes)} for a step"
    peak = peak_memory()
    took = "" if peak is None else f"; this process took {size_of(peak)} at its most"
    print_result(f"{'memory':<16}{size_of(cost.state_bytes)} for networks and optimizers{computed}{took}")
    print_result(
        f"{'time':<16}{cost.seconds:.3g} s a step at batch {config.batch_size} on {cost.device} "
        f"({counted(cost.steps, 'step')} measured); compiling took {cost.compile_seconds:.1f} s; "
        f"{counted(config.steps, 'step')} take about {format_duration(config.steps * cost.seconds)}"
    )


def _command(source: str, config: TrainConfig, data: Dataset, out: Path | None) -> str:
    """The command that trains on the data set, or on the file written from it."""
    given = {
        each.name: getattr(config, each.name)
        for each in dataclasses.fields(config)
        if each.name in (*_READING, *_USE) and getattr(config, each.name) != each.default
    }
    if out is not None:
        source = str(out)
        used = {name: value for name, value in given.items() if name in _USE and name != "hold_out"}
        given = needed_to_read(out, data) | used
    words = ["dcgan-jax", "train", "--dataset", shlex.quote(source)]
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        text = shlex.quote(str(value))
        words += [flag] if value is True else [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return " ".join(words)
