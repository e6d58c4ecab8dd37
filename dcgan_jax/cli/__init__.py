"""The command line: one module per command, imported when it runs."""

from dcgan_jax.cli.huge_pages import restart_with_huge_pages
from dcgan_jax.cli.main import main, program, tutorial_main

__all__ = ["main", "program", "restart_with_huge_pages", "tutorial_main"]
