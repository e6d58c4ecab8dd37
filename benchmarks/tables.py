"""Generate the tables of README and docs from `benchmarks/results`.

    python -m benchmarks.tables    # writes them anew into all pages

Each is between the comments ``<!-- table NAME -->`` and ``<!-- end of NAME -->``; the names are those of `TABLES`.
`benchmarks.check_docs` reports which pages would change.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import (
    features,
    minutes,
    modes,
    own_data,
    perceptual,
    pictures,
    quality,
    recall,
    recorded,
    roofline,
    runtimes,
    scaling,
    step_time,
    streaming,
)
from benchmarks.common import ROOT, read_result
from dcgan_jax.files import replace_text

_SCALE = "as they are"  # the scale in the tables of digits' faults


def _of(name: str, table: Callable[[Any], str]) -> Callable[[], str]:
    """A table of ``benchmarks/results/NAME.json``."""
    return lambda: table(read_result(name))


TABLES: dict[str, Callable[[], str]] = {
    "steps": _of("step_time_64", step_time.table),
    "steps-64": _of("step_time_64", step_time.report),
    "steps-256": _of("step_time_256", step_time.report),
    "steps-64-zen4": _of("step_time_64_zen4", step_time.report),
    "steps-64-zen3": _of("step_time_64_zen3", step_time.report),
    "steps-256-zen3": _of("step_time_256_zen3", step_time.report),
    "minutes": _of("minutes", minutes.table),
    "roofline": roofline.table,
    "intensity": roofline.intensity_table,
    "scaling": _of("scaling", scaling.table),
    "scaling-model": scaling.model_table,
    "presets": lambda: quality.table("presets"),
    "curves-recommended": lambda: quality.curves_table("recommended"),
    "curves-peers": lambda: quality.curves_table("peers"),
    "rates": recorded.rates_table,
    "recall": recall.table,
    "own-pixels": own_data.pixels_table,
    "own-digits": own_data.digits_table,
    "sizes": recorded.sizes_table,
    "noise-dimensions": recorded.noise_dimensions_table,
    "pictures": _of("pictures", pictures.table),
    "modes": _of("modes", modes.table),
    "faults": lambda: features.table(_SCALE),
    "faults-as-bad": lambda: features.as_bad_as(_SCALE),
    "features": features.described,
    "features-agreement": features.agreement,
    "perceptual": perceptual.table,
    "perceptual-sizes": perceptual.sizes_table,
    "runtimes": _of("runtimes", runtimes.table),
    "streaming": _of("streaming", streaming.table),
}
_MARKED = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def pages() -> list[Path]:
    """README and the pages of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """A page with its tables regenerated. Raises: KeyError for a name that is not in `TABLES`."""
    return _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


def problems() -> Iterator[str]:
    """Yield a line for each page whose tables differ from the results, and for each table that no page has."""
    shown: set[str] = set()
    for path in pages():
        text = path.read_text(encoding="utf-8")
        shown.update(name for _, name, _ in _MARKED.findall(text))
        if filled(text) != text:
            yield f"{path.relative_to(ROOT)} has another table than the results: python -m benchmarks.tables"
    yield from (f"no page has the table {name}" for name in TABLES if name not in shown)


def main() -> None:
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            replace_text(path, new)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
