"""Reading what a run has written so far: the rows of its ``metrics.jsonl``, and its grids of samples."""

import contextlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dcgan_jax.evaluation.comparability import Comparability
from dcgan_jax.evaluation.results import present_names
from dcgan_jax.state import GANState


class History(NamedTuple):
    """The rows of a run's ``metrics.jsonl``, in their order.

    Attributes:
      metrics: a row for each logged step: ``step``, an integer, and floats by their names, such as ``d_loss``; without
        those that were NaN or infinite.
      evaluations: a row for each evaluation: ``step``, ``weights``, and ``evaluation``: as `Evaluation.to_json` writes
        it, or None if the images could not be scored.
    """

    metrics: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]


def read_history(run_dir: Path) -> History:
    """The rows of a run, which may be running; none if it has not written any.

    Invalid lines are skipped: a last line that is being written, and lines that were edited by hand.

    Raises:
      OSError: if the file cannot be read.
    """
    history = History([], [])
    for line in read_lines(run_dir / "metrics.jsonl"):
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
            row = json.loads(line)
            if type(row["step"]) is not int or row["step"] < 0:
                continue
            if "evaluation" not in row:
                given = {name: value for name, value in row.items() if name != "step" and value is not None}
                values = {name: _number(value) for name, value in given.items()}
                history.metrics.append({"step": row["step"], **values})
            elif row["evaluation"] is None:
                history.evaluations.append(row)
            elif _is_evaluation(row["evaluation"]):
                named = {part: present_names(row["evaluation"][part]) for part in ("scores", "floor")}
                history.evaluations.append({**row, "evaluation": {**row["evaluation"], **named}})
    return history


def comparable_evaluations(history: History) -> dict[Comparability, list[dict[str, Any]]]:
    """The rows of evaluations that could be scored, by `Comparability`."""
    groups: dict[Comparability, list[dict[str, Any]]] = {}
    for row in history.evaluations:
        evaluation = row["evaluation"]
        if evaluation is not None:
            groups.setdefault(Comparability.of(evaluation), []).append(row)
    return groups


def calls_of(history: History) -> list[tuple[int, dict[str, float]]]:
    """The step and the discriminator's `Calls` of each evaluation, as by `Calls.to_json`, in order.

    Empty for runs without held-out images, and for runs of earlier versions.
    """
    found = []
    for row in history.evaluations:
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            calls = {name: _number(value) for name, value in row["calls"].items()}
            if all(math.isfinite(calls[name]) for name in ("train", "held_out", "fakes")):
                found.append((row["step"], calls))
    return found


def figures(history: History) -> dict[Comparability, list[tuple[float, int]]]:
    """The figure and the step of each evaluation that could be scored, in order, by `Comparability`."""
    return {
        kind: [(float(row["evaluation"]["scores"][kind.figure]), row["step"]) for row in rows]
        for kind, rows in comparable_evaluations(history).items()
    }


def best_evaluation(evaluations: list[tuple[float, int]], steps: Iterable[int]) -> int | None:
    """The step among ``steps`` whose evaluation has the lowest figure, or None."""
    return min((each for each in evaluations if each[1] in steps), default=(0.0, None))[1]


def sample_grids(folder: Path) -> list[tuple[int, Path]]:
    """The steps and paths of the grids in a run's ``samples/``, in order; none if there is no such directory."""
    return sorted((int(path.stem), path) for path in folder.glob("*.png") if path.stem.isdecimal())


def weights_name(state: GANState) -> str:
    """Which weights samples and evaluations of a run use: ``last``, or ``average <decay>``."""
    return "last" if state.ema is None else f"average {state.ema.decay}"


def describe_weights(name: str) -> str:
    """The ``weights`` of an evaluation's row in readable form: the last weights, or their average."""
    decay = name.removeprefix("average ")
    return f"{name} weights" if decay == name else f"average of the weights (decay {decay})"


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file as bytes; none if it does not exist."""
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []


def _is_evaluation(value: dict[str, Any]) -> bool:
    if type(value["samples"]) is not int:
        return False
    both = [_number(value[part][Comparability.of(value).figure]) for part in ("scores", "floor")]
    return all(map(math.isfinite, both))


def _number(value: Any) -> float:
    """The value as a float. Raises: TypeError unless it is a JSON number, which strings and booleans are not."""
    if type(value) not in (int, float):
        raise TypeError(f"not a number: {value!r}")
    return float(value)
