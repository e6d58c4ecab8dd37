"""``python -m dcgan_jax COMMAND``: the same as ``dcgan-jax COMMAND``, wherever the package is installed."""

import os
import sys

# Python puts the working directory first, which may be a run directory: its files must not be imported.
if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from dcgan_jax.cli import program  # noqa: E402

if __name__ == "__main__":
    sys.exit(program("python -m dcgan_jax"))
