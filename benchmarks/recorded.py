"""The tables of finished experiments, from their JSON.

Their programs are in revision b594a72: `git worktree add ../b594a72 b594a72`, and there `python -m benchmarks.search`.
"""

import json
from typing import Any

from benchmarks.common import RESULTS, markdown_table, read_result


def rates_table() -> str:
    """Scores of pairs of learning rates after 500 steps, with the last and the averaged weights."""
    rows = []
    for row in read_result("rates"):
        last, average = row["last"], row["average"]
        rates = (f"{row['discriminator']:g}", f"{row['generator']:g}", row["fakes"])
        scores = (f"{last['fid']:.1f}", f"{average['fid']:.1f}", f"{last['recall']:.3f}", f"{average['recall']:.3f}")
        rows.append((*rates, *scores))
    fid, recall = ("FID, last weights", "FID, average 0.99"), ("recall, last", "recall, average")
    return markdown_table(("D's rate", "G's rate", "D's fakes", *fid, *recall), rows)


def noise_dimensions_table() -> str:
    """Scores of numbers of noise dimensions after 200 steps."""
    rows = []
    for row in read_result("noise_dimensions"):
        s = row["scores"]
        scores = (f"{s['fid']:.1f}", f"{s['second_fid']:.1f}", f"{s['precision']:.3f}", f"{s['recall']:.3f}")
        rows.append((row["dimensions"], f"{row['dense_weights']:,}", *scores))
    fid = ("FID", "FID by a second classifier")
    return markdown_table(("dimensions", "weights of the dense layer", *fid, "precision", "recall"), rows)


def sizes_table() -> str:
    """By image shape: parameters, multiply-adds and step time of the networks."""
    result = read_result("sizes")

    def both(row: dict[str, Any], count: str) -> str:
        counts = [row[network][count] / 1e6 for network in ("generator", "discriminator")]
        return ", ".join(f"{each:,.0f} M" if each >= 100 else f"{each:.3g} M" for each in counts)

    rows = [
        ("x".join(map(str, row["shape"])), both(row, "parameters"), both(row, "multiply_adds"))
        + (f"{row['seconds']['median']:.2g}",)
        for row in result["sizes"]
    ]
    time = f"seconds per step at batch {result['batch_size']}"
    return markdown_table(("images", "parameters G, D", "multiply-adds of an image G, D", time), rows)


def search_rows() -> list[str]:
    """The rows of each run of the search: the prediction, and the scores of the weights with the lowest FID ``own``."""
    return [_run_rows(json.loads(path.read_text())) for path in sorted((RESULTS / "search").glob("*.json"))]


def _run_rows(run: dict[str, Any]) -> str:
    lines = []
    for step in sorted({row["step"] for row in run["scores"]}):
        row = min((r for r in run["scores"] if r["step"] == step), key=lambda r: r["own"]["fid"])
        own, strided, code = (row[extractor] for extractor in ("own", "strided", "autoencoder"))
        cells = (
            *(("", "") if lines else (f"{run['name']}, {run['seed']}", run["predicted"])),
            f"{step}: {row['weights']}",
            f"{own['fid']:.1f} / {strided['fid']:.1f} / {code['fid']:.2f}",
            f"{own['recall']:.3f} / {strided['recall']:.3f}",
            f"{own['precision']:.3f}",
            f"{own['digit_kl']:.3f} / {strided['digit_kl']:.3f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def freezing_figures() -> list[str]:
    """The walkthrough's figures of D frozen and not: G's loss at step 30 (frozen), then means over steps 110 to 200."""
    runs = read_result("freezing")
    rows = {name: {row["step"]: row for row in run["rows"]} for name, run in runs.items()}
    figures = [f"{rows['frozen'][30]['g_loss']:.4f}"]
    for name in ("frozen", "unfrozen"):
        late = [rows[name][step] for step in range(110, 201, 10)]
        for value, text in (("d_accuracy", "{:.0%}"), ("inference", "{:.2f}")):
            figures.append(text.format(sum(row[value] for row in late) / len(late)).replace("%", " %"))
    return figures
