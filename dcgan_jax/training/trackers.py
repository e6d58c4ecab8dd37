"""Logging of runs to Weights & Biases and Trackio."""

import contextlib
import dataclasses
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.console import print_line
from dcgan_jax.errors import UserError, first_line
from dcgan_jax.images import as_picture
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.versions import require

_PROJECT = "dcgan-jax"  # of all runs
_TRACKIO_REMOTES = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


class TrackerError(UserError):
    """A tracker cannot be used."""


def check_tracker(config: TrainConfig) -> None:
    """Check that the tracker of a run, ``config.log``, can be used.

    Raises:
      TrackerError: if the package is not installed, the user is not logged in, the server cannot be reached, or
        Trackio is set to log to another machine.
    """
    package = _package(config.log)
    if config.log == "wandb":
        _check_login(package)
    remote = next(filter(os.environ.get, _TRACKIO_REMOTES), None)
    if config.log == "trackio" and remote:
        raise TrackerError(
            f"`log='trackio'` logs on this machine alone, and {remote} is set: unset it; trackio.sync({_PROJECT!r}) "
            "publishes"
        )


class Tracker:
    """Logs to Weights & Biases or to Trackio, which have the same interface."""

    def __init__(self, field: str, package: Any, run: Any, first: int = 0):
        """Log to an open ``run`` of the ``package``, from the step ``first`` on."""
        self.field, self._package, self._run, self._first = field, package, run, first

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers unchanged."""
        self._log(step, dict(values))

    def log_images(self, step: int, name: str, images: np.ndarray) -> None:
        """Log the grid as a picture."""
        self._log(step, {name: self._package.Image(as_picture(images))})

    def close(self) -> None:
        """Send pending data, and end the run."""
        with _silent():
            self._package.finish()

    def _log(self, step: int, values: dict[str, Any]) -> None:
        if step >= self._first and values:
            self._run.log(values, step=step)


def open_tracker(config: TrainConfig, run_dir: Path, log_id: str | None) -> Tracker:
    """Open the run with the identifier ``log_id``. Raises: TrackerError if it cannot be opened."""
    field = f"`log={config.log!r}`"
    try:
        return (_open_wandb if config.log == "wandb" else _open_trackio)(config, run_dir, log_id, field)
    except Exception as error:  # whatever the packages raise
        raise TrackerError(
            f"{field} cannot start ({first_line(error)}): mend it and resume, or `log='none'`"
        ) from error


def _open_wandb(config: TrainConfig, run_dir: Path, log_id: str | None, field: str) -> Tracker:
    """Open the run at Weights & Biases by its identifier.

    The server keeps the rows that it has, and gets those after them. Offline, the files are rewritten.
    """
    wandb = _package(config.log)
    old = list((run_dir / "wandb").glob("offline-run-*"))
    settings = wandb.Settings(silent=True, console="off", save_code=False, disable_git=True, disable_job_creation=True)
    run = wandb.init(
        project=_PROJECT,
        name=run_dir.name,
        id=log_id,
        resume="allow",
        dir=str(run_dir),
        config=dataclasses.asdict(config),
        settings=settings,
    )
    for folder in old:
        if folder != Path(run.dir).parent:
            shutil.rmtree(folder)
    print_line(f"W&B: wandb sync {Path(run.dir).parent}" if run.offline else f"W&B: {run.url}")
    return Tracker(field, wandb, run, run.starting_step)


def _check_login(wandb: Any) -> None:
    """Raises: TrackerError if the user is not logged in at Weights & Biases, or it cannot be reached."""
    reason = "nobody is logged in"
    try:
        with _silent():
            if wandb.setup().settings.mode != "online" or wandb.login(prompt=False):
                return
    except Exception as error:  # of authentication, or of the network
        reason = first_line(error)
    raise TrackerError(f"`log='wandb'` cannot log in ({reason}): run wandb login, or set WANDB_MODE=offline")


def _open_trackio(config: TrainConfig, run_dir: Path, log_id: str | None, field: str) -> Tracker:
    """Open a new run of Trackio, which replaces the one of an earlier start."""
    trackio = _package(config.log)
    name = f"{run_dir.name}-{log_id}"
    with _silent():
        with contextlib.suppress(ValueError):  # there is no project yet
            for run in trackio.Api().runs(_PROJECT):
                if run.name == name:
                    run.delete()
        run = trackio.init(project=_PROJECT, name=name, config=dataclasses.asdict(config), embed=False)
    print_line(f"Trackio: trackio show --project {_PROJECT}")
    return Tracker(field, trackio, run)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Within this context, nothing is printed: the packages print greetings."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _package(log: str) -> Any:
    return require(log, log, f"`log={log!r}`", TrackerError)
