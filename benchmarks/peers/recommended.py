"""The preset ``recommended``: four steps at a time, as every fourth has the R1 penalty."""

from collections.abc import Callable

import numpy as np

from benchmarks.peers import this_project


def prepare(images: np.ndarray) -> tuple[Callable[[], None], str]:
    """A function that does four whole steps and waits for each, and the device's name."""
    step, device = this_project.prepare(images, preset="recommended", compiled="run")

    def steps() -> None:
        for _ in range(4):
            step()

    return steps, device
