"""Why extractors differ on sets of samples: what FID is made of in each one's features.

    python -m benchmarks.disagreement runs/search/article-0/1000-last.npz runs/search/no-dropout-0/1000-last.npz

Each file holds uint8 samples [N, 28, 28, 1] under the name ``images``. FID is taken against MNIST's test images: as it
is; its part from the means; the share of it in the nine directions in which digits differ most; with digits evened out,
that is of 200 samples of each digit; and as the mean over digits of the FID within a digit.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.extractors import load_extractor, mnist_test_features
from benchmarks.scores import distances, standardising, whitening
from dcgan_jax import load_labels

EXTRACTORS = ("own", "strided", "autoencoder")
_EACH = 200  # samples of each digit


def between_digits(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An orthonormal basis [D, 9] of the space that the ten digits' mean features [N, D] span around their mean."""
    means = np.stack([features[labels == digit].mean(0, dtype=np.float64) for digit in range(10)])
    return np.linalg.svd(means - means.mean(0), full_matrices=False)[2][:9].T


def parts(extractor: str, images: np.ndarray, digits: np.ndarray) -> dict[str, float]:
    """What one extractor says of images that have been read as these digits [N]."""
    extract = load_extractor(extractor)
    real, labels = _real(extractor)
    features = extract(images)[1]
    basis = between_digits(real, labels)
    all_of_it = distances(features, real, kid=False)
    rng = np.random.default_rng(0)
    enough = [digit for digit in range(10) if (digits == digit).sum() >= _EACH]
    even = np.concatenate([rng.permutation(np.nonzero(digits == digit)[0])[:_EACH] for digit in enough])
    as_many = rng.permutation(len(images))[: len(even)]
    rotated = np.linalg.qr(np.concatenate([basis, rng.standard_normal((len(basis), len(basis) - 9))], 1))[0][:, 9:]
    # Within one digit 200 samples have fewer dimensions than features: along the 20 widest directions of all digits.
    widest = np.linalg.eigh(np.cov(real.astype(np.float64), rowvar=False))[1][:, -20:]
    within = [distances(features[digits == d] @ widest, real[labels == d] @ widest, kid=False)["fid"] for d in enough]
    return {
        "FID": all_of_it["fid"],
        "of the means": all_of_it["fid_of_means"],
        "standardised": distances(standardising(real)(features), standardising(real)(real), kid=False)["fid"],
        "whitened": distances(whitening(real)(features), whitening(real)(real), kid=False)["fid"],
        "between digits (9 directions)": distances(features @ basis, real @ basis, kid=False)["fid"],
        "all other directions": distances(features @ rotated, real @ rotated, kid=False)["fid"],
        f"of {len(even)} samples": distances(features[as_many], real, kid=False)["fid"],
        f"of {len(even)} samples, digits evened out": distances(features[even], real, kid=False)["fid"],
        "within a digit, mean": float(np.mean(within)),
    }


def _real(extractor: str) -> tuple[np.ndarray, np.ndarray]:
    """Features of the test images, and their labels."""
    return mnist_test_features(extractor), load_labels(split="test")


def table(files: list[Path]) -> str:
    """A row a figure, a column a file and extractor."""
    columns = {}
    for path in files:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"]
        logits, _ = load_extractor("own")(images)
        assert logits is not None
        for extractor in EXTRACTORS:
            columns[f"{extractor}: {path.parent.name} {path.stem}"] = parts(extractor, images, logits.argmax(-1))
    order = sorted(columns, key=lambda name: EXTRACTORS.index(name.split(":")[0]))
    rows = list(dict.fromkeys(row for name in order for row in columns[name]))
    lines = ["| FID | " + " | ".join(order) + " |", "|---|" + "---|" * len(order)]
    for row in rows:
        cells = [f"{columns[name][row]:.3g}" if row in columns[name] else "" for name in order]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Take the FID of sets of samples apart.")
    parser.add_argument("files", type=Path, nargs="+")
    print(table(parser.parse_args().files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
