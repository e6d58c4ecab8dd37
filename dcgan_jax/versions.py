"""Versions of installed packages. It imports nothing that is slow, for ``dcgan-jax --version``."""

from importlib import metadata


def package_version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed, as when it is imported from a source tree."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
