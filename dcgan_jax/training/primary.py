"""The primary process's work between steps: observing the run, writing its files, and printing its progress."""

import contextlib
import math
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.evaluation.images import EvaluationError
from dcgan_jax.evaluation.overfitting import discriminator_calls
from dcgan_jax.state import GANState
from dcgan_jax.training.announce import announce_calls, announce_end, announce_evaluation, warn, warn_of_collapse
from dcgan_jax.training.collapse import CollapseDetector, CollapseThresholds
from dcgan_jax.training.distributed import local_replica
from dcgan_jax.training.history import figures, read_history, weights_name
from dcgan_jax.training.monitor import Monitor
from dcgan_jax.training.overfitting import OverfittingDetector, remedy_for
from dcgan_jax.training.progress import Reporter
from dcgan_jax.training.run import Run
from dcgan_jax.training.run_files import RunFiles, sample_reals, sampling_state
from dcgan_jax.training.schedule import is_logged
from dcgan_jax.training.scorer import is_of_digits


class Primary(NamedTuple):
    """A run on the primary process of its job.

    Attributes:
      run: the run, as it started or resumed.
      reals: real images, uint8 [16, H, W, C].
      files: its open files.
      monitor: observes it, and decides whether it has to stop.
      reporter: prints its progress.
      first: the step at which it started or resumed.
      began: the `time.perf_counter` at that moment, in seconds.
    """

    run: Run
    reals: np.ndarray
    files: RunFiles
    monitor: Monitor
    reporter: Reporter
    first: int
    began: float

    def write_initial(self, state: GANState) -> None:
        """Write the files of a new run, and its first checkpoint unless it was created with one."""
        self.files.write_initial(state, self.reals)
        if not self.files.saved_steps():
            self.files.save_checkpoint(state, self.monitor.state_dict())

    def write_metrics(self, rows: Iterable[tuple[int, dict[str, float]]], last: int | None) -> None:
        """Observe each step's metrics; write and print those that are due, and print those of the step ``last``."""
        for step, metrics in rows:
            row, message = self.monitor.observe_metrics(step, metrics)
            warn_of_collapse(step, message)
            logged = is_logged(step, self.run.config)
            if logged:
                # JSON has no NaN and no infinity, which a recipe's own metrics may be.
                finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
                self.files.write_row(step, finite)
            if logged or step == last:
                self.reporter.log(step, row)

    def save_samples(self, state: GANState) -> None:
        """Write and observe a grid of samples of the run's fixed noise."""
        step, images = int(state.step), self.files.save_samples(state)
        warn_of_collapse(step, self.monitor.observe_images(step, images))

    def save_checkpoint(self, state: GANState, evaluating: bool) -> None:
        """Write the evaluation if one is due, the samples of the last step and all rows so far, then a checkpoint."""
        step = int(state.step)
        if evaluating:
            self.files.write_row(step, self._evaluate(state))
        if step == self.run.config.steps:
            self.files.write_final(state)
        self.files.sync()
        keep_steps = self.monitor.steps_to_keep(self.files.saved_steps(), step)
        for problem in self.files.save_checkpoint(state, self.monitor.state_dict(), keep_steps):
            warn(problem)

    def finish(self, step: int) -> None:
        """Print how the run ended at ``step``, below the progress bar."""
        self.reporter.close()
        run, seconds = self.run, time.perf_counter() - self.began
        announce_end(run.config, run.run_dir, self.monitor, self.first, step, seconds)

    def _evaluate(self, state: GANState) -> dict[str, Any]:
        """The row of an evaluation. Images that cannot be scored, such as identical ones, do not end a run."""
        scorer, step = self.run.scorer, int(state.step)
        assert scorer is not None  # evaluations are due
        row: dict[str, Any] = {"step": step, "weights": weights_name(state), **self._call(state)}
        try:
            evaluation = scorer.score(sampling_state(state), self.run.keys["evaluation"])
        except EvaluationError as error:
            warn(f"the evaluation at step {step:,} failed: {error}")
            return {**row, "evaluation": None}
        figure = getattr(evaluation.scores, scorer.comparability.figure)
        announce_evaluation(step, evaluation, figure, self.monitor.evaluations)
        self.monitor.observe_evaluation(step, figure)
        return {**row, "evaluation": evaluation.to_json()}

    def _call(self, state: GANState) -> dict[str, Any]:
        """The discriminator's `Calls`, for the row of an evaluation; empty if there are no real images for them.

        Fakes are drawn with the generator's last weights, as the discriminator is never trained on their average.
        """
        scorer, step = self.run.scorer, int(state.step)
        if scorer is None or scorer.called is None:
            return {}
        calls = discriminator_calls(local_replica(state), self.run.keys["evaluation"], scorer.called)
        announce_calls(step, calls)
        warn_of_collapse(step, self.monitor.observe_calls(calls))
        return {"calls": calls.to_json()}


def open_primary(run: Run, thresholds: CollapseThresholds | None, stack: contextlib.ExitStack) -> Primary:
    """Open the run's files until ``stack`` closes, and begin to observe it where it starts or resumes.

    Args:
      run: the run, with its directory as ``workdir`` and its images.
      thresholds: the collapse detector's; the defaults if None.
      stack: closes the files, and restores the terminal.
    """
    assert run.data is not None and run.mesh is not None  # the primary has loaded and checked them
    config, step = run.config, int(run.state.step)
    reals = sample_reals(run.data.images, run.keys["reals"])
    files = stack.enter_context(RunFiles(run.run_dir, config, run.record, run.keys, step, run.mesh.size, run.recipe))
    kinds = figures(read_history(run.run_dir))  # of the rows up to the step
    monitor = Monitor(
        CollapseDetector(step, reals / 255, is_of_digits(config), run.collapse, thresholds, run.state.fakes),
        run.state.losses,
        penalty=run.collapse.get("d_penalty", 0.0),
        evaluations=kinds.pop(run.scorer.comparability, []) if run.scorer else [],
        other_evaluations=kinds.values(),
        stop_at_fid=config.stop_at_fid,
        overfitting=_overfitting_detector(run),
    )
    reporter = stack.enter_context(contextlib.closing(Reporter(config, step)))
    return Primary(run, reals, files, monitor, reporter, step, time.perf_counter())


def _overfitting_detector(run: Run) -> OverfittingDetector | None:
    """The run's detector as it was saved, or None if there are no evaluations or no held-out images."""
    if run.data is None or run.scorer is None or run.scorer.called is None:
        return None
    return OverfittingDetector(len(run.data.images), remedy_for(run.state, run.recipe is not None), run.collapse)
