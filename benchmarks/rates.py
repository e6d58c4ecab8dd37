"""Learning rates: a short run for each pair, scored by `dcgan_jax.evaluation`.

    python -m benchmarks.rates              # the pairs without a result, minutes each on a CPU
    python -m benchmarks.rates --report     # the table

All else is the article's: decays of 6e-8 and 3e-8, gradients clipped to 1. A row is written when a pair is done, so an
interrupted benchmark continues with the next.
"""

import argparse
import json
import sys
from typing import Any, NamedTuple

from benchmarks import common
from benchmarks.common import markdown_table, write_json

RESULTS = common.RESULTS / "rates.json"
_STEPS, _BATCH_SIZE, _EMA = 500, 64, 0.99


class Pair(NamedTuple):
    """Learning rates of the discriminator and the generator, and the mode of the discriminator's fakes."""

    discriminator: float
    generator: float
    fakes: str = "inference"


PAIRS = (
    Pair(8e-4, 4e-4),  # the article's
    Pair(8e-4, 4e-4, "training"),
    Pair(4e-4, 4e-4),
    Pair(8e-4, 8e-4),
    Pair(1.6e-3, 8e-4),
)


def measure(pair: Pair) -> dict[str, Any]:
    """Train it, and score its last and its averaged weights."""
    import jax

    from dcgan_jax import averaged, evaluate, init_state, load_dataset, rmsprop
    from dcgan_jax.training.batch_source import DeviceImages
    from dcgan_jax.training.device_loop import run_steps

    init_key, run_key, evaluation_key = jax.random.split(jax.random.key(0), 3)
    state = init_state(
        init_key,
        generator_tx=rmsprop(pair.generator, 3e-8, clip=1.0),
        discriminator_tx=rmsprop(pair.discriminator, 6e-8, clip=1.0),
        ema=_EMA,
        fakes=pair.fakes,
    )
    source = DeviceImages(jax.device_put(load_dataset()))
    for _ in range(_STEPS):
        state, metrics = run_steps(state, source, run_key, 1, batch_size=_BATCH_SIZE, capacity=1)
        jax.block_until_ready(metrics)
    scores = {
        weights: evaluate(each, evaluation_key).scores._asdict()
        for weights, each in (("last", state), ("average", averaged(state)))
    }
    return {**pair._asdict(), **scores}


def results() -> list[dict[str, Any]]:
    """The rows so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def table() -> str:
    """The rows as a Markdown table."""
    rows = []
    for row in results():
        last, average = row["last"], row["average"]
        fid, recall = (f"{last['fid']:.1f}", f"{average['fid']:.1f}"), (last["recall"], average["recall"])
        rates = (f"{row['discriminator']:g}", f"{row['generator']:g}", row["fakes"])
        rows.append((*rates, *fid, *(f"{value:.3f}" for value in recall)))
    fid, recall = ("FID, last weights", "FID, average 0.99"), ("recall, last", "recall, average")
    return markdown_table(("D's rate", "G's rate", "D's fakes", *fid, *recall), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Score short runs of several learning rates.")
    parser.add_argument("--report", action="store_true", help="only print the table of the results")
    args = parser.parse_args()
    if not args.report:
        for pair in PAIRS:
            done = results()
            if any(row.items() >= pair._asdict().items() for row in done):
                continue
            row = measure(pair)
            print(f"{pair}: FID {row['last']['fid']:.1f}, average {row['average']['fid']:.1f}", flush=True)
            write_json(RESULTS, [*done, row])
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
