"""Parameters, multiply-adds and seconds per step of the networks for larger images.

    python -m benchmarks.sizes

One process, the sizes one after the other: the median of three steps at batch 16, after one that compiles.
"""

import argparse
import time
from typing import Any

import jax
import numpy as np

from benchmarks.common import RESULTS, machine, markdown_table, summary, write_json
from benchmarks.roofline import layers
from dcgan_jax import Generator, NetworkState, init_state, train_step

SHAPES = ((28, 28, 1), (32, 32, 3), (64, 64, 3), (128, 128, 3))
BATCH_SIZE = 16
STEPS = 3


def measure(shape: tuple[int, int, int]) -> dict[str, Any]:
    """The networks of one shape of images, and the time of their step."""
    key = jax.random.key(0)
    state = init_state(key, generator=Generator(shape))
    images = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, *shape), np.uint8)
    seconds = []
    for i in range(STEPS + 1):
        began = time.perf_counter()
        state, metrics = train_step(state, images, jax.random.fold_in(key, i))
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - began)
    counts = {
        "generator": _counts(state.generator, 100),
        "discriminator": _counts(state.discriminator, *shape),
    }
    return {"shape": shape, **counts, "first_seconds": seconds[0], "seconds": summary(seconds[1:])}


def _counts(network: NetworkState, *inputs: int) -> dict[str, int]:
    """Of one network whose inputs are [B, *inputs]."""
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(network.params)),
        "multiply_adds": sum(layer.multiply_adds for layer in layers(network.module, "", *inputs)),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A row for each shape: of an image's forward pass, and of a step."""
    header = ("images", "parameters G, D", "multiply-adds of an image G, D", f"seconds per step at batch {BATCH_SIZE}")

    def both(row: dict[str, Any], count: str) -> str:
        counts = [row[network][count] / 1e6 for network in ("generator", "discriminator")]
        return ", ".join(f"{each:,.0f} M" if each >= 100 else f"{each:.3g} M" for each in counts)

    def seconds(row: dict[str, Any]) -> str:
        return f"{row['seconds']['median']:.2g}"

    cells = [
        ("x".join(map(str, row["shape"])), both(row, "parameters"), both(row, "multiply_adds"), seconds(row))
        for row in rows
    ]
    return markdown_table(header, cells)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = []
    for shape in SHAPES:
        rows.append(measure(shape))
        print(table(rows), flush=True)
    write_json(RESULTS / "sizes.json", {"machine": machine(), "batch_size": BATCH_SIZE, "sizes": rows})


if __name__ == "__main__":
    main()
