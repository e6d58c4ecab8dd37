"""Validate feature extractors: score real digits with known faults in the features of each.

    python -m benchmarks.features             # minutes on a CPU; what has a result is left out
    python -m benchmarks.features --report    # the tables

A score must grow with the strength of each fault. 2,000 faulty digits, made from one half of MNIST's test images, are
scored against the other half, which no extractor was trained on. FID is computed on the features as they are, scaled to
the same length for every image, standardised to variance 1 in each dimension, and whitened; the scales are fitted to
the training images.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import write_json
from benchmarks.extractors import load_extractor
from benchmarks.faults import SCANS, Fault
from benchmarks.scores import distances, of_one_length, overlap, radii, standardising, whitening
from dcgan_jax import load_dataset, load_labels

RESULTS = Path(__file__).parent / "results" / "features.json"
EXTRACTORS = ("own", "strided", "autoencoder")
SCALES = ("as they are", "of one length", "standardised", "whitened")
_N = 2_000  # few enough that a digit can be drawn twice as often as it occurs in 5,000
_DRAWS = 3  # draws of the floor


def measure(name: str, result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Add to ``result`` what it lacks of an extractor's features, floor and faults; yields it after each fault."""
    extractor = load_extractor(name)
    images, labels = load_dataset(split="test"), load_labels(split="test")
    order = np.random.default_rng(0).permutation(len(images))
    pool, other = order[: len(order) // 2], order[len(order) // 2 :]
    reference = extractor(images[other])[1]
    trained = extractor(load_dataset())[1]
    scales = {
        "of one length": of_one_length(trained),
        "standardised": standardising(trained),
        "whitened": whitening(trained),
    }
    on_scale = {scale: map_(reference) for scale, map_ in scales.items()}
    reference_radii = radii(reference)

    def score(fault: Fault, strength: float, seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        features = extractor(fault(images[pool], labels[pool], _N, strength, rng))[1]
        row: dict[str, Any] = {"as they are": distances(features, reference)}
        row.update(overlap(features, reference, reference_radii))
        for scale, map_ in scales.items():
            row[scale] = distances(map_(features), on_scale[scale], kid=False)
        return row

    result["features"] = describe(trained)
    if not _whole(result.get("floors")):
        result["floors"] = [score(SCANS["blurred"].make, 0, seed) for seed in range(_DRAWS)]
    faults = result.setdefault("faults", {})
    for fault, scan in SCANS.items():
        if not _whole(faults.get(fault)):
            faults[fault] = [{"strength": s, **score(scan.make, s, zlib.crc32(fault.encode()))} for s in scan.strengths]
            yield result


def _whole(rows: list[dict[str, Any]] | None) -> bool:
    """Whether these rows exist, with all scales."""
    return rows is not None and all(scale in row for row in rows for scale in SCALES)


def describe(features: np.ndarray) -> dict[str, float]:
    """How the variance of features [N, D] is spread over dimensions and directions.

    ``directions`` is the participation ratio (sum l)^2 / sum l^2 of the covariance's eigenvalues l: D if all directions
    vary alike, 1 if one has all the variance.
    """
    covariance = np.cov(features.astype(np.float64), rowvar=False)
    values = np.linalg.eigvalsh(covariance)[::-1]
    variances = np.sort(np.diag(covariance))[::-1]
    return {
        "dimensions": float(len(values)),
        "variance": float(values.sum()),
        "directions": float(values.sum() ** 2 / np.square(values).sum()),
        "share of the first nine directions": float(values[:9].sum() / values.sum()),
        "largest dimension over median one": float(variances[0] / np.median(variances)),
        "dead dimensions": float((variances < 1e-6 * variances.mean()).sum()),
    }


def results() -> dict[str, Any]:
    """The results of the extractors that have any, in the order of `EXTRACTORS`."""
    done = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {name: done[name] for name in EXTRACTORS if name in done}


def breaks(rows: list[dict[str, Any]], floor: float, scale: str, figure: str) -> int:
    """The number of strengths at which a figure does not grow, beginning from the floor."""
    values = [floor, *(row[scale][figure] for row in rows)]
    return sum(b <= a for a, b in zip(values, values[1:], strict=False))


def table(scale: str, figure: str = "fid") -> str:
    """Each fault's figure by strength in each extractor's features; a star where it does not grow."""
    done = results()
    lines = ["| fault | strengths | " + " | ".join(done) + " |", "|---|---|" + "---|" * len(done)]
    for fault, scan in SCANS.items():
        cells = []
        for result in done.values():
            values = _values(result, fault, scale, figure)
            if values is None:
                cells.append("")
                continue
            grew = [b > a for a, b in zip(values, values[1:], strict=False)]
            cells.append(", ".join(_number(v) + ("" if g else " *") for v, g in zip(values[1:], grew, strict=True)))
        strengths = ", ".join(f"{s:g}" for s in scan.strengths)
        lines.append(f"| {fault} | {strengths} {scan.unit} | " + " | ".join(cells) + " |")
    floors = [_number(_floor(r, scale, figure)) if scale in r["floors"][0] else "" for r in done.values()]
    lines.append("| none (the floor) | | " + " | ".join(floors) + " |")
    return "\n".join(lines)


def agreement(figure: str = "fid") -> str:
    """Rank correlation of the figures of two extractors over all faults and strengths, by scale."""
    from scipy.stats import spearmanr  # pyright: ignore[reportMissingImports]

    done = results()
    pairs = [(a, b) for i, a in enumerate(done) for b in list(done)[i + 1 :]]
    lines = ["| scale | " + " | ".join(f"{a}, {b}" for a, b in pairs) + " |", "|---|" + "---|" * len(pairs)]
    for scale in SCALES:
        cells = []
        for a, b in pairs:
            both = [(_values(done[a], fault, scale, figure), _values(done[b], fault, scale, figure)) for fault in SCANS]
            x, y = [], []
            for ours, theirs in both:
                if ours is not None and theirs is not None:
                    x += ours[1:]
                    y += theirs[1:]
            correlation, _ = spearmanr(x, y) if x else (None, None)
            cells.append("" if correlation is None else f"{correlation:.3f}")
        lines.append(f"| {scale} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_bad_as(scale: str, fault: str = "chimeras", at: int = 2) -> str:
    """The strength of each fault that has the same FID as ``fault`` at its strength number ``at``, from 0.

    It is interpolated linearly between measured strengths, of which 0 has the floor.
    """
    done = results()
    lines = ["| fault | unit | " + " | ".join(done) + " |", "|---|---|" + "---|" * len(done)]
    for name, scan in SCANS.items():
        cells = []
        for result in done.values():
            values, prices = _values(result, name, scale, "fid"), _values(result, fault, scale, "fid")
            if values is None or prices is None:
                cells.append("")
                continue
            price = prices[1 + at]
            strengths = [0.0, *scan.strengths]
            above = next((i for i, value in enumerate(values) if value >= price), None)
            if above is None:
                cells.append(f"more than {strengths[-1]:g}")
            else:
                low, high = values[above - 1], values[above]
                share = (price - low) / (high - low)
                cells.append(f"{strengths[above - 1] + share * (strengths[above] - strengths[above - 1]):.2g}")
        lines.append(f"| {name} | {scan.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def described() -> str:
    """A table of each extractor's `describe`."""
    done = results()
    keys = list(next(iter(done.values()))["features"])
    lines = ["| features of the training images | " + " | ".join(done) + " |", "|---|" + "---|" * len(done)]
    lines += [f"| {key} | " + " | ".join(f"{r['features'][key]:.3g}" for r in done.values()) + " |" for key in keys]
    return "\n".join(lines)


def _values(result: dict[str, Any], fault: str, scale: str, figure: str) -> list[float] | None:
    """The floor and a figure at each strength, or None if they were not measured."""
    rows = result["faults"].get(fault)
    if rows is None or not all(scale in row for row in rows):
        return None
    return [_floor(result, scale, figure), *(row[scale][figure] for row in rows)]


def _floor(result: dict[str, Any], scale: str, figure: str) -> float:
    return float(np.mean([row[scale][figure] for row in result["floors"]]))


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Score real digits with known faults.")
    parser.add_argument("--only", choices=EXTRACTORS, nargs="+", default=EXTRACTORS, help="of these extractors alone")
    parser.add_argument("--report", action="store_true", help="only print the tables of what is there")
    args = parser.parse_args()
    if not args.report:
        for name in args.only:
            done = results()
            faults = done.get(name, {}).get("faults", {})
            if all(_whole(faults.get(fault)) for fault in SCANS):
                continue
            for result in measure(name, done.get(name, {})):
                done[name] = result
                write_json(RESULTS, done)
            print(f"{name}: done", flush=True)
    print(described())
    for scale in SCALES:
        print(f"\nFID of features {scale}\n\n{table(scale)}")
    print(f"\nKID of features as they are\n\n{table('as they are', 'kid')}")
    for scale in SCALES:
        print(f"\nAs bad as 40 % of chimeras, features {scale}\n\n{as_bad_as(scale)}")
    print(f"\nRank correlation of FID\n\n{agreement()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
