"""What the training programs of other frameworks share: their flags, and their rows of metrics when they resume."""

import argparse
import json
from pathlib import Path

SAVE_EVERY = 50  # steps
SAMPLES = 10_000


def program_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the flags that `benchmarks.quality` gives."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--draw-at", type=int, nargs="+", default=[1000], help="steps with a file of 10,000 images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-every", type=int, help="steps between files of the generator alone")
    parser.add_argument("--draw-from", type=Path, help="train nothing: draw with the generator of such a file")
    return parser


def kept_file(folder: Path, step: int | str) -> Path:
    """Where the generator of a step is kept; ``*`` is the pattern of all steps."""
    return folder / f"generator-{step}.npz"


def step_of(kept: Path) -> int:
    """The step of such a file."""
    return int(kept.stem.removeprefix("generator-"))


def rows_up_to(rows: Path, step: int) -> list[str]:
    """The lines of a file of metrics up to a step."""
    return [line for line in rows.read_text().splitlines() if json.loads(line)["step"] <= step]
