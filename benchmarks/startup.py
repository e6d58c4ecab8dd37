"""The time until training begins: import, first start, second start.

    python -m benchmarks.startup

Each figure is of a new process. The first start compiles with an empty cache, the second reads from it. "Begins" is
the time from the command to the dispatch of the first step, "done" that to the first line of metrics.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import ROOT, add_json_flag, machine, summary, write_json

# The command itself imports the packages: how it does so is part of the time.
_REPORT = """
import sys, time
from dcgan_jax import cli
if hasattr(cli, "restart_with_huge_pages"):  # `guard` starts earlier revisions, too
    cli.restart_with_huge_pages(["train", *sys.argv[1:]])
command_line = sys.modules["dcgan_jax.cli.main"]
import_command = command_line._import_command
def imported(name):
    run = import_command(name)
    from dcgan_jax.training.device_loop import StepRunner
    advance = StepRunner.advance
    def timed(*args, **kwargs):
        out = advance(*args, **kwargs)
        print("first step", time.time(), flush=True)
        return out
    StepRunner.advance = timed
    return run
command_line._import_command = imported
sys.exit(cli.main(["train", *sys.argv[1:]]))
"""


def import_seconds() -> float:
    """Seconds to import the package in a new process, without the interpreter's own start."""
    code = "import time; t = time.perf_counter(); from dcgan_jax import train; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def start_seconds(cache_home: str, batch_size: int, tree: Path = ROOT) -> tuple[float, float]:
    """Seconds from the command ``train --steps 1`` of a source tree to its first dispatch, and to its metrics."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.py"
        program.write_text(_REPORT)
        flags = ["--steps", "1", "--batch-size", str(batch_size), "--workdir", str(Path(folder) / "run")]
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, program, *flags],
            env={**environment, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": cache_home, "PYTHONUNBUFFERED": "1"},
            cwd=tree,
            stdout=subprocess.PIPE,
            text=True,
        )
        dispatched = finished = 0.0
        assert process.stdout
        for line in process.stdout:
            if line.startswith("first step"):
                dispatched = float(line.split()[-1]) - began
            elif line.startswith("1: "):
                finished = time.time() - began
        if process.wait():
            raise RuntimeError("train.py failed; its output is above")
    return dispatched, finished


def main() -> int:
    parser = argparse.ArgumentParser(description="How long it takes until training begins.")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5, help="imports and second starts (default: 5)")
    add_json_flag(parser)
    args = parser.parse_args()
    import_seconds()  # the first one reads the files from the disk
    imports = [import_seconds() for _ in range(args.rounds)]
    with tempfile.TemporaryDirectory() as cache:
        first = start_seconds(cache, args.batch_size)
        second = [start_seconds(cache, args.batch_size) for _ in range(args.rounds)]
    result = {
        "machine": machine(),
        "batch_size": args.batch_size,
        "import_seconds": summary(imports),
        "first_start": {"first_step_begins": first[0], "first_step_done": first[1]},
        "second_start": {
            "first_step_begins": summary([each[0] for each in second]),
            "first_step_done": summary([each[1] for each in second]),
        },
    }
    begins, done = result["second_start"].values()
    print(f"import: {result['import_seconds']['median']:.2f} s (best {result['import_seconds']['min']:.2f} s)")
    print(f"first start: the first step begins after {first[0]:.1f} s and is done after {first[1]:.1f} s")
    print(
        f"second start: the first step begins after {begins['median']:.1f} s (best {begins['min']:.1f} s) "
        f"and is done after {done['median']:.1f} s"
    )
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
