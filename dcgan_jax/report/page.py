"""A report as one HTML file: its data, its pictures and its program, checked and written whole."""

import base64
import hashlib
import html
import json
import os
import string
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dcgan_jax.errors import UserError
from dcgan_jax.files import replace_file
from dcgan_jax.report.charts import about_mean, charts
from dcgan_jax.report.source import Source
from dcgan_jax.report.tables import commands, facts, tables

MAX_BYTES = 5_000_000
_MARK = '<meta name="generator" content="dcgan-jax report">'  # in the template; files with it may be replaced
_POINTS = 2_000  # of a curve: two a pixel on a wide screen
_MIN_POINTS = 100  # with fewer a curve does not show what it is
_MAX_GRIDS = 60  # of a run: as many as a slider has positions that a finger can tell apart


class ReportError(UserError):
    """A report cannot be written."""


def write_report(sources: Sequence[Source], out: Path) -> None:
    """Write a report of runs as one HTML file; a reader never sees part of it.

    Raises:
      ReportError: as `check_page`, or if the runs are too many for one file.
      OSError: if a file cannot be read or written.
    """
    check_page(out)
    page = report_page(sources)
    replace_file(out, lambda partial: partial.write_bytes(page))


def report_page(sources: Sequence[Source], max_bytes: int = MAX_BYTES) -> bytes:
    """The page of runs. Curves are thinned to what a screen can show, grids of samples to what fits.

    Raises:
      ReportError: if the curves alone are more than ``max_bytes``.
      OSError: if a picture cannot be read.
    """
    about = [{"name": s.name, "facts": facts(s), "commands": commands(s)} for s in sources]
    for points in (_POINTS, _POINTS // 4, _MIN_POINTS):
        data = {
            "runs": about,
            "charts": charts(sources, points),
            "mean": about_mean(sources),
            "tables": tables(sources),
            "pictures": [],
        }
        left = max_bytes - len(render(_title(sources), "report", data))
        if left > max_bytes // 2:  # the other half is the pictures'
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
    """Which of the grids, of these sizes in bytes, to embed: the first, the last, and others at even distances."""
    for n in range(min(len(sizes), most), 0, -1):
        chosen = [round(i * (len(sizes) - 1) / max(n - 1, 1)) for i in range(n)] if n > 1 else [len(sizes) - 1]
        if sum(-(-sizes[i] // 3) * 4 + 20 for i in chosen) <= max_bytes:  # in base64, with the step
            return chosen
    return []


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def render(title: str, program: str, data: Any) -> bytes:
    """A page that asks for nothing: the template with a title, a program of ``static/``, its style and its data.

    The data is JSON in which no ``<`` is left, so that no text of a run can end its element. The policy allows the
    page's own script and style by their digests, pictures in the page, and nothing else.
    """
    style = _static("uPlot.min.css") + _static("page.css")
    script = "\n".join([_static("uPlot.iife.min.js"), _static("elements.js"), _static(f"{program}.js")])
    policy = f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:"
    text = string.Template(_static("page.html")).substitute(
        title=html.escape(title),
        policy=f"{policy}; base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    )
    return text.encode()


def _static(name: str) -> str:
    return (resources.files("dcgan_jax.report") / "static" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def check_page(path: Path) -> None:
    """Raises: ReportError if ``path`` exists and is not a page of ours, which may be replaced."""
    if not os.path.lexists(path):
        return
    try:
        ours = path.is_file() and _MARK.encode() in path.read_bytes()[:1_000]
    except OSError:
        ours = False
    if not ours:
        raise ReportError(f"{path} exists and is not a report: choose another --out")
