"""Turning a command's errors into one line and an exit code, and the library's names in messages into flags."""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax

from dcgan_jax.cli.cache import enable_compilation_cache, one_cache_warning
from dcgan_jax.cli.parser import print_error
from dcgan_jax.console import print_line
from dcgan_jax.errors import UserError, first_line
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.distributed import JobFailedError, PrimaryProcessError, check_devices
from dcgan_jax.training.finite import NotFiniteError

# What the library's messages name in backticks: fields of the config, and arguments of functions.
_FIELDS = tuple(field.name for field in dataclasses.fields(TrainConfig))
_ARGUMENTS = ("checkpoint", "distributed", "out", "profile", "recipe", "resume", "samples", "weights")
_FLAGS = {name: "--" + name.replace("_", "-") for name in (*_FIELDS, *_ARGUMENTS)} | {
    "init": "--recipe",
}
_NAMED = re.compile(r"(?<![^\s(])`(\w+)(?:=([^`]*))?`")  # not within a path or a word


def as_flags(text: str) -> str:
    """A message of the library, with flags in place of the fields and arguments that it names in backticks.

    A name becomes its flag, a name with a value (``eval_every=N``) the flag and the value, without the quotes of a
    string, and ``resume=True`` the flag alone. A name that is no flag loses its backticks; other code keeps them.
    """
    return _NAMED.sub(_flag, text)


def _flag(match: re.Match[str]) -> str:
    name, value = match.groups()
    if name not in _FLAGS:
        return name if value is None else match.group()
    flag = _FLAGS[name]
    if value == "False":
        return flag.replace("--", "--no-", 1)
    if value in (None, "True"):
        return flag
    return f"{flag}{'=' if value.startswith('-') else ' '}" + value.strip("'")  # argparse takes -1,1 for a flag


class _InFlags:
    """Wraps a standard stream of a command, and applies `as_flags` to all text."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(as_flags(text))
        return len(text)

    def flush(self) -> None:
        getattr(self._stream, "flush", lambda: None)()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _lines_in_flags() -> Iterator[None]:
    """Within this context, `as_flags` is applied to all output: errors, and the notes and warnings of a run."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:
            stack.enter_context(contextlib.redirect_stdout(_InFlags(sys.stdout)))
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stderr(_InFlags(sys.stderr)))
        yield


@_lines_in_flags()
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
        with one_cache_warning():
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
    except KeyboardInterrupt:  # before the first step, or a second Ctrl-C
        print_line("interrupted" + (": what no checkpoint holds is lost" if trains else ""), error=True)
        return 130
    return 2


def run_inference_command(work: Callable[[], None], no_compilation_cache: bool) -> int:
    """`run_command` for a command on a run or a file, on any device."""

    def checked() -> None:
        check_devices()
        work()

    return run_command(checked, cache=not no_compilation_cache)
