"""The sliced Wasserstein distance against SciPy's filters and distances, and what makes it grow."""

import jax
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from helpers import compare_fewer_patches

from dcgan_jax import EvaluationError, compare_images, load_labels
from dcgan_jax.evaluation.patches import (
    draw_patches,
    laplacian_pyramid,
    pyramid_sizes,
    sliced_wasserstein,
)

RANDOM = np.random.default_rng(0)
SCALES = [(28, 28, 1), (64, 64, 3), (20, 36, 3), (7, 9, 1), (33, 34, 1)]


@pytest.fixture(autouse=True)
def fewer_patches(monkeypatch):
    compare_fewer_patches(monkeypatch)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((28, 28), ["28x28", "14x14"]),
        ((64, 64), ["64x64", "32x32", "16x16"]),
        ((16, 64), ["16x64"]),
        ((20, 36), ["20x36", "10x18"]),
        ((33, 34), ["33x34", "17x17", "9x9"]),
        ((7, 7), ["7x7"]),
    ],
)
def test_levels_end_at_16_pixels(size, sizes):
    assert [f"{height}x{width}" for height, width in pyramid_sizes(*size)] == sizes


def scipy_pyramid(image):
    """Of one channel in float64, by SciPy's convolution and explicit loops over levels."""
    line = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(line, line)
    levels = []
    while min(image.shape) > 16:
        smaller = scipy.ndimage.convolve(image, kernel, mode="mirror")[::2, ::2]
        larger = np.zeros(image.shape)
        larger[::2, ::2] = smaller
        levels.append(image - scipy.ndimage.convolve(larger, 4 * kernel, mode="mirror"))
        image = smaller
    return [*levels, image]


@pytest.mark.parametrize("shape", SCALES)
def test_pyramid_agrees_with_scipy(shape):
    images = RANDOM.random((3, *shape)).astype(np.float32)
    ours = laplacian_pyramid(images)
    for i in range(3):
        for channel in range(shape[2]):
            theirs = scipy_pyramid(images[i, ..., channel].astype(np.float64))
            assert len(ours) == len(theirs)
            for level, expected in zip(ours, theirs, strict=True):
                # Sums of at most 25 products of numbers up to 1, at most three levels deep: 75 roundings of 6e-8.
                np.testing.assert_allclose(level[i, ..., channel], expected, atol=75 * 6e-8)


@pytest.mark.parametrize("shape", SCALES)
def test_patches_are_of_all_images_alike(shape, key):
    """Each patch is found in the level of the image that its number stands for."""
    images = RANDOM.integers(0, 256, (5, *shape), np.uint8)
    levels = [np.asarray(level) for level in laplacian_pyramid(images.astype(np.float32) / 255)]
    drawn = draw_patches(images, key, 12)
    for level, patches in zip(levels, drawn, strict=True):
        assert patches.shape == (12, 7, 7, shape[2])
        for j, patch in enumerate(patches):
            windows = np.lib.stride_tricks.sliding_window_view(level[j * 5 // 12], (7, 7), axis=(0, 1))
            distances = np.abs(np.moveaxis(windows, 2, -1) - patch).max((-3, -2, -1))
            assert distances.min() < 1e-6  # programs for other batches may round otherwise


def test_patches_do_not_depend_on_the_chunks(key, monkeypatch):
    images = RANDOM.integers(0, 256, (7, 28, 28, 1), np.uint8)
    whole = draw_patches(images, key, 40)
    monkeypatch.setattr("dcgan_jax.evaluation.patches._PIXELS", 2 * 28 * 28)
    for ours, theirs in zip(draw_patches(images, key, 40), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_distance_agrees_with_scipy(key):
    """SciPy's Wasserstein distance along each direction, of patches that are normalised channel by channel."""
    fake, real = RANDOM.normal(1, 3, (500, 7, 7, 3)), RANDOM.normal(0, 2, (500, 7, 7, 3)) * [1, 5, 9]
    ours = sliced_wasserstein(fake.astype(np.float32), real.astype(np.float32), key, 20)
    directions = np.asarray(jax.random.normal(key, (147, 20)), np.float64)
    directions /= np.linalg.norm(directions, axis=0)
    for channel in range(3):
        mean, std = real[..., channel].mean(), real[..., channel].std()
        fake[..., channel], real[..., channel] = (fake[..., channel] - mean) / std, (real[..., channel] - mean) / std
    along = [(fake.reshape(500, -1) @ d, real.reshape(500, -1) @ d) for d in directions.T]
    expected = 1000 * np.mean([scipy.stats.wasserstein_distance(*pair) for pair in along])
    np.testing.assert_allclose(ours, expected, rtol=1e-4)  # sums of 147 products in float32


def test_distance_depends_on_the_key_alone(key):
    fake, real = RANDOM.random((2, 300, 7, 7, 1)).astype(np.float32)
    first = sliced_wasserstein(fake, real, key)
    assert sliced_wasserstein(fake, real, key) == first
    assert sliced_wasserstein(fake, real, jax.random.key(1)) != first
    assert sliced_wasserstein(real, real, key) == 0
    assert sliced_wasserstein(fake, np.zeros_like(real), key) > 0  # a channel without content


@pytest.fixture(scope="module")
def halves(mnist):
    """Two sets of 3,000 real digits, and the labels of the first."""
    order = np.random.default_rng(1).choice(len(mnist), 6000, replace=False)
    return mnist[order[:3000]], mnist[order[3000:]], load_labels()[order[:3000]]


def distances(fake, real, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    pairs = zip(draw_patches(fake, keys[0], 2**14), draw_patches(real, keys[1], 2**14), strict=True)
    return np.array([sliced_wasserstein(*pair, keys[2], 128) for pair in pairs])


@pytest.fixture(scope="module")
def floors(halves):
    """The sums of both levels between two sets of real digits, for three keys."""
    return [distances(*halves[:2], seed).sum() for seed in range(3)]


def to_bytes(images):
    return np.rint(np.clip(images, 0, 255)).astype(np.uint8)


CHANGES = {
    "blur": ((0.5, 1, 2), lambda x, labels, s: to_bytes(scipy.ndimage.gaussian_filter(x.astype(float), (0, s, s, 0)))),
    "noise": ((10, 30, 90), lambda x, labels, s: to_bytes(x + np.random.default_rng(0).normal(0, s, x.shape))),
    "shift": ((2, 4, 6), lambda x, labels, s: np.roll(x, s, 2)),
    "contrast": ((0.9, 0.7, 0.4), lambda x, labels, s: to_bytes(x * s)),
    # Few steps: digits share most of their patches, so that five missing ones are no worse than two.
    "missing classes": ((2, 8), lambda x, labels, s: x[labels >= s]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_distance_grows_with_each_fault(change, halves, floors):
    """From real images on, the sum of both levels, and by more than its spread over keys."""
    fake, real, labels = halves
    steps, apply = CHANGES[change]
    found = [distances(apply(fake, labels, step), real).sum() for step in steps]
    assert np.diff([max(floors), *found]).min() > max(floors) - min(floors)


def test_comparison_of_real_images_is_at_its_floor(halves):
    fake, real, _ = halves
    evaluation = compare_images(fake, real)
    scores, floor = evaluation.scores, evaluation.floor
    assert (evaluation.samples, evaluation.features) == (3000, None)
    assert list(scores.swd) == ["28x28", "14x14"]
    assert scores.swd_mean == pytest.approx(np.mean(list(scores.swd.values())))
    # Both are of 1,500 to 3,000 images against the same 1,500; noise is at a hundred times as much.
    assert floor.swd_mean / 2 < scores.swd_mean < 2 * floor.swd_mean
    # Means of 1,000 distances: their deviations are below a third of them, so the means' are below 1 %.
    assert scores.nearest == pytest.approx(floor.nearest, rel=0.05)
    assert scores.diversity == pytest.approx(floor.diversity, rel=0.03)
    assert compare_images(fake / np.float32(255), real) == evaluation


def test_copies_and_collapse_show(halves):
    """Copies are nearest to themselves; few different images are less diverse than real ones."""
    fake, real, _ = halves
    copies = compare_images(real[:500], real, fake)
    assert copies.scores.nearest == 0
    assert copies.floor.nearest > 4
    assert compare_images(real[:40], real[:40]).scores.nearest == 0  # of any image, also those of the floor
    collapsed = compare_images(fake[:3].repeat(100, axis=0), real, fake)
    assert collapsed.scores.diversity < 0.8 * collapsed.floor.diversity
    assert collapsed.scores.swd_mean > 2 * collapsed.floor.swd_mean


def test_colours_and_other_sizes_are_compared():
    real = RANDOM.integers(0, 256, (40, 20, 36, 3), np.uint8)
    evaluation = compare_images(real[:15] // 2, real)
    assert list(evaluation.scores.swd) == ["20x36", "10x18"]
    assert evaluation.scores.swd_mean > 5 * evaluation.floor.swd_mean
    few = compare_images(real[:2], real[:4])
    assert np.isfinite([few.scores.swd_mean, few.scores.nearest, few.scores.diversity]).all()


@pytest.mark.parametrize(
    ("images", "train", "message"),
    [
        (np.zeros((9, 8, 8, 1)), np.zeros((9, 8, 8, 3), np.uint8), r"must be \[8, 8, 3\] as the real ones are, got"),
        (np.zeros((9, 4, 8, 1)), np.zeros((9, 4, 8, 1), np.uint8), r"of at least 7x7, got \[9, 4, 8, 1\]"),
        (np.zeros((9, 8, 8)), np.zeros((9, 8, 8), np.uint8), r"must be \[N, H, W, 1 or 3\]"),
        (RANDOM.random((1, 8, 8, 1)), np.zeros((9, 8, 8, 1), np.uint8), "at least 2 images are needed, got 1"),
        (RANDOM.random((9, 8, 8, 1)), np.zeros((3, 8, 8, 1), np.uint8), "at least 4 real images are needed, got 3"),
        (RANDOM.random((9, 8, 8, 1)), np.zeros((9, 8, 8, 1)), "real images must be uint8, got float64"),
        (np.full((9, 8, 8, 1), np.nan), np.zeros((9, 8, 8, 1), np.uint8), "576 pixels are NaN or infinite"),
        (np.zeros((9, 8, 8, 1)), np.zeros((9, 8, 8, 1), np.uint8), "all images are the same"),
    ],
)
def test_unusable_images_are_reported(images, train, message):
    with pytest.raises(EvaluationError, match=message):
        compare_images(images, train)
