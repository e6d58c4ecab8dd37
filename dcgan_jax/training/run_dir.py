"""The run directory: its path, its lock and its config.

Its contents, besides pictures and a report:

config.json    the config and the record    checkpoints/   see `dcgan_jax.training.checkpoint`
metrics.jsonl  a row per logged step        samples/       grids of samples
models.txt     both networks' layers        lock           the process that uses the directory
timing.jsonl   a row per session            tensorboard/, wandb/, profile/   if asked for
recipe.py      a copy of the recipe that built the initial state; never executed
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import portalocker

from dcgan_jax.errors import UserError
from dcgan_jax.files import PARTIAL, flush, replace_file, replace_text
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.record import RunRecord, from_json, to_json

_RUNS = Path("runs")
_UNSTARTED = {"lock", "config.json" + PARTIAL, "checkpoints"}  # all that a run without a config can leave


class RunDirError(UserError):
    """The run directory cannot be used."""


def resolve_run_dir(workdir: str | None, resume: bool) -> Path:
    """The run directory of a new run or, with ``resume``, of one that can be resumed. Writes nothing.

    Args:
      workdir: the directory; if None, the next number under ``runs``, or with ``resume`` the newest run there.
      resume: whether to resume a run.

    Raises:
      RunDirError: if the directory of a new run has other files, or there is no run to resume.
    """
    numbered = [p for p in _RUNS.glob("*") if p.name.isdecimal()]
    if not resume:
        number = 1 + max((int(p.name) for p in numbered), default=0)
        run_dir = Path(workdir) if workdir else _RUNS / f"{number:04d}"
        _check_no_run(run_dir)
        try:
            usable = not run_dir.exists() or _is_unstarted(run_dir)
        except OSError:  # a file, or a directory that cannot be read
            usable = False
        if not usable:
            raise RunDirError(f"{run_dir} is not an empty directory: choose another `workdir`")
        return run_dir
    if workdir:
        run_dir = Path(workdir)
    else:
        runs = [(int(p.name), p) for p in numbered if _is_run_dir(p)]
        if not runs:
            raise RunDirError(f"nothing to resume in {_RUNS.absolute()}: name the run directory with `workdir`")
        _, run_dir = max(runs)
    if not _is_run_dir(run_dir):
        raise RunDirError(f"nothing to resume in {run_dir}: it holds no run; omit `resume` to start one")
    return run_dir


def claim_number(run_dir: Path) -> Path:
    """Create a numbered run directory, or the next one if another process creates it at the same moment.

    Raises:
      RunDirError: if it cannot be created.
    """
    while True:
        try:
            run_dir.mkdir(parents=True)
        except FileExistsError:
            run_dir = run_dir.with_name(f"{int(run_dir.name) + 1:04d}")
        except OSError as error:
            raise _not_writable(run_dir, error) from error
        else:
            return run_dir


def check_writable(run_dir: Path) -> None:
    """Raises: RunDirError if ``run_dir``, or its closest parent that exists, cannot be written. Writes nothing."""
    parent = next(p for p in (run_dir.absolute(), *run_dir.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunDirError(f"cannot write the run directory {run_dir}: choose another `workdir`, or make it writable")


@contextlib.contextmanager
def lock_run_dir(run_dir: Path, resume: bool) -> Iterator[None]:
    """Create ``run_dir`` if it does not exist, and lock it against other processes within the context.

    The operating system releases the lock when this process ends, however it ends; the content of the file only names
    the process.

    Raises:
      RunDirError: if another process holds the lock, or the directory cannot be written or locked.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / "lock").open("ab+", buffering=0)
    except OSError as error:
        raise _not_writable(run_dir, error) from error
    with file:
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException as error:
            reason = error.__context__
            if isinstance(reason, OSError) and reason.errno not in (errno.EACCES, errno.EAGAIN):
                raise RunDirError(
                    f"cannot lock the run directory {run_dir} ({reason.strerror}): choose a `workdir` on another disk"
                ) from error
            owner = ""
            with contextlib.suppress(OSError):
                file.seek(0)
                owner = file.readline().decode(errors="replace").strip()
            owner = owner or "another process"
            raise RunDirError(f"{run_dir} is in use by {owner}: wait for it, or choose another `workdir`") from error
        if not resume:  # a run may have started since the directory was resolved
            _check_no_run(run_dir)
        with contextlib.suppress(OSError):  # on a full disk the name is missing, but the lock is held
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


def read_config(run_dir: Path) -> tuple[TrainConfig, RunRecord]:
    """The config and the record of the run in a directory.

    Raises:
      RunDirError: if there is no run.
      ConfigError: if its ``config.json`` cannot be used.
    """
    try:
        text = (run_dir / "config.json").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError) as error:
        reason = "holds no readable config.json" if os.path.lexists(run_dir) else "does not exist"
        raise RunDirError(f"there is no run in {run_dir}: it {reason}") from error
    except OSError as error:
        raise RunDirError(f"cannot read {run_dir / 'config.json'} ({error.strerror})") from error
    try:
        return from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{run_dir / 'config.json'}: {error}") from error


def write_config(run_dir: Path, config: TrainConfig, record: RunRecord, recipe: bytes | None = None) -> None:
    """Write config and record atomically, after which the directory holds a run; then a copy of a recipe's source."""
    replace_text(run_dir / "config.json", to_json(config, record))
    if recipe is not None:
        replace_file(run_dir / "recipe.py", lambda partial: partial.write_bytes(recipe))
    flush(run_dir)


def _is_run_dir(path: Path) -> bool:
    try:
        return (path / "config.json").exists()
    except OSError as error:
        raise RunDirError(f"cannot use {path} as a run directory ({error.strerror}): choose another") from error


def _is_unstarted(run_dir: Path) -> bool:
    """Whether a directory is empty, or holds only what a command that failed or was killed left before its start."""
    names, checkpoints = {p.name for p in run_dir.iterdir()}, run_dir / "checkpoints"
    whole = [p for p in checkpoints.iterdir() if p.suffix != PARTIAL] if "checkpoints" in names else []
    return names <= _UNSTARTED and not whole


def _check_no_run(run_dir: Path) -> None:
    if _is_run_dir(run_dir):
        raise RunDirError(f"{run_dir} already holds a run: add `resume=True` to resume it, or choose another `workdir`")


def _not_writable(run_dir: Path, error: OSError) -> RunDirError:
    reason = f"cannot write the run directory {run_dir} ({error.strerror})"
    return RunDirError(f"{reason}: choose another `workdir`, or make it writable")
