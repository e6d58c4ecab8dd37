"""``python -m dcgan_jax COMMAND``: as ``dcgan-jax COMMAND``, wherever the package is installed."""

import sys

from dcgan_jax.cli import program

if __name__ == "__main__":
    sys.exit(program("python -m dcgan_jax"))
