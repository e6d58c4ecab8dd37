"""How many dimensions the noise needs: a short run for each number, scored by `dcgan_jax.evaluation`.

    python -m benchmarks.noise_dimensions              # the runs without a result, minutes each on a CPU
    python -m benchmarks.noise_dimensions --report     # the table

All else is the preset ``recommended``. A row is written when a run is done, so an interrupted benchmark continues with
the next. The run of two dimensions also draws the whole plane of its noise, docs/images/walkthrough-plane.png.
"""

import argparse
import json
import sys
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.common import PICTURES, markdown_table, write_json

RESULTS = common.RESULTS / "noise_dimensions.json"
DIMENSIONS = (2, 10, 100, 500)
_STEPS, _BATCH_SIZE = 200, 32
_PLANE = 10  # digits along each side of the picture


def measure(dimensions: int) -> dict[str, Any]:
    """Train it, and score the moving average of its generator."""
    import jax

    from dcgan_jax import averaged, evaluate, init_state, load_dataset
    from dcgan_jax.training.batch_source import DeviceImages
    from dcgan_jax.training.device_loop import run_steps

    init_key, run_key, evaluation_key = jax.random.split(jax.random.key(0), 3)
    state = init_state(init_key, preset="recommended", latent_size=dimensions)
    dense = state.generator.params["dense"]["kernel"].size
    source = DeviceImages(jax.device_put(load_dataset()))
    for _ in range(_STEPS):
        state, metrics = run_steps(state, source, run_key, 1, batch_size=_BATCH_SIZE, capacity=1)
        jax.block_until_ready(metrics)
    state = averaged(state)
    scores = evaluate(state, evaluation_key).scores._asdict()
    if dimensions == 2:
        _draw_plane(state)
    return {"dimensions": dimensions, "dense_weights": dense, "scores": scores}


def plane(side: int) -> np.ndarray:
    """Noise [side * side, 2] on a square grid over [-1, 1] x [-1, 1], row by row."""
    points = np.linspace(-1, 1, side, dtype=np.float32)
    return np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)


def _draw_plane(state: Any) -> None:
    from PIL import Image

    from dcgan_jax import generate
    from dcgan_jax.images import image_grid

    grid = image_grid(np.asarray(generate(state, plane(_PLANE))), columns=_PLANE)[::2, ::2, 0]  # half its size
    Image.fromarray(grid).save(PICTURES / "walkthrough-plane.png")


def results() -> list[dict[str, Any]]:
    """The rows so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def table() -> str:
    """The rows as a Markdown table."""
    rows = []
    for row in results():
        s = row["scores"]
        fid = (f"{s['fid']:.1f}", f"{s['second_fid']:.1f}")
        overlap = (f"{s['precision']:.3f}", f"{s['recall']:.3f}")
        rows.append((row["dimensions"], f"{row['dense_weights']:,}", *fid, *overlap))
    fid = ("FID", "FID by a second classifier")
    return markdown_table(("dimensions", "weights of the dense layer", *fid, "precision", "recall"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Score short runs with noise of several dimensions.")
    parser.add_argument("--report", action="store_true", help="only print the table of the results")
    args = parser.parse_args()
    if not args.report:
        for dimensions in DIMENSIONS:
            done = results()
            if any(row["dimensions"] == dimensions for row in done):
                continue
            row = measure(dimensions)
            print(f"{dimensions} dimensions: FID {row['scores']['fid']:.1f}", flush=True)
            write_json(RESULTS, [*done, row])
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
