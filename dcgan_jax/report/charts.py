"""The charts of a report: which curves are drawn together, and the points of each."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dcgan_jax.losses import named_losses
from dcgan_jax.report.source import Source, short_names
from dcgan_jax.training.history import calls_of, comparable_evaluations

_NAMES = {
    "d_loss": "Discriminator loss",
    "g_loss": "Generator loss",
    "d_accuracy": "Discriminator accuracy",
    "g_accuracy": "Generator accuracy",
    "d_penalty": "Penalty of the discriminator",
    "d_augment": "Probability of the augmentation",
}
_SHARED = (("Losses", ("d_loss", "g_loss")), ("Accuracies", ("d_accuracy", "g_accuracy")))
# The loss of a discriminator at chance level, by the name of the loss.
_AT_CHANCE = {
    "cross-entropy": "In nats. A discriminator that tells nothing apart has a loss of ln 2 = 0.693.",
    "relativistic": "In nats, of pairs. A discriminator that tells nothing apart has a loss of ln 2 = 0.693.",
    "hinge": "A discriminator that tells nothing apart has a loss of 2.",
    "least-squares": "A discriminator that tells nothing apart has a loss of 1.",
    "wasserstein": "The discriminator's is minus the distance that it estimates; it has no minimum.",
}
_OF_IMAGES = (
    "The discriminator's: the share of real and generated images that it tells apart. The generator's: the share of "
    "its images that the discriminator takes for real."
)
_OF_PAIRS = (
    "Of pairs of a real and a generated image. The discriminator's: the share in which the real one looks more real to "
    "it. The generator's: the share of the others."
)
_MEAN_ROWS = 50  # a mean is over 1/50 of the rows: it shows the trend, and still has 50 independent values
_MIN_ROWS = 40  # with fewer rows there is no mean
_CALLS = {"train": "Training images", "held_out": "Held-out images", "fakes": "Generated images"}
_OF_CALLS = (
    "In inference mode, of at most 500 images each. Held-out images are real ones that the run is not trained on. "
    "Where their curve leaves that of the training images for that of the generated ones, the discriminator "
    "memorises its training images."
)
_OF_OVERFITTING = (
    "Where the discriminator's mean logit of held-out images lies between that of training images, 0, and that of "
    "generated ones, 1: from 0.5 on it memorises its training images."
)
_SECOND = ("second_fid", "FID by a second classifier")


def charts(sources: Sequence[Source], points: int) -> list[dict[str, Any]]:
    """The charts of one or several runs; metrics without values have none.

    Args:
      sources: the runs. For one run, related metrics share a chart; for several, each chart has one metric of all runs.
      points: the approximate maximum per curve; the minima and maxima of the curve are kept.

    Returns:
      JSON objects with ``title``, ``about`` and ``lines``. A line has ``label``, ``colour`` (a number), ``x`` (steps),
      ``y``, ``mean`` (the running mean of ``y``; None if there are few rows) and ``floor`` (the score of real images,
      or None).
    """
    return _metric_charts(sources, points) + _call_charts(sources) + _score_charts(sources)


def _metric_charts(sources: Sequence[Source], points: int) -> list[dict[str, Any]]:
    names = sorted({name for source in sources for row in source.history.metrics for name in row} - {"step"})
    if len(sources) == 1:
        groups = [(title, [name for name in shared if name in names]) for title, shared in _SHARED]
        shared = {name for _, group in groups for name in group}
        groups += [(_title(name), [name]) for name in names if name not in shared]
    else:
        known = [name for name in _NAMES if name in names]
        groups = [(_title(name), [name]) for name in [*known, *(name for name in names if name not in known)]]
    labels, result = short_names(sources), []
    for title, group in groups:
        lines = []
        for run, source in enumerate(sources):
            for i, line in enumerate(_metric_lines(source, group, points)):
                label, colour = (_title(group[i]), i) if len(sources) == 1 else (labels[run], run)
                lines.append({"label": label, "colour": colour, **line})
        if lines:
            result.append({"title": title, "about": _about(title, sources[0]), "lines": lines})
    return result


def _about(title: str, source: Source) -> str:
    """An explanation of metrics that share a chart; empty for a recipe, whose losses are unknown."""
    loss = None if source.record.recipe else source.config.loss or "cross-entropy"
    if title == "Losses":
        return _AT_CHANCE.get(loss or "", "")
    if title == "Accuracies" and loss:
        return _OF_PAIRS if named_losses(loss).pairwise else _OF_IMAGES
    return ""


def about_mean(sources: Sequence[Source]) -> str:
    """An explanation of the running means; empty if there are none."""
    windows = {_window(len(source.history.metrics)) for source in sources} - {1}
    if not windows:
        return ""
    low, high = min(windows), max(windows)
    rows = f"{low:,}" if low == high else f"{low:,} to {high:,}, by run,"
    return f"Full lines are means of {rows} logged rows, pale ones what was logged."


def _title(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " ").capitalize())


def _metric_lines(source: Source, names: Sequence[str], points: int) -> list[dict[str, Any]]:
    by_step = {row["step"]: row for row in source.history.metrics if any(name in row for name in names)}
    rows = [by_step[step] for step in sorted(by_step)]
    if not rows:
        return []
    values = np.array([[row.get(name, math.nan) for row in rows] for name in names])  # [names, rows]
    window = _window(len(rows))
    chosen = choose_rows(values, points)
    steps = [rows[i]["step"] for i in chosen]
    lines = []
    for each in values:
        mean = None if window == 1 else [finite(value) for value in running_mean(each, window)[chosen]]
        lines.append({"x": steps, "y": [finite(value) for value in each[chosen]], "mean": mean, "floor": None})
    return lines


def choose_rows(values: np.ndarray, points: int) -> list[int]:
    """Indices of about ``points`` of the rows [names, rows] to draw: each curve's extremes in each interval."""
    names, rows = values.shape
    if rows <= points:
        return list(range(rows))
    chosen = {0, rows - 1}
    edges = np.linspace(0, rows, max(points // (2 * names), 1) + 1).astype(int)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        for each in values[:, low:high]:
            if np.isfinite(each).any():
                chosen |= {low + int(np.nanargmin(each)), low + int(np.nanargmax(each))}
    return sorted(chosen)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of the finite values in a centred window, of odd size and shorter at the ends: [rows] -> [rows]."""
    finite = np.isfinite(values)
    sums, counts = (np.cumsum([0.0, *a]) for a in (np.where(finite, values, 0), finite))
    at = np.arange(len(values))
    low, high = np.maximum(at - window // 2, 0), np.minimum(at + window // 2 + 1, len(values))
    count = counts[high] - counts[low]
    return np.where(count > 0, (sums[high] - sums[low]) / np.maximum(count, 1), math.nan)


def _window(rows: int) -> int:
    """The window of the running mean, an odd number of rows; 1 for no mean."""
    return 1 if rows < _MIN_ROWS else max(rows // _MEAN_ROWS, 3) | 1


def _call_charts(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """The mean logits of one run's discriminator, or the overfitting of those of several runs."""
    if len(sources) == 1:
        rows = calls_of(sources[0].history)
        title, about = "Mean logit of the discriminator", _OF_CALLS
        lines = [{"label": label, "colour": i, **_line(rows, name)} for i, (name, label) in enumerate(_CALLS.items())]
    else:
        title, about = "Overfitting of the discriminator", _OF_OVERFITTING
        labels = short_names(sources)
        lines = [
            {"label": labels[run], "colour": run, **_line(calls_of(source.history), "overfitting")}
            for run, source in enumerate(sources)
        ]
    lines = [line for line in lines if line["x"]]
    return [{"title": title, "about": about, "lines": lines}] if lines else []


def _score_charts(sources: Sequence[Source]) -> list[dict[str, Any]]:
    groups = [
        {(source.data, kind): rows for kind, rows in comparable_evaluations(source.history).items()}
        for source in sources
    ]
    kinds = sorted({each for group in groups for each in group})
    several = len({data for data, _ in kinds}) > 1
    names = {(data, kind): f"{kind}{f', of {data}' if several else ''}" for data, kind in kinds}
    apart = (
        "Scores are comparable within a chart only: the evaluations differ in their data set, their features or their "
        f"number of images ({'; '.join(names.values())})."
    )
    labels, result = short_names(sources), []
    for each in kinds:
        for name, title in ((each[1].figure, each[1].title), _SECOND):
            lines = [
                {"label": labels[run] if len(sources) > 1 else title, "colour": run, **_score_line(group[each], name)}
                for run, group in enumerate(groups)
                if each in group
            ]
            lines = [line for line in lines if line["x"]]
            if lines:
                about = f"Of {names[each]}; lower is better. Dashed: as many real images."
                if len(kinds) > 1:
                    title, about = f"{title}: {names[each]}", f"{about} {apart}"
                result.append({"title": title, "about": about, "lines": lines})
    return result


def _score_line(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    line = _line([(row["step"], row["evaluation"]["scores"]) for row in rows], name)
    return {**line, "floor": finite(rows[-1]["evaluation"]["floor"].get(name))}


def _line(rows: Sequence[tuple[int, dict[str, Any]]], name: str) -> dict[str, Any]:
    """The points of the value called ``name`` in rows of evaluations, where it is a number."""
    by_step = {step: finite(values.get(name)) for step, values in rows}
    points = [(step, by_step[step]) for step in sorted(by_step) if by_step[step] is not None]
    return {"x": [step for step, _ in points], "y": [value for _, value in points], "mean": None, "floor": None}


def finite(value: Any) -> float | None:
    """A number rounded to five significant digits, as many as a chart shows; None if it is not a finite number."""
    return float(f"{value:.5g}") if isinstance(value, int | float) and abs(value) < 1e300 else None
