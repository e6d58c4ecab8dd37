"""Paths given by the user: ``~`` is expanded, and URLs are refused."""

import os
import re
from pathlib import Path

from dcgan_jax.errors import UserError

# A drive (C:/) has one letter. One slash is enough: ``Path`` turns ``gs://bucket`` into ``gs:/bucket``.
_URL = re.compile(r"[A-Za-z][\w+.@-]+:/")


class PathError(UserError):
    """A path cannot be used."""


def local_path(path: str | os.PathLike[str], name: str) -> Path:
    """The path, with ``~`` and ``~user`` expanded.

    Args:
      path: as given.
      name: the flag or argument, for the error.

    Raises:
      PathError: if it is a URL, or the home directory is unknown.
    """
    text = os.fspath(path)
    if _URL.match(text):
        raise PathError(f"{name} must be a local path, not a URL, got {text}")
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        raise PathError(f"{name} is {text}, whose home directory is not known: write ./{text} if it is a name")
    return Path(expanded)
