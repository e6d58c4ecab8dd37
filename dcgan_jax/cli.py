"""The command line: arguments to settings, and every error to one line."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import jax
import platformdirs

from dcgan_jax.checkpoint import CheckpointError
from dcgan_jax.config import ConfigError, TrainConfig
from dcgan_jax.data import DatasetError
from dcgan_jax.loop import NotFiniteError, check, fresh_state, summarize, train
from dcgan_jax.run_folder import RunFolderError, choose_folder, read_config

_USER_ERRORS = (ConfigError, DatasetError, RunFolderError, CheckpointError)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Argparse prints its whole usage first; one line is enough."""
        _tell(f"{message} (--help lists the flags)")
        self.exit(2)


def _tell(error: object) -> None:
    """One line on standard error, whatever line breaks a file's name or a flag's value brings along."""
    print("error:", " ".join(str(error).splitlines()), file=sys.stderr)


def _train_parser(prog: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description="Train the DCGAN of the Keras tutorial.",
        allow_abbrev=False,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    for field in dataclasses.fields(TrainConfig):
        text = field.metadata["help"]
        if field.metadata["choices"]:
            text += "\none of " + ", ".join(field.metadata["choices"])
        if field.default is not None:
            text += f" (default: {field.default})"
        kind = field.metadata["kind"]
        # Absent flags stay absent: a run that goes on takes them from its own settings.
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=kind,
            metavar="N" if kind is int else field.name.upper().replace("_", "-"),
            help=text,
            default=argparse.SUPPRESS,
        )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --workdir, or with the newest under runs/",
    )
    parser.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="compile afresh, and leave the user's cache folder alone",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, say what would run, write nothing")
    return parser


def train_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Train with these arguments (the process's if None).

    Returns:
      The exit code: 0 done, or saved after SIGTERM; 2 unusable input or a fault, told in one
      line; 3 a loss or parameter that is not finite; 130 saved after Ctrl-C.
    """
    given = vars(_train_parser(prog).parse_args(argv))
    resume, dry_run = given.pop("resume"), given.pop("dry_run")
    if not given.pop("no_compilation_cache") and not dry_run:
        _keep_compiled_programs()
    try:
        config = TrainConfig(**given)
        if resume:
            folder = choose_folder(config.workdir, resume)
            config = dataclasses.replace(read_config(folder), **{**given, "workdir": str(folder)})
        if dry_run:
            _describe(config, resume)
            return 0
        outcome = train(config, resume=resume)
    except _USER_ERRORS as error:
        _tell(error)
        return 2
    except NotFiniteError as error:
        _tell(error)
        return 3
    except OSError as error:  # a full disk, a folder taken away
        _tell(f"{error}: what was saved before is in the run folder, go on with --resume")
        return 2
    except KeyboardInterrupt:  # before the first step, or a second time
        print("interrupted; nothing was saved since the last checkpoint", file=sys.stderr)
        return 130
    return 130 if outcome.stopped_by == signal.SIGINT else 0


def _keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the user's cache folder, so that the next start need not compile.

    ``JAX_COMPILATION_CACHE_DIR`` goes first. JAX keys each program by its own version, the program, the
    device and XLA's flags; a folder that cannot be used costs a warning.
    """
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(platformdirs.user_cache_path("dcgan-jax") / "xla"))
    # By default programs that compile in less than a second are left out: a start has some fifty of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _describe(config: TrainConfig, resume: bool) -> None:
    folder = choose_folder(config.workdir, resume)
    images = check(config, folder, resume)
    print(summarize(fresh_state(config)[0]))
    print(dataclasses.replace(config, workdir=str(folder)).to_json(), end="")
    print(f"{'would go on' if resume else 'would train'} in {folder}, on {len(images):,} images; nothing was written")


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m dcgan_jax COMMAND``; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    commands = {"train": train_main}
    parser = _Parser(prog="python -m dcgan_jax", description="The Keras tutorial's DCGAN in JAX.")
    parser.add_argument("command", choices=commands, help="what to do; COMMAND --help lists its flags")
    command = parser.parse_args(argv[:1]).command
    return commands[command](argv[1:], prog=f"python -m dcgan_jax {command}")
