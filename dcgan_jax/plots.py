"""Curves of runs: losses, accuracies and FID against steps."""

import math
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.errors import UserError
from dcgan_jax.evaluation.comparability import Comparability
from dcgan_jax.files import replace_file
from dcgan_jax.training.history import History, calls_of, comparable_evaluations
from dcgan_jax.versions import require

PLOTS = {  # formats, and options without dates, so that the same rows give the same file
    ".png": {"pil_kwargs": {"optimize": True}},
    ".svg": {"metadata": {"Date": None}},
    ".pdf": {"metadata": {"CreationDate": None}},
}
_METRICS = {
    "d_loss": "loss of the discriminator",
    "g_loss": "loss of the generator",
    "d_accuracy": "accuracy of the discriminator",
    "g_accuracy": "share of fakes that pass as real",
}
_CALLS = {"train": ("training images", "-"), "held_out": ("held-out images", "--"), "fakes": ("fakes", ":")}
# Okabe and Ito's colours, distinct for the colour-blind too, without their yellow, which is hard to see on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_FURTHER_FONTS = ("Noto Sans CJK KR", "Noto Sans CJK JP", "Malgun Gothic", "Apple SD Gothic Neo", "NanumGothic")
_TITLE = 50  # characters across an axis
_PARTS = 40  # a smoothed curve is a moving mean over 1/40 of a run's rows


class PlotError(UserError):
    """Curves cannot be drawn."""


def require_matplotlib() -> None:
    """Raises: PlotError if Matplotlib is not installed."""
    require("matplotlib.figure", "plot", "this", PlotError)


def save_plot(path: Path, runs: Mapping[str, History], data: Mapping[str, str] | None = None) -> None:
    """Draw the curves of runs by name, each run in its own colour, as a ``.png``, ``.svg`` or ``.pdf``.

    If a run holds out images, the discriminator's mean logits of them, of training images and of fakes are drawn.
    Smoothed curves are drawn over the raw ones. If a run has evaluations, its FID, or without one its sliced
    Wasserstein distance, is drawn next to that of real images; a failed evaluation interrupts the line. Evaluations in
    other features, or of other numbers of images, have their own axis; if ``data`` names the images of each run, so
    have those of other images.

    Raises:
      PlotError: as `require_matplotlib`.
      OSError: if the file cannot be written.
    """
    require_matplotlib()
    from matplotlib import font_manager, rc_context, rcParamsDefault  # pyright: ignore[reportMissingImports]
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    # Not the user's own settings, which may need LaTeX. Names of runs are not formulas, and may be Korean.
    settings: dict[Any, Any] = {name: value for name, value in rcParamsDefault.items() if "backend" not in name}
    fonts = ["DejaVu Sans", *(font for font in _FURTHER_FONTS if font in font_manager.get_font_names())]
    settings |= {"font.size": 9, "font.family": fonts, "text.parse_math": False}
    settings |= {"figure.constrained_layout.w_pad": 0.1, "figure.constrained_layout.h_pad": 0.1}
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "dcgan-jax"}
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box is drawn for it
        kinds = _kinds(runs, data or dict.fromkeys(runs, ""))
        columns = 2 + len(kinds) + any(calls_of(history) for history in runs.values())
        figure = Figure(figsize=(4.2 * columns, 6.2), layout="constrained")
        _draw(figure, runs, kinds)
        options = {"format": path.suffix[1:], **PLOTS[path.suffix]}
        replace_file(path, lambda partial: figure.savefig(partial, **options))


def smooth(steps: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps [N - n + 1], and the means of the ``n`` values around each."""
    return steps[n // 2 : len(steps) - (n - 1) // 2], np.convolve(values, np.ones(n) / n, "valid")


def _draw(figure: Any, runs: Mapping[str, History], kinds: Mapping[str, tuple[Comparability, list[str]]]) -> None:
    called = {name: rows for name, history in runs.items() if (rows := calls_of(history))}
    beside = [*(["calls"] if called else []), *kinds]
    mosaic = [["d_loss", "g_loss", *beside], ["d_accuracy", "g_accuracy", *beside]]
    axes = figure.subplot_mosaic(mosaic, sharex=True)
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(runs)}
    for metric, title in _METRICS.items():
        axes[metric].set_title(title)
        for name, history in runs.items():
            _draw_metric(axes[metric], history, metric, colours[name])
    for metric in ("d_accuracy", "g_accuracy"):
        axes[metric].set(xlabel="step", ylim=(-0.03, 1.03))
    if called:
        _draw_calls(axes["calls"], called, colours)
    for name, (kind, of_runs) in kinds.items():
        _draw_scores(axes[name], {each: runs[each] for each in of_runs}, kind, colours)
        of = f"\n{textwrap.fill(f'of {name}', _TITLE)}" if len(kinds) > 1 else ""
        axes[name].set_title(f"{kind.title} (lower is better){of}")
    for axis in axes.values():
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    lines = [axes["d_loss"].plot([], [], color=colours[name])[0] for name in runs]
    figure.legend(lines, list(runs), loc="outside lower center", ncols=min(len(runs), 3), frameon=False)


def _draw_metric(axis: Any, history: History, metric: str, colour: str) -> None:
    rows = [(row["step"], row[metric]) for row in history.metrics if metric in row]
    steps, values = np.array(rows, float).reshape(-1, 2).T
    n = len(steps) // _PARTS
    if n < 2:
        axis.plot(steps, values, color=colour, linewidth=1.2, marker="." if len(steps) == 1 else "")
        return
    axis.plot(steps, values, color=colour, linewidth=0.6, alpha=0.25)
    axis.plot(*smooth(steps, values, n), color=colour, linewidth=1.4)


def _draw_calls(
    axis: Any, called: Mapping[str, list[tuple[int, dict[str, float]]]], colours: Mapping[str, str]
) -> None:
    for name, rows in called.items():
        steps = [step for step, _ in rows]
        for kind, (_, style) in _CALLS.items():
            axis.plot(steps, [calls[kind] for _, calls in rows], style, color=colours[name], linewidth=1.4)
    lines = [axis.plot([], [], style, color="0.35")[0] for _, style in _CALLS.values()]
    axis.legend(lines, [label for label, _ in _CALLS.values()], frameon=False)
    axis.set(xlabel="step", title="mean logit of the discriminator")


def _draw_scores(axis: Any, runs: Mapping[str, History], group: Comparability, colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator  # pyright: ignore[reportMissingImports]

    floors: set[float] = set()
    lowest = math.inf
    for name, history in runs.items():
        rows = [(row["step"], row["evaluation"]) for row in history.evaluations]
        rows = [(step, each) for step, each in rows if each is None or Comparability.of(each) == group]
        if all(each is None for _, each in rows):
            continue
        figures = [math.nan if each is None else each["scores"][group.figure] for _, each in rows]
        floors |= {round(each["floor"][group.figure], 2) for _, each in rows if each is not None}
        axis.plot([step for step, _ in rows], figures, color=colours[name], linewidth=1.4, marker="o", markersize=3)
        lowest = min(lowest, *floors, *(each for each in figures if not math.isnan(each)))
    for floor in sorted(floors):
        axis.axhline(floor, color="0.35", linestyle="--", linewidth=1)
        axis.annotate(
            f"real images: {floor:.2f}", (1, floor), (0, 3), ("axes fraction", "data"), "offset points", ha="right"
        )
    axis.set(xlabel="step")
    if lowest <= 0:  # as a KID can be, which is about 0 for real images
        axis.set_yscale("symlog", linthresh=1)
    else:
        axis.set_yscale("log")
        axis.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")


def _kinds(runs: Mapping[str, History], data: Mapping[str, str]) -> dict[str, tuple[Comparability, list[str]]]:
    """The kinds of evaluation in the runs, with their runs, by name; figures of the same kind are comparable."""
    found = sorted({(data[run], kind) for run, history in runs.items() for kind in comparable_evaluations(history)})
    several = len({of for of, _ in found}) > 1
    return {
        f"{kind}{f', of {of}' if several else ''}": (kind, [run for run in runs if data[run] == of])
        for of, kind in found
    }
