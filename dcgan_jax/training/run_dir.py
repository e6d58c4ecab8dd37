"""The folder that a run lives in: which one, by whom it is held, and the files of it that are not pictures.

config.json    the settings                 checkpoints/   see `dcgan_jax.training.checkpoint`
metrics.jsonl  a row each time of logging   samples/       pictures
models.txt     both networks' layers        lock           who is at work here
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import portalocker

from dcgan_jax.training.config import ConfigError, TrainConfig

_RUNS = Path("runs")
_UNSTARTED = {"lock", "config.json.partial"}  # all that a run leaves that is killed before it has settings


class RunFolderError(ValueError):
    """The run folder cannot be used; the message is one line that says why and what to do."""


def choose_folder(workdir: str | None, resume: bool) -> Path:
    """The folder of a new run or, with ``resume``, of one that can go on. Writes nothing.

    Args:
      workdir: the folder; if None, the next number under ``runs``, or with ``resume`` the newest run there.
      resume: whether to go on with a run.

    Raises:
      RunFolderError: if a new run would meet files, or there is nothing to go on with.
    """
    numbered = [p for p in _RUNS.glob("*") if p.name.isdecimal()]
    if not resume:
        number = 1 + max((int(p.name) for p in numbered), default=0)
        folder = Path(workdir) if workdir else _RUNS / f"{number:04d}"
        if _holds_a_run(folder):
            raise RunFolderError(f"{folder} already holds a run: add --resume to go on with it, or choose another")
        try:
            usable = not folder.exists() or {p.name for p in folder.iterdir()} <= _UNSTARTED
        except OSError:  # a file, or a folder that cannot be read
            usable = False
        if not usable:
            raise RunFolderError(f"{folder} is not an empty folder: choose another --workdir")
        return folder
    held = sorted((int(p.name), p) for p in numbered if _holds_a_run(p))
    if not workdir and not held:
        raise RunFolderError(f"nothing to resume in {_RUNS.absolute()}: name the run's folder with --workdir")
    folder = Path(workdir) if workdir else held[-1][1]
    if not _holds_a_run(folder):
        raise RunFolderError(f"nothing to resume in {folder}: it holds no run; leave --resume out to start one")
    return folder


def check_writable(folder: Path) -> None:
    """Raises: RunFolderError if ``folder``, or the parent it would be made in, cannot be written. Writes nothing."""
    parent = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunFolderError(f"cannot write the run folder {folder}: choose another --workdir, or make it writable")


@contextlib.contextmanager
def hold(folder: Path, resume: bool) -> Iterator[None]:
    """Make ``folder`` if need be, and keep other processes out of it until the end.

    The operating system holds the lock for this process and lets it go when the process ends, however it
    ends; the file only says whose it is.

    Raises:
      RunFolderError: if another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("ab+", buffering=0)
    except OSError as error:
        raise RunFolderError(
            f"cannot write the run folder {folder} ({error.strerror}): choose another --workdir, or make it writable"
        ) from error
    with file:
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException as error:
            file.seek(0)
            owner = file.readline().decode(errors="replace").strip() or "another process"
            raise RunFolderError(f"{folder} is in use by {owner}: let it end, or choose another --workdir") from error
        if not resume and _holds_a_run(folder):  # it began between the choice of the folder and now
            raise RunFolderError(f"{folder} already holds a run: add --resume to go on with it, or choose another")
        with contextlib.suppress(OSError):  # on a full disk the name is missing; the lock is held all the same
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


def read_config(folder: Path) -> TrainConfig:
    """The settings of the run in a folder.

    Raises:
      RunFolderError: if there is no run.
      ConfigError: if its ``config.json`` cannot be used.
    """
    try:
        text = (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"there is no run in {folder}: it holds no readable config.json") from error
    try:
        return TrainConfig.from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{folder / 'config.json'}: {error}") from error


def write_config(folder: Path, config: TrainConfig) -> None:
    """Write the settings, in one move: from then on the folder holds a run."""
    replace_text(folder / "config.json", config.to_json())


def drop_rows_after(path: Path, step: int) -> None:
    """Remove the metrics that lie past a step, whose steps will be done again, and a row half written."""
    kept = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # half a row, or edited by hand
            if json.loads(line)["step"] <= step:
                kept.append(line.decode("utf-8-sig") + "\n")
    replace_text(path, "".join(kept))


def replace_text(path: Path, text: str) -> None:
    """Write a file in one move: a reader never meets half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _holds_a_run(folder: Path) -> bool:
    return (folder / "config.json").exists()
