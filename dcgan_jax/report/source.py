"""Read the files of a run for a report, even while it is running."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.history import History, read_history, read_lines, sample_grids
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run_dir import read_config


class Source(NamedTuple):
    """What a run has written so far.

    Attributes:
      name: the run directory as it was given, or its absolute path if that does not end in a name.
      config, record: the run's.
      history: the rows of its metrics and evaluations.
      grids: the PNGs of its samples, by step.
      reals: the PNG of real images; it may be missing.
      checkpoint: the ``run.json`` of the newest checkpoint, without a check of its digest; empty if there is none.
      sessions: the rows of ``timing.jsonl``: how long each session of the run took.
    """

    name: str
    config: TrainConfig
    record: RunRecord
    history: History
    grids: list[tuple[int, Path]]
    reals: Path
    checkpoint: dict[str, Any]
    sessions: list[dict[str, Any]]

    @property
    def data(self) -> str:
        """The images that the run's are compared with, as by `describe_images`."""
        return describe_images(self.config, self.record)

    @property
    def step(self) -> int:
        """The last step in the run's metrics, evaluations, samples or newest checkpoint."""
        rows = (self.history.metrics[-1:], self.history.evaluations[-1:])
        steps = [row["step"] for last in rows for row in last] + [step for step, _ in self.grids[-1:]]
        return max([*steps, _integer(self.checkpoint.get("step"))])


def short_names(sources: Sequence[Source]) -> list[str]:
    """A label for each run: the name of its directory, or the whole path if two names are the same."""
    names = [Path(source.name).name for source in sources]
    return names if len(set(names)) == len(names) else [source.name for source in sources]


def describe_images(config: TrainConfig, record: RunRecord) -> str:
    """The data set of a run and the form of its images, in a few words: scores of others are not comparable."""
    height, width, channels = record.image_shape
    return f"{config.dataset}, {height}x{width} {'grey' if channels == 1 else 'colour'}"


def read_source(run_dir: str | Path) -> Source:
    """Read the files of a run. Writes nothing, and needs no lock.

    Raises:
      RunDirError, ConfigError, CheckpointError: with a message of one line, if it is not a run or cannot be read.
      OSError: if a file cannot be read.
    """
    run_dir = Path(run_dir)
    config, record = read_config(run_dir)
    return Source(
        name=str(run_dir if run_dir.name else run_dir.absolute()),
        config=config,
        record=record,
        history=read_history(run_dir),
        grids=sample_grids(run_dir / "samples"),
        reals=run_dir / "reals.png",
        checkpoint=_newest_description(run_dir / "checkpoints"),
        sessions=_read_rows(run_dir / "timing.jsonl"),
    )


def _newest_description(checkpoints: Path) -> dict[str, Any]:
    for step in checkpoint_steps(checkpoints):
        description = _read_json(checkpoints / str(step) / "run.json")
        if isinstance(description, dict):
            return description
    return {}


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that are JSON objects; none if the file does not exist."""
    rows = []
    for line in read_lines(path):
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def _read_json(path: Path) -> Any:
    """The content of a JSON file; None if it does not exist or is not JSON: another process may be writing it."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def _integer(value: Any) -> int:
    return value if type(value) is int else 0
