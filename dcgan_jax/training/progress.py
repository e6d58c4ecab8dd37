"""Progress of a run on the terminal: metrics, a progress bar, the remaining time."""

import contextlib
import sys
import time
from collections.abc import MutableMapping
from typing import Any

from tqdm.std import tqdm

from dcgan_jax.console import print_line, terminal_columns
from dcgan_jax.training.config import TrainConfig

_SLOW_SECONDS = 30 * 60  # a longer run prints which settings give first samples sooner
_MIN_COLUMNS = 20  # a narrower terminal has no progress bar


class Reporter:
    """Prints a progress bar on a terminal, else the tutorial's lines; and once the remaining time.

    While there is a bar, everything printed on standard output and standard error appears above it.
    """

    def __init__(self, config: TrainConfig, start: int):
        self._config = config
        self._calls = 0
        self._first: tuple[int, float] | None = None
        self._forecast_printed = False
        self._stack = contextlib.ExitStack()
        self._bar = None
        if terminal_columns(sys.stderr) >= _MIN_COLUMNS:
            self._bar = _Bar(
                total=config.steps, initial=start, unit="step", dynamic_ncols=True, file=_Lenient(sys.stderr)
            )
            self._stack.callback(self._bar.close)
            self._stack.enter_context(contextlib.redirect_stdout(_AboveBar(sys.stdout, self._bar)))
            self._stack.enter_context(contextlib.redirect_stderr(_AboveBar(sys.stderr, self._bar)))

    def close(self) -> None:
        """Close the bar, and restore the standard streams."""
        self._stack.close()

    def log(self, step: int, values: dict[str, float]) -> None:
        """Print a step's metrics."""
        d_loss, d_accuracy, g_loss, g_accuracy = (
            values[name] for name in ("d_loss", "d_accuracy", "g_loss", "g_accuracy")
        )
        if self._bar is not None:
            metrics = f"D {d_loss:.2f} {d_accuracy:.0%} G {g_loss:.2f} {g_accuracy:.0%} "
            self._bar.set_description_str(metrics, refresh=False)
        else:
            print_line(f"{step}: [D loss: {d_loss:f}, acc: {d_accuracy:f}]  [A loss: {g_loss:f}, acc: {g_accuracy:f}]")

    def update(self, step: int) -> None:
        """Advance the bar to this step, the last one dispatched; after a few dispatches, print the remaining time."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
        now = time.perf_counter()
        self._calls += 1
        if self._calls == 4:
            # Earlier dispatches compile and fill the queue; each later one waits for one to end.
            self._first = (step, now)
        elif self._first is not None and not self._forecast_printed:
            steps, seconds = step - self._first[0], now - self._first[1]
            if steps >= 5 and (seconds >= 0.5 or steps >= 50):
                self._forecast_printed = True
                for line in forecast(self._config, self._config.steps - step, seconds / steps):
                    print_line(line)


# From the widest: the first that fits is used, so that the remaining time is always shown.
_LAYOUTS = (
    "{n_fmt}/{total_fmt} |{bar:40}| {desc}{rate_fmt} ETA {remaining}",
    "{n_fmt}/{total_fmt} |{bar}| {desc}{rate_fmt} ETA {remaining}",  # measured with a bar of ten
    "{n_fmt}/{total_fmt} {desc}{rate_fmt} ETA {remaining}",
    "{n_fmt}/{total_fmt} {rate_fmt} ETA {remaining}",
    "{n_fmt}/{total_fmt} ETA {remaining}",
    "{n_fmt} ETA {remaining}",
    "{remaining}",
)


class _Bar(tqdm):
    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        values = super().format_dict
        for layout in _LAYOUTS:
            values["bar_format"] = layout
            if not values["ncols"] or len(self.format_meter(**{**values, "ncols": None})) <= values["ncols"]:
                break
        return values

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        self.nrows = None  # tqdm shows no bar on a terminal of 0 rows, as serial lines and CI have
        super().display(msg, pos)


class _Lenient:
    """A stream whose errors are ignored, so that a closed terminal, for example, does not end the run."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(Exception):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(Exception):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _AboveBar:
    """Wraps a standard stream while there is a progress bar: lines are written above the bar."""

    def __init__(self, stream: Any, bar: tqdm):
        self._stream, self._bar, self._begun = stream, bar, ""

    def write(self, text: str) -> int:
        lines, newline, self._begun = (self._begun + text).rpartition("\n")
        if newline:
            with self._bar.get_lock():
                self._bar.clear(nolock=True)
                try:
                    self._stream.write(lines + newline)
                    self.flush()
                finally:
                    self._bar.refresh(nolock=True)
        return len(text)

    def flush(self) -> None:
        """Flush the complete lines: an unfinished one is written when it ends."""
        getattr(self._stream, "flush", lambda: None)()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forecast(config: TrainConfig, steps_left: int, seconds_per_step: float) -> list[str]:
    """Lines with the remaining time and, for a long run, the settings that give first samples within half an hour."""
    left = steps_left * seconds_per_step
    rate = 1 / seconds_per_step
    takes = "step takes" if steps_left == 1 else "steps take"
    lines = [f"{rate:.2f} steps/s: the remaining {steps_left:,} {takes} about {format_duration(left)}"]
    if left > _SLOW_SECONDS:
        # A step's time is taken as proportional to its batch. A fifth is reserved for the start and for slower periods.
        batch_size = min(64, config.batch_size)
        per_step = seconds_per_step * batch_size / config.batch_size
        steps = int(0.8 * _SLOW_SECONDS / per_step)
        if steps >= 100:
            steps = steps // 100 * 100
        lines.append(
            f"for first samples within half an hour: `batch_size={batch_size}` `steps={max(1, steps)}` "
            f"`sample_every={max(1, min(100, steps // 2))}`"
        )
    return lines


def format_duration(seconds: float) -> str:
    """A duration in readable form: ``9 s``, ``1 min 15 s``, ``13 h 01 min``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
