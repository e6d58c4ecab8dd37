"""What a run writes and prints: metrics, samples, evaluations, checkpoints, warnings of a collapse."""

import dataclasses
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dcgan_jax.console import print_line
from dcgan_jax.evaluation.images import EvaluationError
from dcgan_jax.evaluation.results import summary
from dcgan_jax.images import image_grid, save_grid
from dcgan_jax.memory import release_free_memory
from dcgan_jax.presets import preset
from dcgan_jax.sampling import generate, sample, sample_noise
from dcgan_jax.state import GANState, averaged
from dcgan_jax.training.checkpoint import checkpoint_steps, save_checkpoint, steps_to_keep
from dcgan_jax.training.collapse import CollapseDetector, CollapseThresholds
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.device_loop import StepRunner
from dcgan_jax.training.distributed import data_mesh, local_replica
from dcgan_jax.training.history import best_evaluation, figures, read_history, sample_grids
from dcgan_jax.training.loggers import RunLog
from dcgan_jax.training.progress import Reporter, format_duration
from dcgan_jax.training.run_dir import replace_text, write_config
from dcgan_jax.training.schedule import is_logged
from dcgan_jax.training.scorer import RunScorer, is_of_digits
from dcgan_jax.training.setup import model_summary

GRID = 16  # images in a grid of 4x4, the tutorial's


class RunWriter:
    """Writes the files of one run and prints its progress; in a job of several processes the primary alone has one.

    The states it is given are replicated over the devices; samples are drawn on one of them.

    Attributes:
      should_stop: whether the run has collapsed and has to stop for it (``--stop-on-collapse``).
      reached: whether an evaluation of this process has the FID to stop at (``--stop-at-fid``).
      reporter: prints to the terminal.
    """

    def __init__(
        self,
        config: TrainConfig,
        keys: dict[str, jax.Array],
        reals: np.ndarray,
        step: int,
        collapse: dict[str, Any] | None = None,
        thresholds: CollapseThresholds | None = None,
        scorer: RunScorer | None = None,
    ):
        """Open the run directory's files for writing, after ``step`` steps; ``config.json`` is written at once.

        Args:
          config: the run's, with the run directory as ``workdir``.
          keys: the run's, from `create_state`.
          reals: real images, uint8 [N, H, W, C].
          step: steps so far; rows of metrics after it are removed.
          collapse: the state of the collapse detector and the last penalty, for a run that resumes.
          thresholds: the collapse detector's.
          scorer: from `prepare_run`, for a run with evaluations.
        """
        self.should_stop = self.reached = False
        self._config, self._keys, self._reals = config, keys, reals
        self._run_dir = Path(str(config.workdir))
        self._checkpoints, self._samples = self._run_dir / "checkpoints", self._run_dir / "samples"
        write_config(self._run_dir, config)  # first: whatever fails after it, the directory holds a run
        self._samples.mkdir(exist_ok=True)
        self._sample_digits = sample_digits(self._samples, config.steps)
        self._log = RunLog(config, self._run_dir, step)
        digits = is_of_digits(config)
        self._detector = CollapseDetector(step, reals / 255, digits, collapse, thresholds)
        losses = preset(config.preset).losses
        self._penalty_every = losses.penalty_every if losses.penalty else None
        self._penalty: float = (collapse or {}).get("d_penalty", 0.0)
        self._scorer = scorer
        kinds = figures(read_history(self._run_dir))
        self._evaluations = kinds.pop(scorer.comparability, []) if scorer else []
        self._other_evaluations = list(kinds.values())  # their best are kept too
        self._began, self._first = time.perf_counter(), step
        self.reporter = Reporter(config, step)

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.reporter.close()
        self._log.close()

    def write_initial(self, state: GANState) -> None:
        """The files of a new run: the layers, real images, the first samples and, unless it has one, a checkpoint."""
        replace_text(self._run_dir / "models.txt", model_summary(local_replica(state)))
        save_grid(self._run_dir / "reals.png", self._reals)
        self._save_grid(0, self._draw_grid(state))
        if not checkpoint_steps(self._checkpoints):
            self._save(state, keep_steps=set())

    def write_metrics(self, rows: Iterable[tuple[int, dict[str, float]]], last: int | None) -> None:
        """Pass each step's metrics to the collapse detector; write and print those that are due, and print ``last``.

        A penalty of only some of the steps, which may all lie between those that are due, is written as it was last.
        """
        for step, row in rows:
            if self._penalty_every:
                if (step - 1) % self._penalty_every == 0:
                    self._penalty = row["d_penalty"]
                row = {**row, "d_penalty": self._penalty}
            self._warn(step, self._detector.observe_losses(step, row))
            if is_logged(step, self._config):
                self._log.log_scalars(step, row)
            if is_logged(step, self._config) or step == last:
                self.reporter.log(step, row)

    def save_samples(self, state: GANState) -> None:
        """A grid of samples of the run's fixed noise."""
        step, images = int(state.step), self._draw_grid(state)
        self._save_grid(step, images)
        self._warn(step, self._detector.observe_images(step, images))

    def save_checkpoint(self, state: GANState, evaluating: bool) -> None:
        """Save a checkpoint, and before it the evaluation if one is due, all rows so far, and the final samples."""
        step = int(state.step)
        if evaluating:
            self._log.log_scalars(step, self._evaluate(state))
        if step == self._config.steps:
            fakes = sample(self._sampling_state(state), self._keys["fakes"], GRID, self._labels(state))
            save_grid(self._run_dir / "fakes.png", jax.device_get(fakes))
        self._log.sync()
        saved, detector = checkpoint_steps(self._checkpoints), self._detector
        kinds = (self._evaluations, *self._other_evaluations)
        best = [best_evaluation(evaluations, {*saved, step}) for evaluations in kinds]
        self._save(state, steps_to_keep(saved, step, best, detector.healthy_until, detector.settled_until))

    def finish(self, step: int) -> None:
        """Print how the run ended at ``step``, below the progress bar."""
        self.reporter.close()
        if self.should_stop:
            healthy = self._steps_up_to(self._detector.healthy_until)
            message = "no checkpoint from before it is left"
            if healthy:
                path = self._checkpoints / str(healthy[0])
                message = f"the last healthy checkpoint is {path} (evaluate and sample: --checkpoint STEP)"
            print_line(f"collapsed: stopped at step {step:,} without a checkpoint of it; {message}")
        elif self.reached and step < self._config.steps:
            fid = self._evaluations[-1][0]
            print_line(
                f"reached --stop-at-fid {self._config.stop_at_fid:g} with FID {fid:.2f}: stopped and saved at step "
                f"{step:,} in {self._run_dir}"
            )
        elif step == self._config.steps:
            duration = format_duration(time.perf_counter() - self._began)
            since = f" since step {self._first:,}" if self._first else ""
            print_line(f"done: {step:,} steps, {duration}{since}; the last samples are {self._run_dir / 'fakes.png'}")
        else:
            print_line(f"stopped and saved at step {step:,}: resume with --workdir {self._run_dir} --resume")

    def _save_grid(self, step: int, images: np.ndarray) -> None:
        save_grid(self._samples / f"{step:0{self._sample_digits}d}.png", images)
        self._log.log_images(step, "samples", image_grid(images))

    def _draw_grid(self, state: GANState) -> np.ndarray:
        noise = sample_noise(state, self._keys["grid"], GRID)
        return jax.device_get(generate(self._sampling_state(state), noise, self._labels(state)))

    def _labels(self, state: GANState) -> jax.Array | None:
        """The classes of a grid, one after the other."""
        return None if state.classes is None else jnp.arange(GRID) % state.classes

    def _sampling_state(self, state: GANState) -> GANState:
        """The state on one device, with the generator that samples and evaluations use."""
        return local_replica(state) if state.ema is None else averaged(local_replica(state))

    def _save(self, state: GANState, keep_steps: set[int]) -> None:
        problems = save_checkpoint(
            self._checkpoints,
            state,
            self._keys["run"],
            dataclasses.asdict(self._config),
            self._config.keep_checkpoints,
            keep_steps,
            collapse=self._detector.state_dict() | ({"d_penalty": self._penalty} if self._penalty_every else {}),
            devices=data_mesh(self._config.devices).size,
        )
        for problem in problems:
            print_line(f"warning: {problem}")
        release_free_memory()  # what the copy in the checkpoint took

    def _steps_up_to(self, last: int) -> list[int]:
        """The steps of the checkpoints up to a step, the newest first."""
        return [step for step in checkpoint_steps(self._checkpoints) if step <= last]

    def _warn(self, step: int, message: str | None) -> None:
        if message:
            print_line(f"warning: at step {step:,} {message}")
            self.should_stop = self._config.stop_on_collapse

    def _evaluate(self, state: GANState) -> dict[str, Any]:
        """The row of an evaluation. Images that cannot be scored, all the same for example, do not end a run."""
        assert self._scorer is not None  # evaluations are due
        row: dict[str, Any] = {"step": int(state.step), "weights": weights_name(state)}
        try:
            evaluation = self._scorer.score(self._sampling_state(state), self._keys["evaluation"])
        except EvaluationError as error:
            print_line(f"warning: the evaluation at step {row['step']:,} failed: {error}")
            return {**row, "evaluation": None}
        figure = getattr(evaluation.scores, self._scorer.comparability.figure)
        print_line(f"{row['step']}: {summary(evaluation)}{_trend(self._evaluations, figure)}")
        self._evaluations.append((figure, row["step"]))
        self.reached = self._config.stop_at_fid is not None and figure <= self._config.stop_at_fid
        return {**row, "evaluation": evaluation.to_json()}


def announce(config: TrainConfig, state: GANState, mesh: Mesh) -> None:
    """Print what will be done."""
    if checkpoint_steps(Path(str(config.workdir)) / "checkpoints"):
        print_line(f"resuming from step {int(state.step):,} in {config.workdir}")
    else:
        print_line(
            f"training {config.steps:,} steps of {config.batch_size} images of {config.dataset} in {config.workdir}"
        )
    devices = mesh.devices.flat[0].device_kind + (f", {mesh.size} devices" if mesh.size > 1 else "")
    print_line(f"on {devices}; the first step compiles, which takes a while")
    if state.ema is not None:
        print_line("samples and evaluations use the moving average of the generator")


def acknowledge(runner: StepRunner, number: signal.Signals) -> None:
    """Print that a signal has arrived and what is waited for: the ``runner``'s step."""
    waits = "this step" if runner.calls else "the first step"
    if not runner.compiled:
        waits += ", which is compiling"
    again = "; Ctrl-C again stops at once" if number == signal.SIGINT and runner.compiled else ""
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    print_line(f"{name}: stopping after {waits}, then saving{again}", error=True)


def sample_digits(folder: Path, steps: int) -> int:
    """The digits of the names of samples: six, or as many as ``steps`` has; those of a resumed run stay as they are."""
    found = [len(path.stem) for _, path in sample_grids(folder)]
    return min(found, default=max(6, len(str(steps))))


def weights_name(state: GANState) -> str:
    """Which weights samples and evaluations of a run use: ``last``, or ``average <decay>``."""
    return "last" if state.ema is None else f"average {state.ema.decay}"


def _trend(before: list[tuple[float, int]], figure: float) -> str:
    """How an evaluation compares with those before it: whether training longer still helps."""
    if not before:
        return ""
    best, step = min(before)
    if figure < best:
        return f"; the best so far, {best:.2f} before"
    since = len(before) - before.index((best, step))
    times = "this evaluation" if since == 1 else f"{since} evaluations"
    return f"; no better for {times} than {best:.2f} at step {step:,}"
