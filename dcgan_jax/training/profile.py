"""Tracing of some of a run's steps, for Perfetto and xprof."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from dcgan_jax.console import counted, print_line
from dcgan_jax.errors import first_line
from dcgan_jax.state import GANState
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.timing import Advance

# XLA writes at most a million events for Perfetto, and a step has some 5,600 on a CPU.
_MAX_STEPS = 100


def check_profile(steps: int | None) -> None:
    """Raises: ConfigError if this number of steps is out of range."""
    if steps is not None and not 1 <= steps <= _MAX_STEPS:
        raise ConfigError(f"`profile` must be between 1 and {_MAX_STEPS}, got {steps}")


@contextlib.contextmanager
def profile_steps(advance: Advance, folder: Path | None, steps: int) -> Iterator[Advance]:
    """Trace ``steps`` steps after the first dispatch, and everything that the run does between them.

    If a trace cannot be made or written, a warning is printed and the run continues.

    Args:
      advance: `StepRunner.advance`.
      folder: gets ``plugins/profile/TIME/`` with xprof's files and ``perfetto_trace.json.gz``; None on processes that
        do not write a trace, but must have the same dispatches as the one that does.
      steps: the number of steps; fewer are traced if the run ends before.

    Yields:
      ``advance``, which ends a dispatch at the last step of the trace.
    """
    step, left, tracing = None, steps, False

    def profiled(state: GANState, stop: int) -> tuple[GANState, int, int]:
        nonlocal step, left, tracing
        if step is None or not left:
            state, before, step = advance(state, stop)
            return state, before, step
        if left == steps and folder:
            jax.block_until_ready(state)
            tracing = _start(folder)
        with jax.profiler.StepTraceAnnotation("train", step_num=step + 1):
            state, before, step = advance(state, min(stop, step + left))
        left -= step - before
        if not left and tracing and folder:
            jax.block_until_ready(state)
            tracing = False
            _stop(folder, f"profiled {counted(steps, 'step')}")
        return state, before, step

    try:
        yield profiled
    finally:
        if tracing and folder:
            _stop(folder, f"profiled {counted(steps - left, 'step')}, all that were left, not {steps}")
        elif left == steps and folder:
            why = "the run ended with its first dispatch, which compiles"
            print_line(f"warning: nothing is profiled: {why}", error=True)


def _start(folder: Path) -> bool:
    """Start a trace; returns whether it could be started."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # events of every Python call would crowd out the rest
    try:
        jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
    except Exception as error:  # such as another profiler that is running
        _warn(error)
        return False
    return True


def _stop(folder: Path, what: str) -> None:
    try:
        jax.profiler.stop_trace()
        trace = max(folder.rglob("perfetto_trace.json.gz"), key=lambda path: path.stat().st_mtime)
    except Exception as error:  # such as a full disk
        _warn(error)
    else:
        print_line(f"{what}: open {trace} at https://ui.perfetto.dev, or xprof --logdir {folder}")


def _warn(error: Exception) -> None:
    print_line(f"warning: the steps cannot be profiled ({first_line(error)}): the run continues", error=True)
