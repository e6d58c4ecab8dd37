"""Whether a change made training slower: two revisions of this repository measured in turn.

    python -m benchmarks.guard main HEAD --batch-size 64 --threshold 1.05

Each revision is checked out in a temporary folder and runs its own code. Measured are the step, the additional time of
its first call (compiling), the process's peak memory, and the first and the second start of ``train.py``. A turn
measures one revision and then the other, so that both see the same load of a shared machine, and ratios are taken
within a turn. The interval is the 95 % bootstrap interval of the median ratio, from 10,000 resamples: with few ratios
it is their range. The exit code is 1 if a whole interval is above the threshold, 2 for bad input.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import ROOT, add_json_flag, machine, markdown_table, write_json
from benchmarks.startup import start_seconds
from benchmarks.systems import LIBRARY, Worker

_RESAMPLES = 10_000
Measured = dict[str, list[tuple[float, float]]]  # pairs (before, after) by quantity: one a turn, or one a step


class Interval(NamedTuple):
    """The median of ratios, and the ends of its interval."""

    median: float
    low: float
    high: float


def commit(revision: str) -> str:
    """The commit that a revision names. Raises: ValueError if there is none."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"no revision {revision!r} in {ROOT}")
    return done.stdout.strip()


@contextlib.contextmanager
def worktree(name: str) -> Iterator[Path]:
    """A commit's files in a temporary folder, within the context."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, name], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def measure(trees: tuple[Path, Path], batch_size: int, turns: int, steps: int) -> Measured:
    """Measure both trees in turn: ``steps`` steps and one start of each kind in each of ``turns`` turns."""
    measured: Measured = {}

    def add(name: str, pair: list[float]) -> None:
        measured.setdefault(name, []).append((pair[0], pair[1]))

    for i in range(turns):
        print(f"turn {i + 1} of {turns}", file=sys.stderr, flush=True)
        with contextlib.ExitStack() as stack:
            workers = []
            for tree in trees:
                workers.append(Worker(LIBRARY, batch_size, tree=tree))
                stack.callback(workers[-1].close)
            for worker in workers:
                worker.ask("step")  # to warm up
            answers = [[worker.ask("step") for worker in workers] for _ in range(steps)]
        for pair in answers:
            add("step, s", [answer["seconds"] for answer in pair])
        median = [statistics.median(pair[j]["seconds"] for pair in answers) for j in range(2)]
        add("compiling, s", [max(0.0, worker.first_step - s) for worker, s in zip(workers, median, strict=True)])
        add("peak memory, MiB", [answer["memory"] for answer in answers[-1]])
        with contextlib.ExitStack() as stack:
            caches = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in trees]
            for name in ("first start, s", "second start, s"):
                pairs = zip(caches, trees, strict=True)
                add(name, [start_seconds(cache, batch_size, tree)[0] for cache, tree in pairs])
    return measured


def ratio_interval(pairs: list[tuple[float, float]]) -> Interval:
    """The median of after / before over the pairs, and its 95 % bootstrap interval, with a fixed seed."""
    ratios = np.array([after / before for before, after in pairs])
    chosen = np.random.default_rng(0).integers(len(ratios), size=(_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[chosen], axis=1), [2.5, 97.5])
    return Interval(float(np.median(ratios)), float(low), float(high))


def slower(measured: Measured, threshold: float) -> list[str]:
    """The quantities whose whole interval is above the threshold."""
    return [name for name, pairs in measured.items() if ratio_interval(pairs).low > threshold]


def table(measured: Measured) -> str:
    """A row for each quantity: both medians, and the ratio with its interval."""
    rows = []
    for name, pairs in measured.items():
        ratio = ratio_interval(pairs)
        before, after = (statistics.median(values) for values in zip(*pairs, strict=True))
        cells = (f"{before:.3g}", f"{after:.3g}", f"{ratio.median:.3f} ({ratio.low:.3f}-{ratio.high:.3f})")
        rows.append((name, *cells, len(pairs)))
    return markdown_table(("", "before", "after", "after / before, median (95 % of bootstrap)", "pairs"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether a change made training slower.")
    parser.add_argument("before", help="a revision, such as main")
    parser.add_argument("after", nargs="?", default="HEAD", help="another one (default: HEAD)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5, help="processes of each revision, one by one (default: 5)")
    parser.add_argument("--steps", type=int, default=6, help="timed steps of each process (default: 6)")
    parser.add_argument("--threshold", type=float, default=1.05, help="the largest ratio (default: 1.05)")
    add_json_flag(parser)
    args = parser.parse_args()
    if not 1 <= args.batch_size <= 60_000 or args.turns < 1 or args.steps < 1 or not args.threshold > 0:
        parser.error("--batch-size must be between 1 and 60000, --turns and --steps at least 1, --threshold above 0")
    try:
        commits = [commit(revision) for revision in (args.before, args.after)]
    except ValueError as error:
        parser.error(str(error))
    with worktree(commits[0]) as before, worktree(commits[1]) as after:
        measured = measure((before, after), args.batch_size, args.turns, args.steps)
    print(table(measured))
    if args.json:
        result: dict[str, Any] = {"machine": machine(), "commits": commits, "batch_size": args.batch_size}
        write_json(args.json, {**result, "measured": measured})
    found = slower(measured, args.threshold)
    if found:
        print(f"above {args.threshold:g} times: {', '.join(found)}", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
