"""Progress of a run on the terminal: metrics, a progress bar, the time that is left."""

import sys
import time

from dcgan_jax.training.config import TrainConfig

_SLOW_SECONDS = 30 * 60  # a longer run prints which flags give first samples sooner


class Reporter:
    """Prints a progress bar on a terminal, else the tutorial's lines; and once the time that is left."""

    def __init__(self, config: TrainConfig, start: int):
        self._config = config
        self._calls = 0
        self._first: tuple[int, float] | None = None
        self._forecast_printed = False
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=config.steps, initial=start, unit="step", dynamic_ncols=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()

    def log(self, step: int, values: dict[str, float]) -> None:
        """Print a step's metrics."""
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
        else:
            d, a = (values["d_loss"], values["d_accuracy"]), (values["g_loss"], values["g_accuracy"])
            print(f"{step}: [D loss: {d[0]:f}, acc: {d[1]:f}]  [A loss: {a[0]:f}, acc: {a[1]:f}]", flush=True)

    def print(self, line: str) -> None:
        """Print a line of text."""
        self._bar.write(line) if self._bar is not None else print(line, flush=True)

    def update(self, step: int) -> None:
        """Note that the steps up to this one are dispatched; after a few dispatches, print the time that is left."""
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
                    self.print(line)


def forecast(config: TrainConfig, steps_left: int, seconds_per_step: float) -> list[str]:
    """Lines on the time that is left; on a slow device, also the flags that give first samples within half an hour."""
    left = steps_left * seconds_per_step
    rate = 1 / seconds_per_step
    lines = [f"{rate:.2f} steps/s: the remaining {steps_left:,} steps take about {format_duration(left)}"]
    if left > _SLOW_SECONDS:
        # The time of a step is proportional to its batch. A fifth is reserved for the start and for slower moments.
        batch_size = min(64, config.batch_size)
        per_step = seconds_per_step * batch_size / config.batch_size
        steps = int(0.8 * _SLOW_SECONDS / per_step)
        if steps >= 100:
            steps = steps // 100 * 100
        lines.append(
            f"for first samples within half an hour: --batch-size {batch_size} --steps {max(1, steps)} "
            f"--sample-every {max(1, min(100, steps // 2))}"
        )
    return lines


def format_duration(seconds: float) -> str:
    """A duration for people: ``9 s``, ``1 min 15 s``, ``13 h 01 min``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
