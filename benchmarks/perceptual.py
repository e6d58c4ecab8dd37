"""Validate perceptual scores: real pictures with known faults, in the features of `--features perceptual`.

    python -m benchmarks.perceptual FOLDER    # of pictures in a folder a class, 5,000 or more
    python -m benchmarks.perceptual --report  # the table

Of 5,000 pictures 1,500 are the reference, 1,500 stand in for training pictures, and 1,000 of the others get one fault.
Each fault must make a score worse than those of five draws of 1,000 pictures without fault.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import markdown_table, write_json
from benchmarks.scores import overlap, radii
from dcgan_jax.data import load_data
from dcgan_jax.evaluation.efficientnet_lite import SIDE, efficientnet_features, load_efficientnet_lite
from dcgan_jax.evaluation.metrics import kernel_distance, nearest_distances

RESULTS = Path(__file__).parent / "results" / "perceptual.json"
_REAL, _N, _DRAWS = 1_500, 1_000, 5
_SCORES = ("kid", "precision", "recall", "nearest")


def blur(images: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur with a standard deviation of ``sigma`` pixels."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, sigma, sigma, 0))


def add_noise(images: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise with a standard deviation of ``sigma`` to each channel of each pixel; white is 1."""
    return images + sigma * rng.standard_normal(images.shape)


def shift_colour(images: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Add this share of white to red, and subtract it from blue."""
    return images + share * np.array([1, 0, -1])


FAULTS = {
    "blur of {:g} pixels": (blur, (0.4, 0.8)),
    "noise of {:g} of white": (add_noise, (0.02, 0.05)),
    "colour shift by {:g} of white": (shift_colour, (0.05, 0.1)),
}


def with_fault(images: np.ndarray, fault: str, strength: float) -> np.ndarray:
    """Apply a fault of `FAULTS` to images, uint8 [N, H, W, 3]."""
    changed = FAULTS[fault][0](images / 255, strength, np.random.default_rng(0))
    return np.rint(np.clip(changed, 0, 1) * 255).astype(np.uint8)


def measure(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], side: int) -> dict[str, Any]:
    """The scores of each fault, and of the pictures without fault, resized to ``side`` pixels."""
    network = load_efficientnet_lite()
    order = np.random.default_rng(0).permutation(len(images))[:5_000]
    began = time.process_time()
    features = efficientnet_features(images[order], network, side)
    seconds = (time.process_time() - began) / 5
    reference, train, pool = np.split(features, [_REAL, 2 * _REAL])
    pool_labels, first = labels[order][2 * _REAL :], order[2 * _REAL :][:_N]
    reference_radii = radii(reference)

    def score(features: np.ndarray) -> dict[str, float]:
        with jax.enable_x64(True):
            kid = kernel_distance(*(jnp.asarray(a, jnp.float64) for a in (features, reference)))
        nearest = nearest_distances(jnp.asarray(features), jnp.asarray(train)).mean()
        return {"kid": 1e3 * float(kid), "nearest": float(nearest), **overlap(features, reference, reference_radii)}

    rows = {}
    for fault, (_, strengths) in FAULTS.items():
        for strength in strengths:
            faulty = efficientnet_features(with_fault(images[first], fault, strength), network, side)
            rows[fault.format(strength)] = score(faulty)
    for number, name in enumerate(classes):
        rows[f"no {name}"] = score(pool[pool_labels != number][:_N])
    tenth = _N // 10
    rows["a tenth twice"] = score(np.concatenate([pool[: _N - tenth], pool[:tenth]]))
    rows["a tenth copied from training"] = score(np.concatenate([pool[: _N - tenth], train[:tenth]]))
    rows["each four times"] = score(np.resize(pool[: _N // 4], (_N, pool.shape[1])))
    draws = [np.random.default_rng(seed).permutation(len(pool))[:_N] for seed in range(_DRAWS)]
    return {"cpu_seconds_per_1000": seconds, "floors": [score(pool[:_N]), *(score(pool[at]) for at in draws[1:])]} | {
        "faults": rows
    }


def table(side: int = SIDE) -> str:
    """Each fault's scores, in bold if they are worse than those of all draws without fault."""
    result = json.loads(RESULTS.read_text())[str(side)]
    floors = {name: [draw[name] for draw in result["floors"]] for name in _SCORES}
    rows = [["none, five draws", *(f"{min(floors[s]):.3g} to {max(floors[s]):.3g}" for s in _SCORES)]]
    for fault, scores in result["faults"].items():
        cells = [f"**{scores[s]:.3g}**" if _worse(s, scores[s], floors[s]) else f"{scores[s]:.3g}" for s in _SCORES]
        rows.append([fault, *cells])
    header = ("fault", "KID times 1,000", "precision", "recall", "distance to the nearest training picture")
    return markdown_table(header, rows)


def _worse(score: str, value: float, floors: list[float]) -> bool:
    """Whether a score is worse than all floors; a smaller distance to training pictures is, as it indicates copies."""
    return value > max(floors) if score == "kid" else value < min(floors)


def sizes_table() -> str:
    """KID by size of the resized pictures, in standard deviations above the mean of the draws without fault."""
    done = json.loads(RESULTS.read_text())
    faults = [fault.format(strength) for fault, (_, strengths) in FAULTS.items() for strength in strengths]
    rows = []
    for side, result in sorted(done.items(), key=lambda item: int(item[0])):
        floor = np.array([draw["kid"] for draw in result["floors"]])

        def above(kid: float, floor: np.ndarray = floor) -> float:
            return (kid - floor.mean()) / floor.std(ddof=1)

        missing = [above(row["kid"]) for name, row in result["faults"].items() if name.startswith("no ")]
        cells = [f"{above(result['faults'][name]['kid']):.1f}" for name in faults]
        seconds = result["cpu_seconds_per_1000"]
        rows.append([side, f"{seconds:.2g}", *cells, f"{min(missing):.1f} to {max(missing):.1f}"])
    return markdown_table(("pixels", "CPU seconds, 1,000 pictures", *faults, "a class missing"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Score real pictures with known faults.")
    parser.add_argument("folder", nargs="?", help="pictures in a folder a class, such as CIFAR-10's test images")
    parser.add_argument("--sides", type=int, nargs="+", default=(64, 128), help="sizes that pictures get")
    parser.add_argument("--report", action="store_true", help="only print the tables of what is there")
    args = parser.parse_args()
    if not args.report:
        data = load_data(args.folder)
        assert data.labels is not None
        for side in args.sides:
            done = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            if str(side) not in done:
                write_json(RESULTS, done | {str(side): measure(data.images, data.labels, data.classes, side)})
    print(f"{table()}\n\n{sizes_table()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
