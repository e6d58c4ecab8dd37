"""The command line: one file a command."""

from dcgan_jax.cli.main import main
from dcgan_jax.cli.train import train_main

__all__ = ["main", "train_main"]
