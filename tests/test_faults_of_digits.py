import sys

import numpy as np
import pytest
from helpers import ROOT

from dcgan_jax import load_dataset, load_labels

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

pytest.importorskip("scipy")

from benchmarks.faults import SCANS  # noqa: E402
from benchmarks.scores import distances, standardising, whitening  # noqa: E402


@pytest.fixture(scope="module")
def pool():
    return load_dataset(split="test")[:1000], load_labels(split="test")[:1000]


@pytest.mark.parametrize("fault", SCANS)
def test_stronger_fault_changes_images_more(fault, pool):
    """The images of one seed, in order, so that the same images are compared; sets of digits are another test's."""
    if fault in ("eights missing", "uneven digits", "repeated"):
        return
    scan = SCANS[fault]
    made = [scan.make(*pool, 200, s, np.random.default_rng(0)).astype(float) for s in (0, *scan.strengths)]
    assert all(images.shape == (200, 28, 28, 1) for images in made)
    moved = [np.abs(images - made[0]).mean() for images in made]
    assert all(a < b for a, b in zip(moved, moved[1:], strict=False)), moved


def test_faults_of_the_whole_set(pool):
    images, labels = pool
    marked = np.arange(1000, dtype=np.uint16).view(np.uint8).reshape(1000, 2)
    images = images.copy()
    images[:, 0, :2, 0] = marked  # so that an image can be told by its corner

    def drawn(fault, strength):
        made = SCANS[fault].make(images, labels, 400, strength, np.random.default_rng(0))
        return np.ascontiguousarray(made[:, 0, :2, 0]).view(np.uint16).ravel()

    assert len(np.unique(drawn("eights missing", 1))) == 400
    assert (labels[drawn("eights missing", 1)] != 8).all()
    eights = (labels[drawn("eights missing", 0.5)] == 8).sum()
    assert eights == pytest.approx(400 * (labels == 8).mean() / 2, rel=0.1)
    counts = np.bincount(labels[drawn("uneven digits", 1)], minlength=10)
    expected = 400 * (labels == np.arange(10)[:, None]).mean(1) * (2 - 2 * np.arange(10) / 9)
    np.testing.assert_allclose(counts, expected, atol=4)  # rounding, and shares of the pool that are not tenths
    assert len(np.unique(drawn("repeated", 2))) == 100


def test_scales_are_fitted_to_features():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 8)) @ rng.standard_normal((8, 8)) * np.logspace(0, 1, 8) + 3
    standardised, whitened = standardising(x)(x), whitening(x)(x)
    np.testing.assert_allclose(standardised.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(standardised.std(0), 1, rtol=1e-9)
    np.testing.assert_allclose(np.cov(whitened, rowvar=False), np.eye(8), atol=1e-2)  # the floor of a small variance


def test_distance_of_a_shift_is_its_square():
    x = np.random.default_rng(0).standard_normal((500, 4))
    shift = np.array([1.0, 2.0, 0, 0])
    result = distances(x + shift, x)
    assert result["fid"] == pytest.approx(5)
    assert result["fid_of_means"] == pytest.approx(5)
    assert result["kid"] > 0
