"""The tutorial's entry: ``python train.py --steps 10000``. The algorithm is in dcgan_jax/step.py."""

import sys

from dcgan_jax.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main())
