"""The rows of metrics of a run, which are appended to ``metrics.jsonl``."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from dcgan_jax.files import errors_name, replace_text
from dcgan_jax.training.history import read_lines
from dcgan_jax.training.run_dir import RunDirError


class MetricsFile:
    """``metrics.jsonl``, to which rows are appended. Every OSError names it."""

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append a row, which is in the file after `flush` and on the disk after `sync`."""
        with errors_name(self._path):
            self._file.write(json.dumps(row) + "\n")

    def flush(self) -> None:
        """Put the rows so far into the file.

        Raises:
          RunDirError: if the file is no longer in its place: nothing that follows would be found.
        """
        with errors_name(self._path):
            self._file.flush()
            try:
                there = os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
            except FileNotFoundError:
                there = False
        if not there:
            raise RunDirError(f"{self._path} was removed, renamed or replaced while the run was writing it")

    def sync(self) -> None:
        """`flush`, and flush the file to the disk."""
        self.flush()
        with errors_name(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with errors_name(self._path):
            self._file.close()


def truncate_metrics(path: Path, step: int) -> None:
    """Remove the rows of metrics after a step, whose steps are repeated, and a row that is only partly written."""
    kept = []
    for line in read_lines(path):
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # part of a row, or edited by hand
            if json.loads(line)["step"] <= step:
                kept.append(line.decode("utf-8-sig") + "\n")
    replace_text(path, "".join(kept))
