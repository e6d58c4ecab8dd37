"""The digit classifier, and the scores of images by its features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_bits
from programs.small_recipe import init

from dcgan_jax import EvaluationError, evaluate, evaluate_images, load_dataset, load_labels, sample
from dcgan_jax.evaluation import classifier, strided_classifier
from dcgan_jax.evaluation.classifier import ClassifierError, apply_in_batches, classify, load_classifier
from dcgan_jax.evaluation.results import format_table
from dcgan_jax.evaluation.strided_classifier import StridedClassifier, load_strided_classifier, strided_features
from dcgan_jax.sampling import sample_in_batches


@pytest.fixture(scope="module")
def real(mnist):
    """600 training images chosen at random, as they are in the order of their writers."""
    return mnist[np.random.default_rng(1).choice(len(mnist), 600, replace=False)]


@pytest.fixture(scope="module")
def small_digits():
    """An untrained state of the small recipe's networks, which draw images of 28x28."""
    return init(jax.random.key(1), (28, 28, 1), None)


def noise(n):
    return np.random.default_rng(0).random((n, 28, 28, 1))


@pytest.fixture(scope="module")
def real_evaluation(real):
    return evaluate_images(real)


@pytest.fixture(scope="module")
def noise_scores():
    return evaluate_images(noise(600)).scores


def test_classifier_is_right_on_99_3_percent():
    logits, features = classify(load_dataset(split="test"))
    assert (logits.argmax(-1) == load_labels(split="test")).mean() >= 0.993
    assert features.shape == (10_000, 128)
    assert (features >= 0).all()


def test_second_classifier_is_right_on_99_percent():
    images = load_dataset(split="test")
    logits, features = apply_in_batches(StridedClassifier(), load_strided_classifier(), images)
    assert (logits.argmax(-1) == load_labels(split="test")).mean() >= 0.99
    assert features.shape == (10_000, 64)
    np.testing.assert_array_equal(strided_features(images[:1000]), features[:1000])


@pytest.mark.parametrize(
    ("weights", "load"),
    [(classifier.WEIGHTS, load_classifier), (strided_classifier.WEIGHTS, load_strided_classifier)],
)
def test_damaged_classifier_is_reported(weights, load, tmp_path):
    assert weights.stat().st_size <= 1_000_000
    content, path = bytearray(weights.read_bytes()), tmp_path / "weights.npz"
    path.write_bytes(content)
    assert_same_bits(load(path), load())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ClassifierError, match="weights.npz is damaged"):
        load(path)
    path.unlink()
    with pytest.raises(ClassifierError, match="cannot read"):
        load(path)


def test_classification_is_independent_of_the_batch(real):
    logits, features = classify(real)
    some, their_features = classify(real[100:103])
    # Products of another shape may sum in another order; features and logits are sums of at most 864 terms.
    np.testing.assert_allclose(some, logits[100:103], atol=1e-4)
    np.testing.assert_allclose(their_features, features[100:103], atol=1e-4)


def test_real_images_score_as_the_floor(real_evaluation, noise_scores):
    scores, floor = real_evaluation.scores, real_evaluation.floor
    assert real_evaluation.samples == 600
    assert floor.fid / 2 < scores.fid < 2 * floor.fid  # random sets of 600 are between 6 and 9, noise is at thousands
    assert floor.second_fid / 2 < scores.second_fid < 2 * floor.second_fid
    assert abs(scores.kid) < 0.05 * noise_scores.kid
    for value, real_value in ((scores.precision, floor.precision), (scores.recall, floor.recall)):
        assert value == pytest.approx(real_value, abs=0.05)  # shares of 600 have a deviation of at most 0.02
    assert 9.5 < scores.class_score <= 10
    assert scores.confident > 0.95
    assert sum(scores.shares.values()) == pytest.approx(1)
    assert scores.missing == []
    assert scores.nearest == 0  # they are training images
    assert floor.nearest > 4


def test_noise_is_far_from_digits(real_evaluation, noise_scores):
    assert noise_scores.fid > 10 * real_evaluation.scores.fid
    assert noise_scores.second_fid > 10 * real_evaluation.scores.second_fid
    assert noise_scores.precision < 0.05
    assert noise_scores.recall < 0.05
    assert noise_scores.nearest > 10


def test_images_of_one_digit_are_detected(mnist):
    scores = evaluate_images(mnist[load_labels() == 3][:600]).scores
    assert scores.shares["3"] > 0.99
    assert scores.class_kl == pytest.approx(np.log(10), rel=0.05)
    assert len(scores.missing) >= 6
    assert scores.class_score < 1.2
    assert scores.recall < 0.5


def test_bytes_and_floats_have_the_same_scores(real, real_evaluation):
    as_floats = real[..., 0].astype(np.float32) / 255
    assert evaluate_images(as_floats) == real_evaluation
    assert evaluate_images(jnp.asarray(as_floats + 0.001)) == real_evaluation  # less than half a byte


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((200, 28, 28, 3)), r"must be \[N, 28, 28, 1\] or \[N, 28, 28\], got \[200, 28, 28, 3\]"),
        (np.zeros((200, 784)), r"got \[200, 784\]"),
        (noise(128), "at least 129 images are needed, one more than there are features, got 128"),
        (noise(0), "at least 129 images are needed"),
        (np.zeros((60_001, 28, 28), np.uint8), "at most 60,000 images can be scored, got 60,001"),
        (np.where(np.arange(28)[:, None] == 5, np.nan, noise(200)), "5,600 pixels are NaN or infinite"),
        (noise(200) * 255, r"must be in \[0, 1\], got values from .* to 254.999: divide by 255"),
        (noise(200) * 1e300, r"must be in \[0, 1\], got values from .* to 9.99997e\+299: scale them so"),
        (noise(200) * 2 - 1, r"must be in \[0, 1\], got values from -0.999999 to 0.99999.: add 1 and divide by 2"),
        (np.zeros((200, 28, 28), np.int64), r"uint8 or floating point in \[0, 1\], got int64"),
        (np.zeros((200, 28, 28), np.uint8), "all images are the same"),
        (np.full((200, 28, 28), 0.3), "all images are the same"),
    ],
)
def test_unusable_images_are_reported(images, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate_images(images)


def test_batches_of_samples_are_the_same_samples(small_digits, key):
    images = sample_in_batches(small_digits, key, 3)
    assert images.shape == (3, 28, 28, 1)
    np.testing.assert_allclose(images, sample(small_digits, key, 3), atol=1e-5)  # sums in another order


def test_conditional_digits_are_read_as_asked(key):
    """MNIST's own classifier reads them; the floor is its accuracy on the test images."""
    evaluation = evaluate(init(jax.random.key(1), (28, 28, 1), 10), key, 129)
    assert 0 <= evaluation.scores.as_asked <= 1
    assert evaluation.floor.as_asked > 0.993
    assert evaluation.to_json()["features"] == classifier.SHA256
    assert evaluate(init(jax.random.key(1), (28, 28, 1), 3), key, 129).scores.as_asked is None


@pytest.mark.parametrize("samples", [-1, 0, 128, 60_001])
def test_number_of_samples_is_checked(samples, small_digits, key):
    with pytest.raises(EvaluationError, match=f"samples must be 129 to 60,000, got {samples}"):
        evaluate(small_digits, key, samples)


def test_other_shapes_are_refused_before_sampling(small_state, key):
    with pytest.raises(EvaluationError, match=r"\[28, 28, 1\], can be scored, got \[8, 8, 1\]"):
        evaluate(small_state, key)


def test_table_has_every_score(real_evaluation):
    text = format_table(real_evaluation)
    scores, floor = real_evaluation.scores, real_evaluation.floor
    for value in (scores.fid, floor.fid, scores.second_fid, floor.second_fid, scores.nearest, floor.nearest):
        assert f"{value:.3f}" in text
    assert len(text.splitlines()) == 21
    assert len({len(line) for line in text.splitlines()}) == 1
