"""Time and memory of each session of a run, as a row of ``timing.jsonl``."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import jax
from jax.sharding import Mesh

from dcgan_jax.console import print_line
from dcgan_jax.errors import first_line
from dcgan_jax.files import replace_text
from dcgan_jax.state import GANState

# `StepRunner.advance`: the state and the step to stop at -> the new state, and the steps before and after.
Advance = Callable[[GANState, int], tuple[GANState, int, int]]
_SECONDS = 60  # between two writes of a session's row, the later of which replaces the earlier


@contextlib.contextmanager
def record_timing(advance: Advance, run_dir: Path, step: int, mesh: Mesh, compile_seconds: float) -> Iterator[Advance]:
    """Measure the dispatches within the context, and append a row to ``timing.jsonl``.

    It is written once a minute, and when the context ends, however it ends. If it cannot be written then, a warning is
    printed, as it only describes the run.

    The row has:
      ``began``: the start, in UTC.
      ``first_step``, ``last_step``: the number of steps before and after the session.
      ``seconds``: time for compiling, all dispatches, and samples, evaluations and checkpoints between them.
      ``compile_seconds``: time until the step is compiled, or read from the cache.
      ``steps_per_second``: of the steps after the first dispatch, with what is between them; None if there are none.
      ``peak_memory_bytes``: of the process so far; None if the system does not report it.
      ``device``, ``devices``: the kind of device, and how many share each batch.
      ``device_peak_memory_bytes``: the maximum over this process's devices; None on a CPU.

    Args:
      advance: `StepRunner.advance`.
      run_dir: the run directory.
      step: steps so far.
      mesh: the devices.
      compile_seconds: the time that compiling took before.

    Yields:
      ``advance``, measured.
    """
    began, start = datetime.now(UTC), time.perf_counter()
    after_first, last = None, step
    path, earlier, written = run_dir / "timing.jsonl", None, start

    def write() -> None:
        nonlocal earlier, written
        written = time.perf_counter()
        if earlier is None:
            earlier = path.read_text(encoding="utf-8") if path.exists() else ""
        steps, first_done = (last - after_first[0], after_first[1]) if after_first else (0, written)
        row = {
            "began": began.isoformat(timespec="seconds"),
            "first_step": step,
            "last_step": last,
            "seconds": compile_seconds + written - start,
            "compile_seconds": compile_seconds,
            "steps_per_second": steps / (written - first_done) if steps else None,
            "peak_memory_bytes": peak_memory(),
            "device": mesh.devices.flat[0].device_kind,
            "devices": mesh.size,
            "device_peak_memory_bytes": _device_peak_memory(),
        }
        replace_text(path, earlier + json.dumps(row) + "\n")

    def measured(state: GANState, stop: int) -> tuple[GANState, int, int]:
        nonlocal after_first, last
        if after_first is None and last > step:
            jax.block_until_ready(state)
            after_first = (last, time.perf_counter())
        if time.perf_counter() - written > _SECONDS:
            with contextlib.suppress(OSError, UnicodeDecodeError):  # the last write reports it
                write()
        state, before, last = advance(state, stop)
        return state, before, last

    try:
        yield measured
    finally:
        try:
            write()
        except (OSError, UnicodeDecodeError) as error:
            print_line(f"warning: the timing of this session is not recorded ({first_line(error)})", error=True)


def peak_memory() -> int | None:
    """Peak resident memory of this process in bytes; None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _device_peak_memory() -> int | None:
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return max((each["peak_bytes_in_use"] for each in stats if "peak_bytes_in_use" in each), default=None)
