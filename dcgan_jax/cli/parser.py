"""The parser that the commands share, without the packages that take seconds to import."""

import argparse
from typing import NoReturn

from dcgan_jax.console import print_line


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Argparse would print its whole usage first."""
        print_error(f"{message} (--help lists the flags)")
        self.exit(2)


def print_error(error: object) -> None:
    """One line on standard error, whatever line breaks a file's name or a flag's value contains."""
    print_line("error: " + " ".join(str(error).splitlines()), error=True)
