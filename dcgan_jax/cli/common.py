"""What the commands share: the parser, flags, and how errors become one line and an exit code."""

import argparse
import contextlib
import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import platformdirs

from dcgan_jax.cli import huge_pages
from dcgan_jax.cli.parser import Parser as Parser
from dcgan_jax.cli.parser import print_error
from dcgan_jax.console import print_line
from dcgan_jax.errors import UserError, first_line
from dcgan_jax.paths import local_path
from dcgan_jax.pretrained import PRETRAINED, TRAINED_BY, describe_pretrained, with_pretrained
from dcgan_jax.state import averaged
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.distributed import JobFailedError, PrimaryProcessError, check_devices
from dcgan_jax.training.finite import NotFiniteError
from dcgan_jax.training.history import describe_weights, weights_name
from dcgan_jax.training.run import Run, load_run
from dcgan_jax.training.setup import create_state


def run_command(work: Callable[[], int | None], *, cache: bool, trains: bool = False) -> int:
    """Run a command, and report every error as one line on standard error.

    Args:
      work: returns the exit code, 0 if None.
      cache: whether to cache compiled programs in the user's cache directory.
      trains: whether the work saves checkpoints, so that an error can say what is left and how to resume.

    Returns:
      The exit code: that of ``work``; 2 for bad input or a failure; 3 for a loss or parameter that is not finite;
      130 after Ctrl-C.
    """
    advice = ": a run that has begun keeps what it has saved, resume it with --resume" if trains else ""
    try:
        if cache:
            enable_compilation_cache()
        with _one_cache_warning():
            return work() or 0
    except PrimaryProcessError:  # reported by the primary process
        return 2
    except NotFiniteError as error:
        print_error(error)
        return 3
    except JobFailedError as error:
        print_error(f"the job failed ({first_line(error)}){advice}")
        os._exit(2)  # at a regular exit JAX would wait minutes for the other processes, which wait for this one
    except UserError as error:
        print_error(error)
    except OSError as error:  # a full disk, a directory that was removed
        print_error(f"{error}{advice}")
    except jax.errors.JaxRuntimeError as error:  # a device's memory is full
        print_error(f"the device failed ({first_line(error)}){advice}")
    except KeyboardInterrupt:  # before the first step, or a second time
        print_line("interrupted" + (": what no checkpoint holds is lost" if trains else ""), error=True)
        return 130
    return 2


def run_inference_command(work: Callable[[], None], no_compilation_cache: bool) -> int:
    """`run_command` for a command on a run or a file, on any device."""

    def checked() -> None:
        check_devices()
        work()

    return run_command(checked, cache=not no_compilation_cache)


def enable_compilation_cache() -> None:
    """Let JAX cache compiled programs in the user's cache directory, so that the next start need not compile.

    ``JAX_COMPILATION_CACHE_DIR`` takes precedence. JAX keys each program by its own version, the program, the
    device and XLA's flags. Without a directory that exists or can be made, one line is printed and nothing is cached.
    """
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if given == "" or (given is not None and "://" in given):  # JAX then keeps none, or keeps it in a bucket
        return
    try:
        folder = platformdirs.user_cache_path("dcgan-jax") / "xla" if given is None else Path(given).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, KeyError) as error:  # the latter two: the user has no home directory
        jax.config.update("jax_compilation_cache_dir", None)
        _warn_of_cache(first_line(error))
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # By default programs that compile in less than a second are not cached: a start has some fifty of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _warn_of_cache(reason: str) -> None:
    print_line(
        f"warning: compiled programs cannot be cached ({reason}): the next start compiles again. "
        "JAX_COMPILATION_CACHE_DIR names another directory, --no-compilation-cache none",
        error=True,
    )


@contextlib.contextmanager
def _one_cache_warning() -> Iterator[None]:
    """Within, one line is printed if the cache cannot be read or written; JAX warns of each program."""
    with warnings.catch_warnings():
        show, warned = warnings.showwarning, False

        def show_once(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            nonlocal warned
            if "persistent compilation cache" not in str(message):
                show(message, *args, **kwargs)
            elif not warned:
                warned = True
                _warn_of_cache(str(message).partition("': ")[2] or str(message).splitlines()[0])

        warnings.showwarning = show_once
        warnings.filterwarnings("always", message="Error .* persistent compilation cache")
        yield


def add_config_flags(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """Add a flag for each field of `TrainConfig` but those ``without``."""
    for field in dataclasses.fields(TrainConfig):
        if not field.metadata["flag"] or field.name in without:
            continue
        text = field.metadata["help"]
        if field.metadata["choices"]:
            text += "; one of " + ", ".join(field.metadata["choices"])
        if field.default is not None:
            text += f" (default: {field.default})"
        flag, kind = "--" + field.name.replace("_", "-"), field.metadata["kind"]
        parse = _optional(kind, none) if (none := field.metadata["none"]) else kind
        # Absent flags stay absent: a run that resumes takes them from its own config.
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS)
            continue
        parser.add_argument(
            flag,
            type=parse,
            metavar="N" if kind is int else field.name.upper().replace("_", "-"),
            help=text,
            default=argparse.SUPPRESS,
        )


def add_cache_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-compilation-cache``."""
    parser.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="compile again, and do not use the user's cache directory",
    )


def add_huge_pages_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-huge-pages``, which `restart_with_huge_pages` has obeyed before the arguments are parsed."""
    parser.add_argument(
        huge_pages.FLAG,
        action="store_true",
        help="on Linux, do not start again with huge pages, with which a CPU trains 1.2 times as fast",
    )


def _optional(kind: type, none: str) -> Callable[[str], Any]:
    """A parser of ``kind`` for which the word ``none`` is None, so that a resumed run can unset the field."""

    def parse(text: str) -> Any:
        return None if text == none else kind(text)

    parse.__name__ = kind.__name__  # argparse uses it in its messages
    return parse


def add_run(parser: argparse.ArgumentParser, images: str = "") -> None:
    """Add RUN, and the help text of what ``images`` the command takes in its place."""
    text = f"a run directory, or the name of pretrained weights: {', '.join(PRETRAINED)}"
    parser.add_argument("source", metavar="RUN", help=text + images)


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of commands on a run: its checkpoint, its weights, and the compilation cache."""
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="step of the checkpoint (default: the latest)")
    parser.add_argument(
        "--weights",
        choices=("average", "last"),
        help="the moving average that the run kept, or the last weights (default: the average where there is one)",
    )
    add_cache_flag(parser)


class LoadedRun(NamedTuple):
    """A run to sample from, to evaluate or to export.

    Attributes:
      run: with the chosen weights in the generator's place.
      metadata: ``run``, ``step`` and ``weights``, as JSON holds them.
      title: the same, human-readable.
    """

    run: Run
    metadata: dict[str, Any]
    title: str


def load_source(source: str | Path, args: argparse.Namespace) -> LoadedRun:
    """The run to sample from, evaluate or export, by the flags of `add_run_flags`; or the pretrained weights.

    A name of pretrained weights comes before a run directory of that name: ``./mnist`` is the latter.

    Raises:
      UserError: as `load_run`; or if the average is requested and the run has none.
    """
    if str(source) in PRETRAINED:
        return _load_pretrained(str(source), args)
    run_dir = local_path(source, "RUN")
    run = load_run(run_dir, args.checkpoint)
    state, weights = run.state, "last"
    if args.weights == "average" and state.ema is None:
        raise ConfigError(
            f"the run in {run_dir} keeps no average: its preset has none, and it was trained without --ema"
        )
    if state.ema is not None and args.weights != "last":
        state, weights = averaged(state), weights_name(state)
    metadata = {"run": str(run_dir), "step": int(state.step), "weights": weights}
    title = f"{run_dir} at step {metadata['step']:,}, {describe_weights(weights)}"
    return LoadedRun(run._replace(state=state), metadata, title)


def _load_pretrained(name: str, args: argparse.Namespace) -> LoadedRun:
    """Pretrained weights as a run of the preset that trained them; its optimizers are new."""
    for flag in ("checkpoint", "weights"):
        if getattr(args, flag) is not None:
            raise ConfigError(f"--{flag} is for runs: {name} names pretrained weights, and ./{name} a run directory")
    config = TrainConfig(preset=TRAINED_BY, dataset=name)
    state, keys = create_state(config)
    state = with_pretrained(state, name).replace(ema=None)
    metadata = {"run": name, "step": describe_pretrained(name)["step"], "weights": "pretrained"}
    return LoadedRun(Run(config, state, keys, {}), metadata, f"the pretrained weights {name}")


def new_path(out: str | None, stem: str, suffix: str) -> Path:
    """The path of ``--out``, or in the working directory the first of ``stem``, ``stem-2``, ... that is not there.

    Raises:
      ConfigError, PathError: if the path cannot be printed, or is not a local one.
    """
    if out is not None:
        check_printable(out)
        return local_path(out, "--out")
    names = (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}" for number in itertools.count(1))
    return next(Path(name) for name in names if not os.path.lexists(name))


def recorded_run(source: str) -> Path:
    """The run directory of RUN, for what pretrained weights do not have: curves and samples by step.

    Raises:
      ConfigError, PathError: if it is the name of pretrained weights and no such directory is there, or no local path.
    """
    run_dir = local_path(source, "RUN")
    if source in PRETRAINED and not run_dir.exists():
        raise ConfigError(
            f"{source} names pretrained weights, which have no curves and no samples by step: give a run directory, or "
            "draw with the weights by sample, interpolate or report --explore"
        )
    return run_dir


def check_printable(*names: str) -> None:
    """Raises: ConfigError for a file name that could not be printed when the work is done."""
    for name in names:
        if not name.isprintable():
            raise ConfigError(f"file names must be printable text, got {name!r}")


def check_new_file(path: Path, suffixes: tuple[str, ...], note: str = "") -> None:
    """Raises: ConfigError unless ``--out`` has one of the suffixes, is new, and its directory can be written."""
    check_suffix(path, suffixes, note)
    if os.path.lexists(path):
        raise ConfigError(f"{path} already exists: choose another --out")
    check_folder(path.parent)


def check_suffix(path: Path, suffixes: tuple[str, ...], note: str = "") -> None:
    """Raises: ConfigError unless ``--out`` has one of the suffixes."""
    if not path.name.endswith(suffixes):
        raise ConfigError(f"--out must end in {' or '.join(suffixes)}{note}, got {path}")


def check_folder(folder: Path) -> None:
    """Raises: ConfigError unless the directory of ``--out`` exists and can be written."""
    if not folder.is_dir():
        problem = "is not a directory" if os.path.lexists(folder) else "does not exist"
        raise ConfigError(f"the directory {folder} of --out {problem}: create it, or choose another --out")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write in the directory {folder} of --out: choose another --out")
