"""``dcgan-jax COMMAND``: the entry point of all commands."""

import argparse
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from dcgan_jax.cli.huge_pages import restart_with_huge_pages
from dcgan_jax.cli.parser import Parser
from dcgan_jax.console import print_line, standard_streams
from dcgan_jax.versions import package_version

_COMMANDS = {
    "data": "say what a data set holds, and write it prepared",
    "train": "train a run, or resume one",
    "sample": "draw images with a run's generator",
    "interpolate": "draw the way from one image of a generator to another",
    "project": "find the noise that draws a picture",
    "animate": "show how a run's samples changed, as an animation",
    "plot": "plot losses, accuracies and FID of runs",
    "evaluate": "score a run's images, or those of files, beside real ones",
    "report": "write a page on runs for a browser: curves, samples, scores",
    "train-classifier": "train a classifier to score runs on other data by",
    "export": "write networks for ONNX, TensorFlow Lite, PyTorch and others",
    "import": "start a run with weights of safetensors, PyTorch or Keras",
}


def main(argv: Sequence[str] | None = None, prog: str = "dcgan-jax") -> int:
    """Run a command with these arguments (the process's if None); the exit code."""
    with standard_streams():
        argv = sys.argv[1:] if argv is None else argv
        commands = "".join(f"\n  {name:<18}{about}" for name, about in _COMMANDS.items())
        parser = Parser(
            prog=prog,
            usage=f"{prog} [-h] [--version] COMMAND ...",
            description=f"The Keras tutorial's DCGAN in JAX.\n\ncommands:{commands}\n\nCOMMAND --help lists its flags.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        version = package_version("dcgan-jax") or "(not installed)"
        parser.add_argument("--version", action="version", version=f"dcgan-jax {version}")
        parser.add_argument("command", choices=_COMMANDS, help=argparse.SUPPRESS)
        command = parser.parse_args(argv[:1]).command
        return _run(command, argv[1:], f"{prog} {command}")


def program(prog: str = "dcgan-jax") -> int:
    """The command ``dcgan-jax``: `main` with the process's arguments, restarted with huge pages if useful."""
    restart_with_huge_pages(sys.argv[1:])
    return main(prog=prog)


def tutorial_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """``main`` with the command ``train``, the tutorial's ``train.py``; exit codes as in `cli.train`."""
    with standard_streams():
        return _run("train", argv, prog)


def _run(command: str, argv: Sequence[str] | None, prog: str | None) -> int:
    # Another program that calls `main` has imported JAX before, or handles Ctrl-C itself.
    own_process = signal.getsignal(signal.SIGINT) is signal.default_int_handler and "jax" not in sys.modules
    try:
        with contextlib.ExitStack() as importing:
            if own_process:
                importing.enter_context(_interrupt_handler(_exit_at_once))
                importing.enter_context(_without_garbage_collection())
            run = _import_command(command)
        return run(argv, prog)
    except KeyboardInterrupt:
        print_line("interrupted", error=True)
        return 130
    finally:
        if own_process:  # all is done: Ctrl-C while Python exits would print a traceback
            _set_interrupt_handler(signal.SIG_DFL)


def _import_command(name: str) -> Callable[..., int]:
    """A command's function. JAX and the packages around it, which take seconds to import, are imported here."""
    match name:
        case "data":
            from dcgan_jax.cli.data import data_main as run
        case "train":
            from dcgan_jax.cli.train import train_main as run
        case "sample":
            from dcgan_jax.cli.sample import sample_main as run
        case "interpolate":
            from dcgan_jax.cli.interpolate import interpolate_main as run
        case "project":
            from dcgan_jax.cli.project import project_main as run
        case "animate":
            from dcgan_jax.cli.animate import animate_main as run
        case "plot":
            from dcgan_jax.cli.plot import plot_main as run
        case "evaluate":
            from dcgan_jax.cli.evaluate import evaluate_main as run
        case "report":
            from dcgan_jax.cli.report import report_main as run
        case "train-classifier":
            from dcgan_jax.cli.train_classifier import train_classifier_main as run
        case "export":
            from dcgan_jax.cli.export import export_main as run
        case _:
            from dcgan_jax.cli.import_weights import import_main as run
    return run


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Within this context, garbage collection is off; objects created within are exempt from it afterwards.

    Modules stay, and scanning them, here and while the first step is traced, takes a tenth of the start-up time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _interrupt_handler(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    _set_interrupt_handler(handler)
    try:
        yield
    finally:
        _set_interrupt_handler(signal.default_int_handler)


def _set_interrupt_handler(handler: Any) -> None:
    with contextlib.suppress(ValueError):  # only the main thread may handle signals
        signal.signal(signal.SIGINT, handler)


def _exit_at_once(number: int, frame: Any) -> NoReturn:
    """Handle Ctrl-C during imports, where some packages would swallow the exception."""
    del number, frame
    print_line("interrupted", error=True)
    os._exit(130)
