"""The command line: one file a command, imported when it runs."""

from dcgan_jax.cli.main import main, train_main

__all__ = ["main", "train_main"]
