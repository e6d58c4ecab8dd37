"""Augmentations: what each does to images, and that D, and D alone, sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_bits, quick_jit, small_gan

from dcgan_jax import CROSS_ENTROPY, RELATIVISTIC, check_state, sample, train_step
from dcgan_jax.augment import (
    AUGMENTATIONS,
    adaptive,
    brightness,
    compose,
    contrast,
    cutout,
    horizontal_flip,
    named_augmentation,
    saturation,
    translation,
)

quick_step = quick_jit(train_step)
ALL = [translation(), translation(reflect=True), cutout(), brightness(), saturation(), contrast(), horizontal_flip()]


@pytest.fixture(scope="module")
def pictures():
    """Pictures that nothing is symmetric in, float32 [200, 12, 10, 3] above 0."""
    return jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, (200, 12, 10, 3)), jnp.float32)


@pytest.mark.parametrize("augment", ALL)
def test_shape_dtype_and_key_decide(augment, pictures, key):
    seen = augment(pictures, key)
    assert (seen.shape, seen.dtype) == (pictures.shape, pictures.dtype)
    assert_same_bits(seen, augment(pictures, key))
    assert (seen != augment(pictures, jax.random.key(1))).any()


@pytest.mark.parametrize("augment", ALL)
def test_equal_if_built_alike(augment):
    built = translation(), translation(1 / 8, True), cutout(), brightness(), saturation(), contrast(), horizontal_flip()
    assert [each == augment for each in built].count(True) == 1


@pytest.mark.parametrize(("reflect", "mode"), [(False, "constant"), (True, "reflect")])
def test_translation_moves_whole_pixels(reflect, mode, pictures, key):
    """By at most an eighth of the sides, 2 and 1; what moves in is black or mirrored, what stays has its bits."""
    seen, found = np.asarray(translation(reflect=reflect)(pictures, key)), set()
    padded = np.pad(np.asarray(pictures), ((0, 0), (2, 2), (1, 1), (0, 0)), mode=mode)
    for i in range(len(seen)):
        places = [(y, x) for y in range(5) for x in range(3)]
        (at,) = [(y, x) for y, x in places if (padded[i, y : y + 12, x : x + 10] == seen[i]).all()]
        found.add(at)
    assert len(found) == 15


@pytest.mark.parametrize("side", [1, 2, 5])
def test_reflection_has_no_black_however_far(side, key):
    ones = jnp.ones((50, side, side, 1))
    assert_same_bits(translation(1.0, reflect=True)(ones, key), ones)


def test_cutout_blacks_out_one_rectangle(pictures, key):
    seen = np.asarray(cutout()(pictures, key))
    for before, after in zip(np.asarray(pictures), seen, strict=True):
        black = (after == 0).all(-1)
        assert (after[~black] == before[~black]).all()
        rows, columns = np.nonzero(black.any(1))[0], np.nonzero(black.any(0))[0]
        assert 3 <= len(rows) <= 6  # half of 12; a half of that where the centre is at the edge
        assert 2 <= len(columns) <= 5
        assert black[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert black.sum() == len(rows) * len(columns)


def test_brightness_adds_one_number_to_an_image(pictures, key):
    added = np.asarray(brightness()(pictures, key) - pictures)
    each = added.mean((1, 2, 3))
    np.testing.assert_allclose(added, each[:, None, None, None] + np.zeros_like(added), atol=1e-6)  # float32's digits
    assert -0.25 <= each.min() < -0.2 < 0.2 < each.max() <= 0.25


def test_contrast_keeps_the_mean(pictures, key):
    seen = np.asarray(contrast()(pictures, key))
    np.testing.assert_allclose(seen.mean((1, 2, 3)), pictures.mean((1, 2, 3)), atol=1e-6)
    factors = seen.std((1, 2, 3)) / np.asarray(pictures).std((1, 2, 3))
    assert 0.5 <= factors.min() < 0.6 < 1.4 < factors.max() <= 1.5 + 1e-6


def test_saturation_keeps_the_grey(pictures, key):
    seen = np.asarray(saturation()(pictures, key))
    np.testing.assert_allclose(seen.mean(-1), pictures.mean(-1), atol=1e-6)
    factors = seen.std(-1).mean((1, 2)) / np.asarray(pictures).std(-1).mean((1, 2))
    assert 0 <= factors.min() < 0.2 < 1.8 < factors.max() <= 2 + 1e-6
    grey = pictures[..., :1]
    np.testing.assert_allclose(saturation()(grey, key), grey, atol=1e-6)


def test_flip_exchanges_left_and_right_of_half(pictures, key):
    seen = np.asarray(horizontal_flip()(pictures, key))
    same, flipped = (seen == pictures).all((1, 2, 3)), (seen == pictures[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ flipped).all()
    assert 70 < same.sum() < 130  # 100, and four standard deviations of 7


@pytest.mark.parametrize("augment", ALL)
def test_gradients_reach_the_images(augment, pictures, key):
    """By differences: a step along the gradient raises the sum as much as the gradient says."""
    few, weights = pictures[:4], jax.random.normal(key, pictures[:4].shape)

    def total(x):
        return (weights * augment(x, key)).sum()

    slope = jax.grad(total)(few)
    assert (slope != 0).any((1, 2, 3)).all()
    direction = jax.random.normal(jax.random.key(2), few.shape)
    change = total(few + 0.1 * direction) - total(few - 0.1 * direction)  # exact: each is linear in the images
    np.testing.assert_allclose(change / 0.2, (slope * direction).sum(), rtol=1e-3)


def test_composition_is_in_order_with_own_keys(pictures, key):
    first, second = jax.random.split(key)
    expected = cutout()(translation()(pictures, first), second)
    assert_same_bits(compose(translation(), cutout())(pictures, key), expected)


def test_names_are_the_flags_words(pictures, key):
    assert named_augmentation("cutout, translation") == compose(translation(), cutout())
    assert named_augmentation("color") == compose(brightness(), saturation(), contrast())
    assert named_augmentation("flip,adaptive") == adaptive(horizontal_flip())
    color = [brightness(), saturation(), contrast()]
    assert named_augmentation("adaptive") == adaptive(translation(reflect=True), *color, cutout())
    assert len(AUGMENTATIONS) == 5


@pytest.mark.parametrize(
    ("names", "says"),
    [("zoom", "unknown augmentation 'zoom': choose from translation"), ("", "unknown"), ("flip,flip", "there twice")],
)
def test_other_names_are_refused(names, says):
    with pytest.raises(ValueError, match=says):
        named_augmentation(names)


@pytest.mark.parametrize(
    "build",
    [
        lambda: translation(1.5),
        lambda: cutout(-0.1),
        lambda: brightness(float("nan")),
        lambda: compose(),
        lambda: adaptive(cutout(), target=1.0),
        lambda: adaptive(cutout(), images=0),
        lambda: compose(adaptive(cutout())),
    ],
)
def test_numbers_out_of_range_are_refused(build):
    with pytest.raises(ValueError):
        build()


def shown(images, key):
    """An augmentation that shows black to the discriminator."""
    return jnp.zeros_like(images)


@pytest.mark.parametrize("losses", [CROSS_ENTROPY, RELATIVISTIC])
def test_d_sees_augmented_images_alone(losses, small_images, key):
    """Of images that are all black no gradient goes to G, whose own images are not black."""
    state = small_gan(jax.random.key(1), losses=losses, augment=shown)
    after, _ = quick_step(state, small_images, key)
    for before, now in zip(
        jax.tree.leaves(state.generator.params), jax.tree.leaves(after.generator.params), strict=True
    ):
        np.testing.assert_array_equal(before, now)
    assert (sample(after, key, 2) > 0.1).any()


def test_a_penalty_differentiates_the_augmentation(small_images, key):
    """Through one that multiplies by 2 slopes are twice as large as through none."""
    seen = []

    def slopes(discriminator, real, fake, key):
        return jnp.square(jax.grad(lambda x: discriminator(x).sum())(real)).sum()

    for augment in (None, lambda images, key: images * 0 + 2 * images):
        state = small_gan(jax.random.key(1), losses=CROSS_ENTROPY._replace(penalty=slopes), augment=augment)
        seen.append(float(quick_step(state, small_images * 0, key)[1]["d_penalty"]))
    np.testing.assert_allclose(seen[1], 4 * seen[0], rtol=1e-5)  # black images are the same through both


def test_without_augmentation_nothing_changes(small_state, small_images, key):
    """A state without one has no leaf for its probability."""
    assert small_state.augment_probability is None
    state = small_gan(jax.random.key(1), augment=None)
    assert_same_bits(quick_step(state, small_images, key)[0], quick_step(small_state, small_images, key)[0])


@pytest.mark.parametrize(
    ("augment", "says"),
    [
        (lambda images, key: images[:, 1:], r"must keep shape and dtype, \(12, 8, 8, 1\) and float32"),
        (lambda images, key: images.astype(jnp.bfloat16), "and returned .* bfloat16"),
    ],
)
def test_other_shapes_and_dtypes_are_refused(augment, says, small_images, key):
    with pytest.raises(ValueError, match=says):
        train_step(small_gan(jax.random.key(1), augment=augment), small_images, key)


@pytest.mark.parametrize("augment", [lambda x, key: 2 * x - 1, lambda x, key: 255 * x, lambda x, key: x / 0])
def test_other_ranges_are_found_by_check_state(augment):
    with pytest.raises(ValueError, match=r"an augmentation must keep images in \[0, 1\]"):
        check_state(small_gan(jax.random.key(1), augment=augment))


def test_the_packages_own_pass_check_state():
    for names in ("translation,color,cutout,flip", "adaptive"):
        check_state(small_gan(jax.random.key(1), augment=named_augmentation(names)))


def test_adaptive_applies_each_with_its_probability(pictures, key):
    augment = adaptive(horizontal_flip(), brightness())
    assert_same_bits(augment(pictures, key, jnp.float32(0)), pictures)
    changed = (augment(pictures, key, jnp.float32(0.5)) != pictures).any((1, 2, 3)).mean()
    assert 0.5 < changed < 0.75  # 1 - (1 - 0.25) (1 - 0.5) = 0.625, and 3.6 standard deviations of 200


def test_probability_follows_the_share_called_real(small_images, key):
    """It rises by 6 of 60 images where D calls more than the target real, falls to 0 at least, and is resumed from."""
    for target, expected in ((1e-6, 0.1), (1 - 1e-6, 0.0)):
        state = small_gan(jax.random.key(1), augment=adaptive(cutout(), target=target, images=60))
        biased = jax.tree.map(lambda x: x + 1 if x.shape == (1,) else x, state.discriminator.params)
        if target < 0.5:
            state = state.replace(discriminator=state.discriminator.replace(params=biased))
        after, metrics = quick_step(state, small_images, key)
        assert metrics["d_augment"] == 0
        np.testing.assert_allclose(after.augment_probability, expected, rtol=1e-6)
    later, metrics = quick_step(after.replace(augment_probability=jnp.float32(0.95)), small_images, key)
    np.testing.assert_allclose(metrics["d_augment"], 0.95, rtol=1e-6)
    np.testing.assert_allclose(later.augment_probability, 0.85, rtol=1e-6)
