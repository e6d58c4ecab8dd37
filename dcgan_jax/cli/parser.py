"""The commands' argument parser, which imports no packages that take seconds."""

import argparse
from typing import NoReturn

from dcgan_jax.console import print_line


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message alone, without the usage, and exit with code 2."""
        print_error(f"{message} (--help lists the flags)")
        self.exit(2)


def print_error(error: object) -> None:
    """Print an error as one line on standard error, even if a file name or a flag's value contains line breaks."""
    print_line("error: " + " ".join(str(error).splitlines()), error=True)
