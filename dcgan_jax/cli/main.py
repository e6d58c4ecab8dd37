"""``dcgan-jax COMMAND``: one command line for all commands."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata

from dcgan_jax.cli.common import Parser
from dcgan_jax.cli.evaluate import evaluate_main
from dcgan_jax.cli.export import export_main
from dcgan_jax.cli.import_weights import import_main
from dcgan_jax.cli.sample import sample_main
from dcgan_jax.cli.train import train_main

_COMMANDS = {
    "train": (train_main, "train a run, or resume one"),
    "sample": (sample_main, "draw images with a run's generator"),
    "evaluate": (evaluate_main, "score a run's images, or an .npy of images, beside real ones"),
    "export": (export_main, "write a run's networks as StableHLO, ONNX, safetensors or Keras weights"),
    "import": (import_main, "start a run with weights from safetensors or Keras"),
}


def main(argv: Sequence[str] | None = None, prog: str = "dcgan-jax") -> int:
    """Run a command with these arguments (the process's if None); the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    commands = "".join(f"\n  {name:<10}{about}" for name, (_, about) in _COMMANDS.items())
    parser = Parser(
        prog=prog,
        usage=f"{prog} [-h] [--version] COMMAND ...",
        description=f"The Keras tutorial's DCGAN in JAX.\n\ncommands:{commands}\n\nCOMMAND --help lists its flags.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dcgan-jax {_version()}")
    parser.add_argument("command", choices=_COMMANDS, help=argparse.SUPPRESS)
    command = parser.parse_args(argv[:1]).command
    return _COMMANDS[command][0](argv[1:], prog=f"{prog} {command}")


def _version() -> str:
    try:
        return metadata.version("dcgan-jax")
    except metadata.PackageNotFoundError:  # imported from a source tree
        return "(not installed)"
