"""Installed packages: their versions, and optional ones. This module imports nothing that is slow."""

import importlib
from importlib import metadata
from typing import Any


def package_version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed, for example if it runs from a source tree."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def require(module: str, extra: str, user: str, error: type[Exception]) -> Any:
    """Import a module of an optional package.

    Args:
      module: its name.
      extra: the extra of this package that installs it.
      user: what needs it, for the error: for example a field in backticks.
      error: the class of error to raise.

    Raises:
      error: if the package, or one that it imports, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as failure:
        missing = (failure.name or module).split(".")[0]
        raise error(f"{user} needs the package {missing}: pip install 'dcgan-jax[{extra}]'") from failure
