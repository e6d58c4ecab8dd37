"""Logging of a run's rows and grids: to ``metrics.jsonl``, and optionally TensorBoard, Weights & Biases or Trackio.

``metrics.jsonl`` is part of the run, which ends if it cannot be written. The others only mirror the run directory. At
each start they get its rows and samples up to the step that the run resumes from, so that no step is missing or
repeated, however the process ended before. A logger that fails is closed with a warning.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dcgan_jax.console import print_line
from dcgan_jax.errors import first_line
from dcgan_jax.images import read_grid
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.history import sample_grids
from dcgan_jax.training.metrics_file import MetricsFile, truncate_metrics
from dcgan_jax.training.tensorboard import TensorBoard, check_tensorboard
from dcgan_jax.training.trackers import check_tracker, open_tracker


class Logger(Protocol):
    """Logs a run's rows and grids, in the order of their steps.

    Attributes:
      field: the field of the config that enables it, in backticks, for messages.
    """

    field: str

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of a step by name."""
        ...

    def log_images(self, step: int, name: str, images: np.ndarray) -> None:
        """Log a grid of images, uint8 [height, width, C]."""
        ...

    def close(self) -> None:
        """Write pending data and close; nothing is logged afterwards."""
        ...


def validate_loggers(config: TrainConfig) -> None:
    """Check that the loggers of a run can be used.

    Raises:
      TensorBoardError, TrackerError: if a package is not installed, or a tracker cannot be used.
    """
    if config.tensorboard:
        check_tensorboard()
    if config.log != "none":
        check_tracker(config)


class RunLog:
    """A run's ``metrics.jsonl`` and its loggers as one."""

    def __init__(self, config: TrainConfig, run_dir: Path, step: int, log_id: str | None = None):
        """Open them, remove the rows after ``step``, and send the loggers those up to it.

        ``log_id`` identifies the run to a tracker.

        Raises:
          TrackerError: if a tracker cannot be opened.
          OSError: if a file cannot be written.
        """
        truncate_metrics(run_dir / "metrics.jsonl", step)
        self._loggers: list[Logger] = [open_tracker(config, run_dir, log_id)] if config.log != "none" else []
        if config.tensorboard:
            self._loggers.append(TensorBoard(config, run_dir))
        if self._loggers and step:  # at step 0 nothing is written yet
            self._replay(run_dir, step)
        self._rows = MetricsFile(run_dir / "metrics.jsonl")

    def log_scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Log a row of metrics. Loggers get numbers in nested objects by names such as ``evaluation/scores/fid``."""
        row = {"step": step, **values}
        self._rows.write(row)
        self._rows.flush()
        self._show_row(row)

    def log_images(self, step: int, name: str, images: np.ndarray) -> None:
        """Log a grid of images, uint8 [height, width, C], to the loggers."""
        self._each(lambda logger: logger.log_images(step, name, images))

    def sync(self) -> None:
        """Flush all rows to disk."""
        self._rows.sync()

    def close(self) -> None:
        """Close the file and all loggers."""
        self._each(lambda logger: logger.close())
        self._rows.close()

    def _replay(self, run_dir: Path, last: int) -> None:
        """Log the rows and the samples of the run directory, up to a step."""
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_bytes().splitlines()]
        shown = [(row["step"], row) for row in rows if type(row["step"]) is int]  # some may be edited by hand
        shown += [each for each in sample_grids(run_dir / "samples") if each[0] <= last]
        for step, entry in sorted(shown, key=lambda each: each[0]):
            if isinstance(entry, dict):
                self._show_row(entry)
                continue
            try:
                grid = read_grid(entry)
            except Exception as error:  # whatever Pillow raises
                print_line(f"warning: {entry} is not logged: it cannot be read ({first_line(error)})", error=True)
            else:
                self.log_images(step, "samples", grid)

    def _show_row(self, row: dict[str, Any]) -> None:
        values = {name: value for name, value in row.items() if name != "step"}
        self._each(lambda logger: logger.log_scalars(row["step"], _numbers(values)))

    def _each(self, call: Callable[[Logger], None]) -> None:
        for logger in list(self._loggers):
            try:
                call(logger)
            except Exception as error:  # whatever it raises: the run does not depend on it
                self._loggers.remove(logger)
                reason = f"{logger.field} logs no more ({first_line(error)})"
                print_line(f"warning: {reason}; the run continues, and logs all of it when it resumes", error=True)
                with contextlib.suppress(Exception):
                    logger.close()


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers in a row and in objects nested in it, by their names joined with slashes."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}/")
        elif type(value) in (int, float):
            found[prefix + name] = float(value)
    return found
