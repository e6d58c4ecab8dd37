"""Event files for TensorBoard, without TensorFlow."""

import dataclasses
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.console import print_line
from dcgan_jax.errors import UserError
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.scorer import figure_while_training
from dcgan_jax.versions import require

_FLUSH_SECONDS = 5.0  # between flushes: each waits for the disk


class TensorBoardError(UserError):
    """TensorBoard's files cannot be written, because a package is missing."""


def check_tensorboard() -> None:
    """Raises: TensorBoardError if the package tensorboardX is not installed."""
    _module("proto.event_pb2")


class TensorBoard:
    """Writes one event file in ``RUN/tensorboard``: scalars, images, and the config as hyperparameters."""

    field = "`tensorboard`"

    def __init__(self, config: TrainConfig, run_dir: Path):
        """Begin a new file; those of earlier starts are removed."""
        folder = run_dir / "tensorboard"
        folder.mkdir(exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._summary, self._proto = _module("summary"), _module("proto.event_pb2")
        # tensorboardX's SummaryWriter writes in a thread, whose errors are lost; here they are raised.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._file, self._flushed = _module("record_writer").RecordWriter(str(folder / name)), time.monotonic()
        self._write(file_version="brain.Event:2")
        # A running TensorBoard discards what it has read of the run.
        self._write(session_log=self._proto.SessionLog(status=self._proto.SessionLog.START), step=0)
        values = dataclasses.asdict(config).items()
        hparams = {name: ", ".join(value) if isinstance(value, tuple) else value for name, value in values}
        scores = (f"evaluation/scores/{figure_while_training(config)}",) if config.eval_every else ()
        for each in self._summary.hparams(hparams, dict.fromkeys(("d_loss", "g_loss", *scores))):
            self._write(summary=each)
        print_line(f"TensorBoard: tensorboard --logdir {folder}")

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write an event for each number."""
        for name, value in values.items():
            self._write(summary=self._summary.scalar(name, value), step=step)

    def log_images(self, step: int, name: str, images: np.ndarray) -> None:
        """Write an event with the grid as a PNG."""
        self._write(summary=self._summary.image(name, images, dataformats="HWC"), step=step)

    def close(self) -> None:
        """Flush and close the file."""
        try:
            self._file.flush()
        finally:
            self._file.close()

    def _write(self, **fields: Any) -> None:
        self._file.write(self._proto.Event(wall_time=time.time(), **fields).SerializeToString())
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()


def _module(name: str) -> Any:
    return require(f"tensorboardX.{name}", "tensorboard", "`tensorboard`", TensorBoardError)
