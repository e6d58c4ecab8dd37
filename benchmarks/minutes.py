"""Time to quality: minutes of training until each program's digits have a FID of 100, 30, 10 and 5.

    python -m benchmarks.minutes --minutes 12         # ours by preset and dtype, PyTorch's recipe, the Keras program
    python -m benchmarks.minutes --minutes 90 --only recommended recommended-bfloat16
    python -m benchmarks.minutes --score              # goes on with the scores of a race that was interrupted

The programs train at batch size 64, in turns: one runs while the others are stopped (SIGSTOP), so that all see the same
load of a shared machine. A program's clock runs only in its own turns, from its command on, and includes imports and
compilation without a cache. It saves its generator every ``--every`` steps; these are scored afterwards, on 10,000
images each, with this package's evaluator. The first generator below a FID is found by bisection, as if FID only fell
with the steps, so that few of them are scored.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import RESULTS, ROOT, machine, markdown_table, write_json
from benchmarks.peers.program import kept_file, step_of
from dcgan_jax import averaged, evaluate_images, load_run
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, draw_bytes
from dcgan_jax.evaluation.scoring import evaluate_bytes
from dcgan_jax.training.checkpoint import checkpoint_steps

FIDS = (100.0, 30.0, 10.0, 5.0)
_POLL_SECONDS = 0.1
_NO_END = 1_000_000  # steps: the race ends by the clock


class Program(NamedTuple):
    """A title, and what is run: ``train.py`` with flags, or a peer, a module of `benchmarks.peers` with flags."""

    title: str
    flags: tuple[str, ...] = ()
    peer: str | None = None


PROGRAMS = {
    "recommended": Program("`--preset recommended`", ("--preset", "recommended")),
    "recommended-bfloat16": Program(
        "`--preset recommended --dtype bfloat16`", ("--preset", "recommended", "--dtype", "bfloat16")
    ),
    "tutorial": Program("`--preset tutorial`"),
    "tutorial-bfloat16": Program("`--preset tutorial --dtype bfloat16`", ("--dtype", "bfloat16")),
    "pytorch": Program("PyTorch's DCGAN recipe", peer="pytorch_dcgan"),
    "keras": Program("the Keras program as in its repository", peer="keras_published"),
}


class Runner:
    """A program in its own process group, stopped except in its turns; ``kept`` has the seconds at each saved step."""

    def __init__(self, program: Program, folder: Path, every: int):
        self._program, self._folder, self._every = program, folder, every
        self.seconds = 0.0
        self.kept: dict[int, float] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def turn(self, seconds: float) -> None:
        """Run the program for this many seconds, and note the steps that it saves."""
        began = time.perf_counter()
        if self._process is None:
            self._process = _start(self._program, self._folder, self._every)
        else:
            os.killpg(self._process.pid, signal.SIGCONT)
        while (now := time.perf_counter() - began) < seconds:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._program.title} ended with exit code {self._process.returncode}")
            self._note(self.seconds + now)
            time.sleep(_POLL_SECONDS)
        os.killpg(self._process.pid, signal.SIGSTOP)
        self.seconds += time.perf_counter() - began
        self._note(self.seconds)

    def close(self) -> None:
        """Kill the program at any point: its files are written atomically."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _note(self, seconds: float) -> None:
        for step in _kept_steps(self._program, self._folder):
            self.kept.setdefault(step, seconds)


def _start(program: Program, folder: Path, every: int) -> subprocess.Popen[bytes]:
    flags = ("--batch-size", "64", *program.flags)
    if program.peer is None:
        kept = ("--checkpoint-every", str(every), "--keep-checkpoints", "1000", "--no-compilation-cache")
        command = ["train.py", "--steps", str(_NO_END), "--workdir", str(folder), *kept, *flags]
    else:
        kept = ("--keep-every", str(every))
        command = ["-m", f"benchmarks.peers.{program.peer}", str(folder), "--steps", str(_NO_END), *kept, *flags]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _kept_steps(program: Program, folder: Path) -> list[int]:
    """The steps whose generator is in the folder; files are written atomically."""
    if program.peer is None:
        return checkpoint_steps(folder / "checkpoints")
    return [step_of(path) for path in folder.glob(kept_file(folder, "*").name)]


def race(names: list[str], folder: Path, minutes: float, turn: float, every: int) -> dict[str, Any]:
    """Run the programs in turns until each has had its minutes; the result has the seconds at each saved step."""
    runners = {name: Runner(PROGRAMS[name], folder / name, every) for name in names}
    try:
        while (left := 60 * minutes - min(runner.seconds for runner in runners.values())) > 0:
            for runner in runners.values():
                runner.turn(min(turn, max(left, _POLL_SECONDS)))
            told = (f"{n} {max(r.kept, default=0)} steps, {r.seconds / 60:.1f} min" for n, r in runners.items())
            print("; ".join(told), file=sys.stderr, flush=True)
    finally:
        for runner in runners.values():
            runner.close()
    kept = {name: {str(step): seconds for step, seconds in runner.kept.items()} for name, runner in runners.items()}
    rows = {n: {"title": PROGRAMS[n].title, "kept": kept[n], "seconds": runners[n].seconds} for n in names}
    return {"machine": machine(), "minutes": minutes, "turn_seconds": turn, "programs": rows}


def _fid(name: str, folder: Path, step: int) -> float:
    """The FID of 10,000 images of the generator that a program has saved at a step."""
    program = PROGRAMS[name]
    if program.peer is None:
        run = load_run(folder / name, step)
        state = run.state if run.state.ema is None else averaged(run.state)
        return evaluate_bytes(draw_bytes(state, run.keys["evaluation"], DEFAULT_SAMPLES, None)).scores.fid
    kept, images = kept_file(folder / name, step), folder / name / f"{step}.npy"
    command = ["-m", f"benchmarks.peers.{program.peer}", str(folder / name), "--draw-from", str(kept)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    fid = evaluate_images(np.load(images)).scores.fid
    images.unlink()
    return fid


def score(result: dict[str, Any], folder: Path, path: Path) -> None:
    """Add each program's FID at its end, and those needed to find when it was first at or below each of `FIDS`."""
    for name, row in result["programs"].items():
        fids, steps = row.setdefault("fids", {}), sorted(map(int, row["kept"]))

        def fid_at(i: int, name: str = name, fids: dict[str, float] = fids, steps: list[int] = steps) -> float:
            if (step := str(steps[i])) not in fids:
                fids[step] = _fid(name, folder, int(step))
                print(f"{name}, step {step}: FID {fids[step]:.2f}", file=sys.stderr, flush=True)
                write_json(path, result)
            return fids[step]

        for limit in FIDS if steps else ():
            first_below(limit, len(steps), fid_at)


def first_below(limit: float, n: int, fid_at: Callable[[int], float]) -> int | None:
    """The first of ``n`` points whose FID is at most ``limit``, if FIDs fall; None if the last one's is above it."""
    if fid_at(n - 1) > limit:
        return None
    low, high = 0, n - 1  # the last is not above it
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fid_at(middle) <= limit else (middle + 1, high)
    return low


def table(result: dict[str, Any]) -> str:
    """A row for each program: its steps, its last FID, and the minutes to each of `FIDS`."""
    rows = [_row(row) for row in result["programs"].values()]
    return markdown_table(("program", "steps", "FID at the end", *(f"minutes to {fid:g}" for fid in FIDS)), rows)


def _row(row: dict[str, Any]) -> list[str]:
    fids = {int(step): fid for step, fid in row["fids"].items()}
    last = max(fids, default=0)

    def minutes(limit: float) -> str:
        step = min((step for step, fid in fids.items() if fid <= limit), default=None)
        return "" if step is None else f"{row['kept'][str(step)] / 60:.1f} (step {step:,})"

    return [row["title"], f"{last:,}", f"{fids[last]:.1f}" if fids else "", *map(minutes, FIDS)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Minutes until each program's digits have a FID of 100, 30, 10 and 5.")
    parser.add_argument("--only", nargs="+", choices=list(PROGRAMS), metavar="PROGRAM", help=", ".join(PROGRAMS))
    parser.add_argument("--minutes", type=float, default=12.0, help="of each program (default: 12)")
    parser.add_argument("--turn", type=float, default=30.0, help="seconds of a turn (default: 30)")
    parser.add_argument("--every", type=int, default=50, help="steps between generators that are kept (default: 50)")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "minutes", help="(default: runs/minutes)")
    parser.add_argument("--json", type=Path, default=RESULTS / "minutes.json", help="everything measured")
    parser.add_argument("--score", action="store_true", help="score what a race has left in the folder")
    args = parser.parse_args()
    if min(args.minutes, args.turn, args.every) <= 0:
        parser.error("--minutes, --turn and --every must be above 0")
    if not args.score:
        if args.folder.exists():
            parser.error(f"{args.folder} exists: remove it, or go on with --score")
        names = args.only or list(PROGRAMS)
        write_json(args.json, race(names, args.folder, args.minutes, args.turn, args.every))
    result = json.loads(args.json.read_text())
    score(result, args.folder, args.json)
    write_json(args.json, result)
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
