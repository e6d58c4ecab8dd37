"""What a run leaves in its folder as it goes, and what its user sees: rows, pictures, evaluations, checkpoints."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dcgan_jax.training.checkpoint import checkpoint_steps, save_checkpoint
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.distributed import data_mesh, own
from dcgan_jax.evaluation.scoring import EvaluationError, evaluate
from dcgan_jax.images import save_grid
from dcgan_jax.training.progress import Reporter
from dcgan_jax.training.run import summarize
from dcgan_jax.training.run_dir import drop_rows_after, write_config
from dcgan_jax.sampling import draw_noise, generate, sample
from dcgan_jax.state import GANState, averaged
from dcgan_jax.training.collapse import Watchdog

GRID = 16  # images in a 4x4 grid, the tutorial's


class Records:
    """Keeps the files of one run, and watches for its collapse. In a job of several processes the first has it alone.

    States are on all devices, as the steps leave them; what is drawn from them is drawn on one.

    Attributes:
      collapsed: whether the run should stop because it has collapsed.
    """

    def __init__(
        self, config: TrainConfig, keys: dict[str, jax.Array], reals: np.ndarray, step: int, memory: dict[str, Any]
    ):
        """Begin, or go on from ``step`` with the watchdog's ``memory``; ``reals`` are real images to show."""
        self.collapsed = False
        self._config, self._keys, self._reals = config, keys, reals
        self._folder = Path(str(config.workdir))
        self._checkpoints, self._samples = self._folder / "checkpoints", self._folder / "samples"
        self._samples.mkdir(exist_ok=True)
        write_config(self._folder, config)
        drop_rows_after(self._folder / "metrics.jsonl", step)
        self._watchdog = Watchdog(step, reals / 255, digits=config.dataset == "mnist", memory=memory)
        self._best = _best_evaluated(self._folder, config.eval_samples)
        self._rows = (self._folder / "metrics.jsonl").open("a")
        self.reporter = Reporter(config, step)

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self.reporter.close()

    def begin(self, state: GANState) -> None:
        """The files of a run's beginning."""
        (self._folder / "models.txt").write_text(summarize(own(state)), encoding="utf-8")
        save_grid(self._folder / "reals.png", self._reals)
        save_grid(self._samples / "0.png", self._pictures(state))
        self._checkpoint(state, spare=set())

    def losses(self, steps: Iterable[tuple[int, dict[str, float]]], last: int | None) -> None:
        """Each step's metrics: to the watchdog, and those that are due to the file and the user; ``last`` always."""
        for step, row in steps:
            self._tell(step, self._watchdog.see_losses(step, row))
            if is_logged(step, self._config):
                self._rows.write(json.dumps({"step": step, **row}) + "\n")
            if is_logged(step, self._config) or step == last:
                self.reporter.log(step, row)
        self._rows.flush()

    def picture(self, state: GANState) -> None:
        """The grid of the same noise as ever."""
        step, pictures = int(state.step), self._pictures(state)
        save_grid(self._samples / f"{step}.png", pictures)
        self._tell(step, self._watchdog.see_images(step, pictures))

    def save(self, state: GANState, evaluating: bool) -> None:
        """A checkpoint, and before it what it stands for: the rows, an evaluation, the last pictures."""
        step = int(state.step)
        if evaluating:
            row = self._evaluated(state)
            self._rows.write(json.dumps(row) + "\n")
            self._best = min(filter(None, (self._best, _fid(row))), default=None)
        if step == self._config.steps:
            save_grid(self._folder / "fakes.png", jax.device_get(sample(self._drawn(state), self._keys["fakes"], GRID)))
        self._rows.flush()
        os.fsync(self._rows.fileno())
        spare = {self._best[1]} if self._best else set()
        # What the watchdog would name now, and what it could name if a sign that has begun is told later.
        healthy, beyond_doubt = self._watchdog.healthy_until, self._watchdog.beyond_doubt
        for reach in {beyond_doubt, healthy} if healthy < step else {beyond_doubt}:
            spare.update(self._up_to(reach)[:1])
        self._checkpoint(state, spare)

    def last_healthy(self) -> Path | None:
        """The newest checkpoint from before the first sign of a collapse."""
        return next((self._checkpoints / str(step) for step in self._up_to(self._watchdog.healthy_until)), None)

    def _pictures(self, state: GANState) -> np.ndarray:
        return jax.device_get(generate(self._drawn(state), draw_noise(self._keys["grid"], GRID, state.latent_size)))

    def _drawn(self, state: GANState) -> GANState:
        """The state on one device, with the generator that pictures are drawn and evaluations made with."""
        return own(state) if state.ema is None else averaged(own(state))

    def _checkpoint(self, state: GANState, spare: set[int]) -> None:
        save_checkpoint(
            self._checkpoints,
            state,
            self._keys["run"],
            dataclasses.asdict(self._config),
            self._config.keep_checkpoints,
            spare,
            watchdog=self._watchdog.memory,
            devices=data_mesh(self._config.devices).size,
        )

    def _up_to(self, last: int) -> list[int]:
        """The steps of the checkpoints up to a step, the newest first."""
        return [step for step in checkpoint_steps(self._checkpoints) if step <= last]

    def _tell(self, step: int, sign: str | None) -> None:
        if sign:
            self.reporter.tell(f"warning: at step {step:,} {sign}")
            self.collapsed = self._config.stop_on_collapse

    def _evaluated(self, state: GANState) -> dict[str, Any]:
        """The row of an evaluation. Images that cannot be scored, all the same for one, do not end a run."""
        row: dict[str, Any] = {"step": int(state.step), "weights": weights_name(self._config)}
        try:
            evaluation = evaluate(self._drawn(state), self._keys["evaluation"], self._config.eval_samples)
        except EvaluationError as error:
            self.reporter.tell(f"warning: at step {row['step']:,} nothing could be evaluated: {error}")
            return {**row, "evaluation": None}
        scores, floor = evaluation.scores, evaluation.floor
        self.reporter.tell(
            f"{row['step']}: FID {scores.fid:.2f} (real images: {floor.fid:.2f}), precision {scores.precision:.3f} "
            f"({floor.precision:.3f}), recall {scores.recall:.3f} ({floor.recall:.3f})"
        )
        return {**row, "evaluation": evaluation.to_json()}


def is_logged(step: int, config: TrainConfig) -> bool:
    """Whether a step's metrics are written."""
    return step == 1 or step % config.log_every == 0


def weights_name(config: TrainConfig) -> str:
    """What pictures and evaluations of a run are drawn with."""
    return "last" if config.ema is None else f"average {config.ema}"


def _fid(row: dict[str, Any]) -> tuple[float, int] | None:
    evaluation = row.get("evaluation")
    return (evaluation["scores"]["fid"], row["step"]) if evaluation else None


def _best_evaluated(folder: Path, samples: int) -> tuple[float, int] | None:
    """The lowest FID of so many images among a run's rows, and its step, if its checkpoint is there."""
    kept, found = checkpoint_steps(folder / "checkpoints"), []
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # edited by hand
            row = json.loads(line)
            if row["evaluation"]["samples"] == samples and row["step"] in kept:
                found.append((float(row["evaluation"]["scores"]["fid"]), int(row["step"])))
    return min(found, default=None)
