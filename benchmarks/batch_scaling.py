"""Time and memory of a step by batch size.

python -m benchmarks.batch_scaling --batch-sizes 32 64 128 256 512
"""

import argparse
import statistics
import sys
from typing import Any

from benchmarks.common import add_json_flag, machine, markdown_table, seconds_cell, summary, write_json
from benchmarks.systems import OURS, Worker

_STEPS_PER_TURN = 2


def measure(batch_sizes: list[int], rounds: int) -> dict[str, Any]:
    """Measure each batch size in its own process, in turn: a warm-up step, then two timed ones."""
    workers = {}
    seconds: dict[int, list[float]] = {n: [] for n in batch_sizes}
    memory = {}
    try:
        for n in batch_sizes:
            print(f"batch {n}: starting and compiling", file=sys.stderr, flush=True)
            workers[n] = Worker(OURS, n)
        for _ in range(rounds):
            for n, worker in workers.items():
                answers = worker.turn(_STEPS_PER_TURN)
                seconds[n] += [answer["seconds"] for answer in answers]
                memory[n] = answers[-1]["memory"]
    finally:
        for worker in workers.values():
            worker.close()
    return {
        "machine": machine(),
        "rounds": rounds,
        "batch_sizes": {
            str(n): {
                "seconds_per_step": summary(times),
                "images_per_second": n / statistics.median(times),
                "compile_seconds": max(0.0, workers[n].first_step - statistics.median(times)),
                "peak_memory_mib": memory[n],
            }
            for n, times in seconds.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    rows = [
        (
            n,
            seconds_cell(row["seconds_per_step"]),
            f"{row['images_per_second']:.0f}",
            f"{row['compile_seconds']:.1f} s",
            f"{row['peak_memory_mib'] / 1024:.2f} GiB",
        )
        for n, row in result["batch_sizes"].items()
    ]
    header = ("batch", "seconds per step, median (range)", "images per second", "compile", "peak memory")
    return markdown_table(header, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="How a step's time and memory grow with the batch.")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each batch size (default: 7)")
    add_json_flag(parser)
    args = parser.parse_args()
    if not all(1 <= n <= 60_000 for n in args.batch_sizes) or args.rounds < 1:
        parser.error("--batch-sizes must be between 1 and 60000, and --rounds at least 1")
    result = measure(sorted(set(args.batch_sizes)), args.rounds)
    print(table(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
