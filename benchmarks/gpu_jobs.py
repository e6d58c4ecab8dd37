"""The measurements of `benchmarks.gpu`: training steps, the device's idle share, minutes to a FID.

Each measurement runs in its own processes, one after the other, and kills them at its deadline.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.common import ROOT, summary
from benchmarks.systems import System, Worker, WorkerError, missing_packages

OURS = "dcgan-jax"
PRECISIONS = ("tf32", "bfloat16", "float32")
_FEWEST_CALLS, _MOST_CALLS = 3, 200


class Numbers(NamedTuple):
    """The sizes of the measurements.

    Attributes:
      gpu: whether it is a failure if a system computes on the CPU.
      batch_sizes: the most important one first.
      seconds: time to measure steps, separately for many per call and one per call.
      steps_per_call: steps between two synchronisations with the device, at most 25.
      products: sizes of the square matrix products whose best rate is the peak.
      loop_steps: steps of a run before its trace, and between its samples and checkpoints.
      traced: steps of the trace.
      quality: flags of the run to a FID.
    """

    gpu: bool
    batch_sizes: tuple[int, ...]
    seconds: float
    steps_per_call: int
    products: tuple[int, ...]
    loop_steps: int
    traced: int
    quality: tuple[str, ...]


FULL = Numbers(
    gpu=True,
    batch_sizes=(256, 64, 1024, 4096),
    seconds=1.5,
    steps_per_call=25,
    products=(4096, 8192),
    loop_steps=500,
    traced=100,
    quality=("--batch-size", "256", "--steps", "3000", "--eval-every", "250", "--stop-at-fid", "10"),
)
SMALL = Numbers(
    gpu=False,
    batch_sizes=(2,),
    seconds=0.2,
    steps_per_call=2,
    products=(256, 512),
    loop_steps=4,
    traced=3,
    quality=("--batch-size", "4", "--steps", "2", "--eval-every", "2", "--eval-samples", "129", "--stop-at-fid", "1e9"),
)


class JobError(Exception):
    """A measurement failed; the message is one line."""


def _environment(precision: str) -> tuple[tuple[str, str], ...]:
    """Environment variables for a process that computes with JAX.

    By default XLA computes convolutions and products of float32 in TF32 on NVIDIA GPUs; "highest" prevents it. Memory
    is not preallocated, because that of the previous process may not all be free yet.
    """
    highest = "highest" if precision == "float32" else "default"
    return ("XLA_PYTHON_CLIENT_PREALLOCATE", "false"), ("JAX_DEFAULT_MATMUL_PRECISION", highest)


def systems(precision: str) -> dict[str, System]:
    """The systems at one of `PRECISIONS`."""
    dtype = "bfloat16" if precision == "bfloat16" else "float32"
    of_jax = _environment(precision)
    return {
        OURS: System("this_project_loop", (), of_jax, variant=(dtype,)),
        "torch": System("pytorch", ("torch",), variant=("eager", precision)),
        "torch-channels-last": System("pytorch", ("torch",), variant=("channels-last", precision)),
        "torch-compiled": System("pytorch", ("torch",), variant=("compiled", precision)),
        "keras-jax": System("keras_tutorial", ("keras",), (*of_jax, ("KERAS_BACKEND", "jax")), 1, ("auto", dtype)),
    }


SYSTEMS = tuple(systems("float32"))


@contextlib.contextmanager
def _killed_at(deadline: float, worker: Worker) -> Iterator[None]:
    """Close the worker when the context ends; it is killed at ``deadline`` (of `time.monotonic`) at the latest.

    Raises:
      JobError: if the worker fails, or is killed before it has answered.
    """
    began = time.monotonic()
    timer = threading.Timer(max(0.0, deadline - began), worker.kill)
    timer.start()
    try:
        yield
    except (WorkerError, OSError) as error:  # OSError: a request to one that was killed
        late = time.monotonic() >= deadline
        raise JobError(f"not done after {deadline - began:.0f} s" if late else str(error)) from error
    finally:
        timer.cancel()
        worker.close()


def steps(name: str, precision: str, batch_size: int, numbers: Numbers, deadline: float) -> dict[str, Any]:
    """Steps per second of a system, many per call and one by one; of ours also the peak of matrix products.

    Raises: JobError.
    """
    system = systems(precision)[name]
    if missing := missing_packages(system):
        raise JobError(f"{', '.join(missing)} not installed")
    worker = Worker(system, batch_size, wait=False)
    with _killed_at(deadline, worker):
        worker.wait_until_ready()
        if numbers.gpu and worker.device == "cpu":
            raise JobError("it computes on the CPU: what is installed of it has no GPU")
        rates = {
            "steps_per_second": _rates(worker, numbers.steps_per_call, numbers.seconds),
            "one_by_one": _rates(worker, 1, numbers.seconds),
        }
        dtype = "bfloat16" if precision == "bfloat16" else "float32"
        sizes = " ".join(map(str, numbers.products))
        peak = {"peak_flops": worker.ask(f"gemm {dtype} {sizes}")["flops"]} if name == OURS else {}
    about = {"system": name, "precision": precision, "batch_size": batch_size, "device": worker.device}
    return {**about, "first_step_seconds": worker.first_step, **rates, **peak}


def _rates(worker: Worker, count: int, seconds: float) -> dict[str, float]:
    """Steps per second of calls of ``count`` steps, after a warm-up call."""
    first = worker.ask(f"step {count}")["seconds"]
    calls = min(max(round(seconds / first), _FEWEST_CALLS), _MOST_CALLS)
    return summary([count / worker.ask(f"step {count}")["seconds"] for _ in range(calls)])


def idle(batch_size: int, numbers: Numbers, deadline: float) -> dict[str, Any]:
    """The share of time in which the device is idle, in the trace of a run with all its files and rows.

    The traced steps are between two samples of a run that has resumed after ``loop_steps``: earlier steps are
    interrupted by samples at the powers of two.

    Raises: JobError.
    """
    with tempfile.TemporaryDirectory() as folder:
        every = str(numbers.loop_steps)
        run = ["--workdir", f"{folder}/run", "--batch-size", str(batch_size), "--sample-every", every]
        _train([*run, "--checkpoint-every", every, "--steps", every], folder, deadline)
        # The trace begins after the first dispatch, of 25 steps at most.
        last = str(numbers.loop_steps + numbers.traced + 50)
        _train(
            ["--workdir", f"{folder}/run", "--resume", "--steps", last, "--profile", str(numbers.traced)],
            folder,
            deadline,
        )
        traces = list(Path(folder).rglob("*.xplane.pb"))
        if not traces:
            raise JobError("the run wrote no trace")
        found = busy(jax.profiler.ProfileData.from_file(str(traces[0])))
    return {"batch_size": batch_size, "traced_steps": numbers.traced, "idle_share": idle_share(found)}


def busy(trace: Any) -> list[tuple[float, float]]:
    """The start and end of each operation of the first device in a `ProfileData`, in nanoseconds.

    A GPU has a line for each stream of kernels and copies. For a CPU, XLA's threads are used.

    Raises: JobError if there are none.
    """
    planes = {plane.name: plane for plane in trace.planes}
    on_device = sorted(name for name in planes if name.startswith("/device:"))
    plane, prefix = (planes[on_device[0]], "Stream #") if on_device else (planes["/host:CPU"], "tf_XLA")
    lines = {line.name: line for line in plane.lines}
    found = [
        (event.start_ns, event.start_ns + event.duration_ns)
        for name, line in lines.items()
        if name.startswith(prefix)
        for event in line.events
        if event.duration_ns
    ]
    if not found:
        raise JobError(f"no operation in the trace's {plane.name}, which has the lines {', '.join(lines) or '(none)'}")
    return found


def idle_share(intervals: Iterable[tuple[float, float]]) -> float:
    """The share of the time from the first start to the last end that no interval covers."""
    ordered = sorted(intervals)
    first = end = ordered[0][0]
    gaps = 0.0
    for start, stop in ordered:
        gaps += max(0.0, start - end)
        end = max(end, stop)
    return gaps / (end - first)


def quality(numbers: Numbers, deadline: float) -> dict[str, Any]:
    """Minutes from the start of a run until it stops at a FID, including compilation and all evaluations.

    Raises: JobError.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        _train(["--workdir", f"{folder}/run", "--preset", "recommended", *numbers.quality], folder, deadline)
        minutes = (time.monotonic() - began) / 60
        rows = map(json.loads, (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines())
        last = [row for row in rows if "evaluation" in row][-1]
    aim = float(numbers.quality[numbers.quality.index("--stop-at-fid") + 1])
    fid = last["evaluation"]["scores"]["fid"]
    return {"minutes": minutes, "step": last["step"], "fid": fid, "aim": aim, "flags": " ".join(numbers.quality)}


def _train(flags: list[str], cache: str, deadline: float) -> None:
    """Run ``train.py`` with its compilation cache in ``cache``, not the user's. Raises: JobError if it fails."""
    limit = deadline - time.monotonic()
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    try:
        done = subprocess.run(
            [sys.executable, "train.py", *flags],
            env={**environment, **dict(_environment("tf32")), "XDG_CACHE_HOME": cache},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(f"train.py was not done after {limit:.0f} s") from error
    if done.returncode:
        output = done.stdout.strip().splitlines() or [f"exit code {done.returncode}"]
        raise JobError(f"train.py: {output[-1]}")
