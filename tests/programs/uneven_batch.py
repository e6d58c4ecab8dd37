"""A batch of two on eight devices, on two of them, and on all, and a batch of eight of three images.

The exit codes of ``dcgan-jax train``, as JSON.
"""

import json
import sys

import numpy as np
from helpers import run_cli


def main(run_dir):
    train = ["train", "--steps", 1, "--batch-size", 2, "--workdir", run_dir]
    np.save(f"{run_dir}.npy", np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8))
    codes = [
        run_cli(*train, "--dry-run"),
        run_cli(*train, "--devices", 2, "--dry-run"),
        run_cli(*train, "--devices", "all"),
        run_cli(*train, "--batch-size", 8, "--dataset", f"{run_dir}.npy"),
    ]
    print(json.dumps(codes))


if __name__ == "__main__":
    sys.stderr = sys.stdout
    main(sys.argv[1])
