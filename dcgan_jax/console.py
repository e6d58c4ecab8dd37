"""Standard output and standard error: no problem with them ends the work."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from dcgan_jax.errors import UserError


class OutputError(UserError):
    """A command's result cannot be written to standard output."""


def counted(number: int, name: str) -> str:
    """``1 image``, ``1,200 images``, and the same for every name with a plural in s."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def print_line(line: str, *, error: bool = False) -> None:
    """Print a line at once, on standard output or on standard error. It never raises.

    A stream that is missing, closed or full, or whose reader has left, is ignored: the line only describes the work,
    which continues. Characters that are not in the stream's encoding are escaped.
    """
    with contextlib.suppress(Exception):  # a notebook's stream may raise anything
        _write(sys.stderr if error else sys.stdout, line + "\n")


def print_result(text: str) -> None:
    """Print a command's result, which is lost if it cannot be written.

    Raises:
      OutputError: if it cannot be written, unless its reader has left or closed the stream.
    """
    try:
        _write(sys.stdout, text + "\n")
    except (BrokenPipeError, ValueError):
        pass
    except OSError as error:
        raise OutputError(f"cannot write to standard output ({error.strerror})") from error


def _write(stream: Any, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    flush = getattr(stream, "flush", None)
    if flush is not None:
        flush()


def terminal_columns(stream: Any) -> int:
    """The width of the terminal that a stream writes to; 0 if it is not a terminal, or its width is unknown."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except Exception:  # None, closed, or an object that only has ``write``
        return 0


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Give the process its three standard streams for the duration: the null device in place of those that are closed.

    Otherwise a closed descriptor (``2>&-``) would be given to the next file that is opened, and libraries' output would
    end up in that file. At the end, text that still cannot be written is dropped: Python would report it at exit, and
    change the exit code.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest free number, this one
    with contextlib.ExitStack() as stack:
        for name, redirect in (("stdout", contextlib.redirect_stdout), ("stderr", contextlib.redirect_stderr)):
            stream = getattr(sys, name)
            if stream is None or getattr(stream, "closed", False):
                stack.enter_context(redirect(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                _flush_or_drop(stream)


def _flush_or_drop(stream: Any) -> None:
    try:
        getattr(stream, "flush", lambda: None)()
    except Exception:  # as in `print_line`
        with contextlib.suppress(Exception):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
