"""The report of runs: their curves, samples, scores and settings, in a page of limited size."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcgan_jax.report.charts import about_mean, charts
from dcgan_jax.report.nearest import nearest_pictures
from dcgan_jax.report.render import ReportError, check_page, render, replace_page
from dcgan_jax.report.source import Source, short_names
from dcgan_jax.report.tables import commands, facts, tables

MAX_BYTES = 5_000_000
_POINTS = 2_000  # per curve: two per pixel on a wide screen
_MIN_POINTS = 100  # with fewer, a curve loses its shape
_OF_NEAREST = 5  # nearest pictures take at most a fifth of the page
_MAX_GRIDS = 60  # per run: as many positions of a slider as a finger can tell apart


def write_report(sources: Sequence[Source], out: str | Path, *, nearest: bool = False) -> None:
    """Write a report of runs to one HTML file, atomically.

    Args:
      sources: the runs.
      out: the file.
      nearest: whether to show the training pictures that are nearest to samples, for which the runs' images are
        loaded.

    Raises:
      ReportError: as `check_page`, or if the runs are too many for one file.
      OSError: if a file cannot be read or written.
    """
    out = Path(out)
    check_page(out)
    replace_page(out, report_page(sources, nearest=nearest))


def report_page(sources: Sequence[Source], max_bytes: int = MAX_BYTES, *, nearest: bool = False) -> bytes:
    """The report of runs as HTML; curves are thinned to what a screen can show, grids of samples to what fits.

    Args: as `write_report`.

    Raises:
      ReportError: if the curves alone are more than ``max_bytes``.
      OSError: if a picture cannot be read.
    """
    about = [
        {"name": source.name, "label": label, "facts": facts(source), "commands": commands(source)}
        for label, source in zip(short_names(sources), sources, strict=True)
    ]
    of_each = max_bytes // _OF_NEAREST // len(sources)
    near = [nearest_pictures(source, of_each) for source in sources] if nearest else []
    for points in (_POINTS, _POINTS // 4, _MIN_POINTS):
        data = {
            "runs": about,
            "charts": charts(sources, points),
            "mean": about_mean(sources),
            "tables": tables(sources),
            "nearest": near,
            "pictures": [],
        }
        left = max_bytes - len(render(_title(sources), "report", data))
        if left > max_bytes // 2:  # the other half is for the pictures
            break
    if left < 0:
        raise ReportError(f"a report of {len(sources)} runs would be over {max_bytes:,} bytes: name fewer runs")
    data["pictures"] = [_pictures(source, left // len(sources)) for source in sources]
    return render(_title(sources), "report", data)


def _title(sources: Sequence[Source]) -> str:
    return sources[0].name if len(sources) == 1 else f"{len(sources)} runs"


def _pictures(source: Source, max_bytes: int) -> dict[str, Any]:
    """A run's grids of samples and its real images, in base64; grids are left out evenly until they fit."""
    reals = _base64(source.reals) if source.reals.exists() else None
    left = max_bytes - len(reals or "") - 200  # the names of this object's fields
    if left < 0:
        reals, left = None, max_bytes
    sizes = [path.stat().st_size for _, path in source.grids]
    chosen = choose_grids(sizes, left)
    grids = [(source.grids[i][0], _base64(source.grids[i][1])) for i in chosen]
    return {"reals": reals, "grids": grids, "left_out": len(sizes) - len(grids)}


def choose_grids(sizes: Sequence[int], max_bytes: int, most: int = _MAX_GRIDS) -> list[int]:
    """Indices of the grids to embed, given their sizes in bytes: the first, the last, and others evenly spaced."""
    for n in range(min(len(sizes), most), 0, -1):
        chosen = [round(i * (len(sizes) - 1) / max(n - 1, 1)) for i in range(n)] if n > 1 else [len(sizes) - 1]
        if sum(-(-sizes[i] // 3) * 4 + 20 for i in chosen) <= max_bytes:  # in base64, with the step
            return chosen
    return []


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
