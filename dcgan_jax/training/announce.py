"""The lines that a run prints: at its start and end, on a signal, at an evaluation, and for a warning."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from dcgan_jax.console import counted, print_line
from dcgan_jax.evaluation.overfitting import Calls
from dcgan_jax.evaluation.results import Evaluation, summary
from dcgan_jax.processor import multiplies_bfloat16
from dcgan_jax.state import GANState
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.device_loop import StepRunner
from dcgan_jax.training.monitor import Monitor
from dcgan_jax.training.progress import format_duration


def announce_start(config: TrainConfig, run_dir: Path, recipe: str | None, state: GANState, mesh: Mesh) -> None:
    """Print what the run will do, and on which devices; ``recipe`` names what built its networks, if any."""
    if checkpoint_steps(run_dir / "checkpoints"):
        print_line(f"resuming from step {int(state.step):,} in {run_dir}")
    else:
        batches = f"{counted(config.steps, 'step')} of {counted(config.batch_size, 'image')}"
        print_line(f"training {batches} of {config.dataset} in {run_dir}")
    if recipe:
        print_line(f"the networks, losses and optimizers are those of {recipe}")
    devices = mesh.devices.flat[0].device_kind + (f", {mesh.size} devices" if mesh.size > 1 else "")
    print_line(f"on {devices}; the first step compiles, which takes a while")
    if config.dtype == "bfloat16" and mesh.devices.flat[0].platform == "cpu":
        print_line(
            "computing in bfloat16, which this processor multiplies"
            if multiplies_bfloat16()
            else "this processor has no products of bfloat16: computing in float32, rounded to bfloat16"
        )
    if state.ema is not None:
        print_line("samples and evaluations use the moving average of the generator")


def acknowledge(runner: StepRunner, number: signal.Signals) -> None:
    """Print that a signal was received, and that the run stops after the ``runner``'s current step."""
    waits = "this step" if runner.calls else "the first step"
    if not runner.compiled:
        waits += ", which is compiling"
    again = "; Ctrl-C again stops at once" if number == signal.SIGINT and runner.compiled else ""
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    print_line(f"{name}: stopping after {waits}, then saving{again}", error=True)


def warn(message: str | None) -> None:
    """Print a warning, if there is one."""
    if message:
        print_line(f"warning: {message}")


def warn_of_collapse(step: int, message: str | None) -> None:
    """Print a warning of a collapse or of overfitting detected at ``step``, if there is one."""
    warn(message and f"at step {step:,} {message}")


def announce_evaluation(
    step: int, evaluation: Evaluation[Any], figure: float, before: Sequence[tuple[float, int]]
) -> None:
    """Print an evaluation's scores, and how its ``figure`` compares with the (figure, step) pairs ``before`` it."""
    print_line(f"{step}: {summary(evaluation)}{_trend(before, figure)}")


def announce_calls(step: int, calls: Calls) -> None:
    """Print the discriminator's mean logits of training images, held-out images and fakes."""
    r = calls.overfitting
    told = "no difference" if r is None else f"r {r:.2f} (0 held out as trained on, 1 as fakes)"
    print_line(
        f"{step}: the discriminator's mean logit of training images {calls.train:.2f}, of held-out ones "
        f"{calls.held_out:.2f}, of fakes {calls.fakes:.2f}: {told}"
    )


def announce_end(config: TrainConfig, run_dir: Path, monitor: Monitor, first: int, step: int, seconds: float) -> None:
    """Print how the run ended at ``step``, ``seconds`` after it started or resumed at step ``first``."""
    if monitor.collapsed and config.stop_on_collapse:
        healthy = monitor.last_healthy(checkpoint_steps(run_dir / "checkpoints"))
        message = "no checkpoint from before it is left"
        if healthy is not None:
            path = run_dir / "checkpoints" / str(healthy)
            message = f"the last healthy checkpoint is {path} (evaluate and sample: `checkpoint=STEP`)"
        print_line(f"collapsed: stopped at step {step:,} without a checkpoint of it; {message}")
    elif monitor.reached and step < config.steps:
        fid = monitor.evaluations[-1][0]
        print_line(
            f"reached `stop_at_fid={config.stop_at_fid:g}` with FID {fid:.2f}: stopped and saved at step {step:,} in "
            f"{run_dir}"
        )
    elif step == config.steps:
        since = f" since step {first:,}" if first else ""
        took = f"{counted(step, 'step')}, {format_duration(seconds)}{since}"
        print_line(f"done: {took}; the last samples are {run_dir / 'fakes.png'}")
    else:
        print_line(f"stopped and saved at step {step:,}: resume with `workdir={run_dir}` `resume=True`")


def _trend(before: Sequence[tuple[float, int]], figure: float) -> str:
    """The comparison of an evaluation with the best before it, to append to its line; empty for the first."""
    if not before:
        return ""
    best, step = min(before)
    if figure < best:
        return f"; the best so far, {best:.2f} before"
    since = len(before) - before.index((best, step))
    times = "this evaluation" if since == 1 else f"{since} evaluations"
    return f"; no better for {times} than {best:.2f} at step {step:,}"
