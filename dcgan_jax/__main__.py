"""``python -m dcgan_jax train``: as ``python train.py``, wherever the package is installed."""

import sys

from dcgan_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
