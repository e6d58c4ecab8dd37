"""Recall of the pretrained weights' samples on parts of the test images, compared with that of training images.

    python -m benchmarks.recall             # a minute or two on a CPU
    python -m benchmarks.recall --report    # the table

Recall is computed as in the evaluation, on the test images of each digit, and on those of each tenth by their distance
to their own third neighbour: common images first, rare ones last.
"""

import argparse
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from benchmarks.common import machine, markdown_table, write_json
from benchmarks.extractors import mnist_test_features
from dcgan_jax import load_dataset, load_labels, load_pretrained
from dcgan_jax.evaluation.class_scoring import float64_on_cpu
from dcgan_jax.evaluation.classifier import classify
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, choose, draw_bytes
from dcgan_jax.evaluation.metrics import neighbour_radii, on_manifold

RESULTS = common.RESULTS / "recall.json"


def measure() -> dict[str, object]:
    """Recall on all test images and on each part of them, and the variance of features, of each kind of images."""
    train, labels = load_dataset(), load_labels(split="test")
    images = {
        "training images": train[choose(len(train), DEFAULT_SAMPLES)],
        "samples": draw_bytes(load_pretrained("mnist"), jax.random.key(0), DEFAULT_SAMPLES, None),
    }
    with float64_on_cpu():
        test = jnp.asarray(mnist_test_features("own"), jnp.float64)
        parts = {"all": np.arange(len(test))}
        parts |= {f"digit {digit}": np.flatnonzero(labels == digit) for digit in range(10)}
        common_first = np.array_split(np.argsort(neighbour_radii(test)), 10)
        parts |= {f"tenth {i}": part for i, part in enumerate(common_first, start=1)}
        recall, variance = {}, {"test images": float(test.var(0, ddof=1).sum())}
        for kind, those in images.items():
            features = jnp.asarray(classify(those)[1], jnp.float64)
            variance[kind] = float(features.var(0, ddof=1).sum())
            reached = np.asarray(on_manifold(test, features, neighbour_radii(features)))
            recall[kind] = {name: float(reached[part].mean()) for name, part in parts.items()}
    return {"machine": machine(), "recall": recall, "variance": variance}


def table() -> str:
    """The recall of training images and of samples on all test images and on each part of them."""
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
