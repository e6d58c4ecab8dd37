"""A batch of two on eight devices, on two of them, and on all: the exit codes of ``dcgan-jax train``, as JSON."""

import json
import sys

from helpers import run_cli


def main(run_dir):
    train = ["train", "--steps", 1, "--batch-size", 2, "--workdir", run_dir]
    codes = [
        run_cli(*train, "--dry-run"),
        run_cli(*train, "--devices", 2, "--dry-run"),
        run_cli(*train, "--devices", "all"),
    ]
    print(json.dumps(codes))


if __name__ == "__main__":
    sys.stderr = sys.stdout
    main(sys.argv[1])
