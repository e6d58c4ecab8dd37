"""Which test images the samples of the pretrained weights do not reach, beside those that training images do not.

    python -m benchmarks.recall             # three minutes on a CPU
    python -m benchmarks.recall --report    # the table

Recall is taken as in the evaluation, of the test images of each digit, and of those of each tenth by their distance to
their own third neighbour: common digits first, rare ones last.
"""

import argparse
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from benchmarks.common import machine, markdown_table, write_json
from dcgan_jax import load_dataset, load_labels, load_pretrained
from dcgan_jax.evaluation.class_scoring import float64_on_cpu
from dcgan_jax.evaluation.classifier import classify
from dcgan_jax.evaluation.metrics import neighbour_radii, precision_recall
from dcgan_jax.sampling import sample_in_batches

RESULTS = common.RESULTS / "recall.json"
_SAMPLES, _PARTS = 10_000, 10


def measure() -> dict[str, object]:
    """Recall of all test images and of each part of them, and the variance of features, by images of each kind."""
    state, train = load_pretrained("mnist"), load_dataset()
    images = {
        "training images": train[np.random.default_rng(0).choice(len(train), _SAMPLES, replace=False)],
        "samples": np.rint(np.asarray(sample_in_batches(state, jax.random.key(0), _SAMPLES)) * 255).astype(np.uint8),
    }
    labels = load_labels(split="test")
    with float64_on_cpu():
        test = jnp.asarray(classify(load_dataset(split="test"))[1], jnp.float64)
        radii = neighbour_radii(test)
        parts = {f"digit {digit}": np.flatnonzero(labels == digit) for digit in range(10)}
        parts |= {f"tenth {i + 1}": part for i, part in enumerate(np.array_split(np.argsort(radii), _PARTS))}
        recall, variance = {}, {"test images": float(test.var(0, ddof=1).sum())}
        for kind, those in images.items():
            features = jnp.asarray(classify(those)[1], jnp.float64)
            variance[kind] = float(features.var(0, ddof=1).sum())
            recall[kind] = {
                name: float(precision_recall(test[part], features, radii[part])[1])
                for name, part in {"all": np.arange(len(test)), **parts}.items()
            }
    return {"machine": machine(), "recall": recall, "variance": variance}


def table() -> str:
    """Of all test images and of each part of them, the share that training images and samples reach."""
    recall = json.loads(RESULTS.read_text())["recall"]
    rows = [[name, *(f"{recall[kind][name]:.3f}" for kind in recall)] for name in recall["samples"]]
    return markdown_table(("test images", *recall), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Recall by digit, and by how rare the test images are.")
    parser.add_argument("--report", action="store_true", help="only print the table of the result")
    if not parser.parse_args().report:
        write_json(RESULTS, measure())
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
