"""The tutorial's entry: ``python train.py --steps 10000``. The algorithm is in dcgan_jax/step.py."""

import sys

from dcgan_jax.cli import restart_with_huge_pages, tutorial_main

if __name__ == "__main__":
    restart_with_huge_pages(["train", *sys.argv[1:]])
    sys.exit(tutorial_main())
