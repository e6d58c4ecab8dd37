"""Writing a run's rows of metrics to ``metrics.jsonl``."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from dcgan_jax.files import errors_name, replace_text
from dcgan_jax.training.history import read_lines
from dcgan_jax.training.run_dir import RunDirError


class MetricsFile:
    """Appends rows to ``metrics.jsonl``. Every OSError names the file."""

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append a row, which is in the file after `flush` and on disk after `sync`."""
        with errors_name(self._path):
            self._file.write(json.dumps(row) + "\n")

    def flush(self) -> None:
        """Write the rows so far to the file.

        Raises:
          RunDirError: if the file was removed, renamed or replaced, as later rows would be lost.
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
        """`flush`, and flush the file to disk."""
        self.flush()
        with errors_name(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with errors_name(self._path):
            self._file.close()


def truncate_metrics(path: Path, step: int) -> None:
    """Remove the rows after ``step``, as these steps are repeated, and lines that are not complete rows."""
    kept = []
    for line in read_lines(path):
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # part of a row, or edited by hand
            if json.loads(line)["step"] <= step:
                kept.append(line.decode("utf-8-sig") + "\n")
    replace_text(path, "".join(kept))
