"""Shared by the benchmarks: the machine, summaries of repeated times, JSON results and Markdown tables."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from dcgan_jax.files import replace_file

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "images"


def machine() -> dict[str, Any]:
    """What measurements depend on: processor, cores, versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    packages = ("jax", "jaxlib", "flax", "optax", "torch", "keras", "tensorflow", "tensorflow-cpu")
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages if name in installed},
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def seconds_cell(row: dict[str, float]) -> str:
    """A `summary` of seconds as ``median (min-max)``, three digits each."""
    return f"{row['median']:.3g} ({row['min']:.3g}-{row['max']:.3g})"


def ratio_cell(row: dict[str, float]) -> str:
    """A `summary` of ratios as ``median (min-max)``, two decimals each."""
    return f"{row['median']:.2f} ({row['min']:.2f}-{row['max']:.2f})"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table of a header and rows of cells."""
    lines = [header, *rows]
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in lines]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def read_result(name: str) -> Any:
    """The content of ``benchmarks/results/NAME.json``."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def write_json(path: Path, result: Any) -> None:
    """Write a result atomically, so that an interrupted benchmark leaves no partial file."""
    replace_file(path, lambda partial: partial.write_text(json.dumps(result, indent=1) + "\n"))


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write an ``.npz`` atomically."""

    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # with a path NumPy would append its suffix
            np.savez(file, **arrays)

    replace_file(path, write)


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``."""
    parser.add_argument("--json", type=Path, help="also write everything measured to this file")
