"""Benchmark a GPU in nine minutes: steps per second, share of peak, idle share, minutes to a FID.

    benchmarks/gpu.sh              # one NVIDIA GPU
    benchmarks/gpu.sh --resume     # what was left out, when the time was up
    benchmarks/gpu.sh --small      # a trial with small numbers, on a CPU too

Measurements run one after the other, each in its own process, the most important first: see `plan`. A failure is a row
with its reason. The JSON is written after each row. The estimated time of a row on an H200 with 16 cores, for starting,
compiling or choosing kernels, and three seconds of steps:

| row | seconds | rows in all | in the first nine minutes |
|---|---|---|---|
| dcgan-jax | 20 | 12 | all but float32 at 64, 1,024 and 4,096 |
| PyTorch eager, or with channels last | 10 | 24 | likewise; eager at 256 alone |
| PyTorch compiled | 60 | 12 | TF32 and bfloat16 at 256 |
| Keras on JAX | 25 | 12 | TF32 at 256 |
| idle share | 45 | 1 | yes |
| minutes to quality | 60 | 1 | if the others are no slower than that |

The whole plan takes three calls.
"""

import argparse
import functools
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import gpu_jobs
from benchmarks.common import RESULTS, add_json_flag, machine, markdown_table, write_json
from benchmarks.gpu_jobs import FULL, OURS, PRECISIONS, SMALL, SYSTEMS, JobError, Numbers
from benchmarks.step_time import minimum_multiply_adds
from dcgan_jax.errors import first_line

IDLE, QUALITY = "idle share", "minutes to quality"
_EXPECTED = {OURS: 20, "keras-jax": 25, "torch-compiled": 60, IDLE: 45, QUALITY: 60}  # seconds; 10 for the others
_LONGEST = 120.0  # limit of a measurement, in seconds
_CLOSING = 20.0  # seconds reserved for the end


class Job(NamedTuple):
    """A measurement: its row's name, its kind, its expected seconds, and the function that makes it.

    ``measure`` takes a deadline of `time.monotonic`, and raises `JobError`.
    """

    name: str
    kind: str
    expected: float
    measure: Callable[[float], dict[str, Any]]


def plan(numbers: Numbers) -> list[Job]:
    """All measurements, the most important first."""
    main, *others = numbers.batch_sizes
    best, rest = (OURS, "torch-channels-last"), ("torch-compiled", "torch", "keras-jax")
    fast, exact = PRECISIONS[:2], PRECISIONS[2:]

    def steps(batch_sizes: Iterable[int], precisions: Iterable[str], names: Iterable[str]) -> list[Job]:
        jobs = []
        for batch_size, precision, name in itertools.product(batch_sizes, precisions, names):
            measure = functools.partial(gpu_jobs.steps, name, precision, batch_size, numbers)
            jobs.append(Job(f"{name}, {precision}, batch {batch_size}", name, _EXPECTED.get(name, 10), measure))
        return jobs

    idle = Job(IDLE, IDLE, _EXPECTED[IDLE], functools.partial(gpu_jobs.idle, main, numbers))
    quality = Job(QUALITY, QUALITY, _EXPECTED[QUALITY], functools.partial(gpu_jobs.quality, numbers))
    return [
        *steps([main], PRECISIONS, best),
        idle,
        *steps(others, fast, best),
        *steps([main], fast[:1], rest),
        *steps([main], fast[1:], rest[:2]),
        quality,
        *steps([main], fast[1:], rest[2:]),
        *steps([main], exact, rest),
        *steps(others, exact, best),
        *steps(others, PRECISIONS, rest),
    ]


def run(jobs: Sequence[Job], result: dict[str, Any], path: Path, deadline: float) -> None:
    """Make the measurements, and write the result before the first and after each.

    Args:
      jobs: the measurements, in order; those not expected to be done in time are left out.
      result: gets a row in ``rows`` for each, and in ``left_out`` the names of those without one.
      path: the JSON file.
      deadline: the `time.monotonic` at which the last one is stopped.
    """
    began = time.monotonic()
    result["left_out"] = [job.name for job in jobs]
    write_json(path, result)
    for job in jobs:
        start = time.monotonic()
        if start + job.expected > deadline:
            continue
        print(f"{start - began:4.0f} s: {job.name}", file=sys.stderr, flush=True)
        try:
            figures = job.measure(min(deadline, start + _LONGEST))
        except Exception as error:  # whatever it is, it must not cost the other rows
            if time.monotonic() >= deadline:
                break
            reason = str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {first_line(error)}"
            figures = {"failed": reason}
            print(f"{job.name}: {reason}", file=sys.stderr, flush=True)
        now = time.monotonic()
        result["rows"].append({"name": job.name, "kind": job.kind, **figures, "seconds": now - start})
        result["left_out"].remove(job.name)
        write_json(path, result)


def peaks(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    """The best rate of matrix products of each precision, in FLOP/s."""
    found: dict[str, float] = {}
    for row in rows:
        if "peak_flops" in row:
            found[row["precision"]] = max(row["peak_flops"], found.get(row["precision"], 0.0))
    return found


def share_of_peak(row: dict[str, Any], peak: float) -> float:
    """The FLOP/s of a row, by the minimum multiply-adds of a step, as a share of the rate of matrix products."""
    return 2 * minimum_multiply_adds() * row["batch_size"] * row["steps_per_second"]["median"] / peak


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the steps, by batch and precision, the fastest first."""

    def place(row: dict[str, Any]) -> tuple[float, ...]:
        return row["batch_size"], PRECISIONS.index(row["precision"]), -row["steps_per_second"]["median"]

    best, lines = peaks(rows), []
    for row in sorted((row for row in rows if "steps_per_second" in row), key=place):
        peak = best.get(row["precision"])
        share = f"{share_of_peak(row, peak):.1%}" if peak else ""
        first = f"{row['first_step_seconds']:.1f} s"
        rates = (_rate_cell(row["steps_per_second"]), _rate_cell(row["one_by_one"]))
        lines.append((f"{row['batch_size']:,}", row["precision"], row["system"], *rates, share, first))
    header = (
        "batch",
        "precision",
        "system",
        "steps per second, median (range)",
        "one by one",
        "share of peak",
        "first step",
    )
    return markdown_table(header, lines)


def _rate_cell(row: dict[str, float]) -> str:
    return f"{row['median']:.4g} ({row['min']:.4g}-{row['max']:.4g})"


def counts(result: dict[str, Any]) -> str:
    """The number of rows, their total time, and how many failed or were left out."""
    rows = result["rows"]
    failed = sum("failed" in row for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    return f"{len(rows)} rows in {seconds:.0f} s: {failed} failed, {len(result['left_out'])} left out"


def report(result: dict[str, Any]) -> str:
    """The table, and a line for each of the other figures, for what failed and for what was left out."""
    rows = result["rows"]
    devices = sorted({row["device"] for row in rows if "device" in row})
    text = [f"{', '.join(devices) or 'No device'}; {result['machine']['cores']} cores:", "", table(rows), ""]
    for precision, peak in peaks(rows).items():
        text.append(f"Matrix products in {precision}: {peak / 1e12:.4g} TFLOP/s.")
    for row in rows:
        if "failed" in row:
            text.append(f"Failed: {row['name']}: {row['failed']}.")
        elif row["kind"] == IDLE:
            what = f"{row['traced_steps']} steps at batch {row['batch_size']}"
            text.append(f"The device idles for {row['idle_share']:.1%} of {what}.")
        elif row["kind"] == QUALITY:
            when = f"at step {row['step']:,} after {row['minutes']:.1f} minutes"
            text.append(f"FID {row['fid']:.4g} {when}; the aim was {row['aim']:g}.")
    if result["left_out"]:
        text.append(f"Left out: {'; '.join(result['left_out'])}.")
    text.append(f"{counts(result)}.")
    return "\n".join(text)


def backend() -> str:
    """JAX's default backend, found by another process, so that this one takes no device memory."""
    code = "import jax; print(jax.default_backend())"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description="What a GPU does, in nine minutes.")
    kinds = (*SYSTEMS, "idle", "quality")
    parser.add_argument("--small", action="store_true", help="a trial with small numbers, on whatever JAX computes on")
    parser.add_argument("--only", nargs="+", default=kinds, choices=kinds, metavar="WHAT", help=", ".join(kinds))
    parser.add_argument("--minutes", type=float, default=9.0, help="until it ends (default: 9)")
    parser.add_argument("--resume", action="store_true", help="measure only what the JSON does not have")
    add_json_flag(parser)
    parser.add_argument("--began", type=float, default=time.time(), help=argparse.SUPPRESS)  # gpu.sh's start
    args = parser.parse_args()
    deadline = time.monotonic() - (time.time() - args.began) + 60 * args.minutes - _CLOSING
    if args.minutes <= 0:
        parser.error(f"--minutes must be more than 0, got {args.minutes}")
    if not args.small and (found := backend()) != "gpu":
        parser.error(
            f"JAX computes on {found}, and this is for a GPU: pip install 'jax[cuda13]', or try it with --small"
        )
    path = args.json or RESULTS / ("gpu_small.json" if args.small else "gpu.json")
    about = {"machine": machine(), "small": args.small}
    rows: list[dict[str, Any]] = []
    if path.exists():
        if not args.resume:
            parser.error(f"{path} is there: --resume measures what it lacks; else move it away, or give another --json")
        saved = json.loads(path.read_text())
        if {name: saved[name] for name in about} != about:
            parser.error(f"{path} is of another machine, of other versions or of --small: give another --json")
        rows = [row for row in saved["rows"] if "failed" not in row]
    chosen = {{"idle": IDLE, "quality": QUALITY}.get(name, name) for name in args.only}
    done = {row["name"] for row in rows}
    jobs = [job for job in plan(SMALL if args.small else FULL) if job.kind in chosen and job.name not in done]
    result = {**about, "rows": rows}
    try:
        run(jobs, result, path, deadline)
    except KeyboardInterrupt:
        print("interrupted; --resume continues", file=sys.stderr)
        return 130
    finally:
        print(report(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
