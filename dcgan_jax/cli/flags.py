"""Flags: those of the config, and those that several commands share."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from dcgan_jax.cli import huge_pages
from dcgan_jax.cli.errors import as_flags
from dcgan_jax.models import DTYPES
from dcgan_jax.pretrained import PRETRAINED
from dcgan_jax.training.config import ConfigError, TrainConfig

_READING = ("data_dir", "range", "layout", "frames", "images", "labels")


def add_config_flags(
    parser: argparse.ArgumentParser, only: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> None:
    """Add a flag for each field of `TrainConfig`, or for those in ``only``, except those in ``without``."""
    for field in dataclasses.fields(TrainConfig):
        if field.name in without or (only and field.name not in only):
            continue
        text = as_flags(field.metadata["help"])
        if field.metadata["choices"] and field.metadata["kind"] is str:
            text += "; one of " + ", ".join(field.metadata["choices"])
        if field.default is not None:
            text += f" (default: {field.default})"
        flag, kind = "--" + field.name.replace("_", "-"), field.metadata["kind"]
        parse = _optional(kind, none) if (none := field.metadata["none"]) else kind
        # Absent flags set nothing: a resumed run takes their values from its own config.
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS)
            continue
        parser.add_argument(
            flag,
            type=parse,
            metavar=_metavar(field.name, kind),
            help=text,
            default=argparse.SUPPRESS,
        )


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `TrainConfig` for where images are searched for and how their files are read."""
    add_config_flags(parser, only=_READING)


def given_reading(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `TrainConfig` that are given by the flags of `add_reading_flags`.

    Raises:
      ConfigError: if a value is invalid.
    """
    given = {name: value for name, value in vars(args).items() if name in _READING}
    TrainConfig(**given)
    return given


def _metavar(name: str, kind: type) -> str:
    """The metavar of a flag: N for an integer, the last word of the field's name for a float, else the whole name."""
    if kind is int:
        return "N"
    return (name.split("_")[-1] if kind is float else name.replace("_", "-")).upper()


def _optional(kind: type, none: str) -> Callable[[str], Any]:
    """A parser of ``kind`` that returns None for the word ``none``, so that a resumed run can unset the field."""

    def parse(text: str) -> Any:
        return None if text == none else kind(text)

    parse.__name__ = kind.__name__  # argparse uses it in its messages
    return parse


def add_run(parser: argparse.ArgumentParser, images: str = "") -> None:
    """Add the argument RUN; ``images`` is appended to its help, for images that the command takes instead."""
    text = f"a run directory, or the name of pretrained weights: {', '.join(PRETRAINED)}"
    parser.add_argument("source", metavar="RUN", help=text + images)


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of commands on a run: its checkpoint, weights, dtype and recipe, and the compilation cache."""
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="step of the checkpoint (default: the latest)")
    parser.add_argument(
        "--weights",
        choices=("average", "last"),
        help="the moving average that the run kept, or the last weights (default: the average where there is one)",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="what the networks compute in (default: what the run was trained in)"
    )
    add_recipe_flag(parser)
    add_cache_flag(parser)


def add_recipe_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--recipe``."""
    parser.add_argument(
        "--recipe",
        metavar="FILE.py",
        help="a Python file that defines init(key, shape, classes), which builds the run's networks; it is executed",
    )


def refuse_run_flags(args: argparse.Namespace, use: str, *others: str) -> None:
    """Raises: ConfigError if a flag that selects networks, or one of ``others``, was given; ``use`` says why."""
    for flag in ("checkpoint", "weights", "recipe", *others):
        if getattr(args, flag) is not None:
            raise ConfigError(f"--{flag} is for {use}")


def add_cache_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-compilation-cache``."""
    parser.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="compile again, and do not use the user's cache directory",
    )


def add_huge_pages_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-huge-pages``, which `restart_with_huge_pages` handles before the arguments are parsed."""
    parser.add_argument(
        huge_pages.FLAG,
        action="store_true",
        help="on Linux, do not start again with huge pages, with which a CPU trains 1.2 times as fast",
    )
