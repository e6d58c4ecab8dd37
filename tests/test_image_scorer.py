"""Which scores images from any source can have, and what is said where there is no FID."""

import numpy as np
import pytest
from helpers import compare_fewer_patches

from dcgan_jax.data import Dataset, Reading
from dcgan_jax.evaluation.classifier import load_classifier
from dcgan_jax.evaluation.classifier_file import Classifier
from dcgan_jax.evaluation.image_scorer import check_classifiable, explain_pixels, scorer_of_images
from dcgan_jax.evaluation.images import EvaluationError
from dcgan_jax.evaluation.real_images import split_for_testing

RANDOM = np.random.default_rng(0)


def saved(folder, images):
    """Images as a data set, and its path."""
    np.save(folder / "a.npy", images)
    return Dataset(images), str(folder / "a.npy")


def classifier_of(digest):
    return Classifier(load_classifier(), tuple("0123456789"), "others", digest, 1.0, "none", 1, 0)


def test_pixels_are_scored_without_a_classifier(tmp_path, monkeypatch, capsys):
    """As many as the half of the real images that is the floor; nothing is printed."""
    compare_fewer_patches(monkeypatch)
    data, source = saved(tmp_path, RANDOM.integers(0, 256, (40, 16, 24, 3), np.uint8))
    score, most = scorer_of_images(data, source, Reading(), None)
    assert most == 20
    evaluation = score(data.images[:10], None)
    assert (evaluation.samples, evaluation.features) == (10, None)
    assert list(evaluation.scores.swd) == ["16x24"]
    assert capsys.readouterr() == ("", "")


def test_images_too_small_are_refused(tmp_path):
    data, source = saved(tmp_path, RANDOM.integers(0, 256, (40, 4, 24, 1), np.uint8))
    with pytest.raises(
        EvaluationError, match=r"7x7 pixels, too large for those of .*4x24: train on larger.*`image_size`"
    ):
        scorer_of_images(data, source, Reading(), None)


def test_classifier_is_for_its_own_images(tmp_path):
    data, source = saved(tmp_path, RANDOM.integers(0, 256, (40, 32, 32, 3), np.uint8))
    with pytest.raises(EvaluationError, match="`classifier` is for images of 28x28x1, those of .* are 32x32x3: leave"):
        scorer_of_images(data, source, Reading(), classifier_of("0" * 64))
    data, source = saved(tmp_path, RANDOM.integers(0, 256, (1290, 28, 28, 1), np.uint8))
    with pytest.raises(EvaluationError, match="the classifier knows the images of others .* not those of .*train one"):
        scorer_of_images(data, source, Reading(), classifier_of("0" * 64))
    same = classifier_of("0" * 64)._replace(data=source)
    with pytest.raises(EvaluationError, match="they have changed, or other flags said how to read them; train one"):
        scorer_of_images(data, source, Reading(), same)
    _, most = scorer_of_images(data, source, Reading(), classifier_of(data.digest()))
    assert most == 1161  # a tenth is held out


def test_too_few_for_a_classifier_are_refused(tmp_path):
    """A tenth of 1,290 images is as many as there must be to test on."""
    data, source = saved(tmp_path, RANDOM.integers(0, 256, (1289, 28, 28, 1), np.uint8))
    message = r"at least 129 images to train on and as many to test on, .* has 1,161 and a held-out tenth, 128 images"
    with pytest.raises(EvaluationError, match=message):
        scorer_of_images(data, source, Reading(), classifier_of(data.digest()))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 20])
def test_few_pictures_are_scored_or_refused(count, tmp_path, monkeypatch):
    """Before the run, and not at each evaluation."""
    compare_fewer_patches(monkeypatch)
    data, source = saved(tmp_path, RANDOM.integers(0, 256, (count, 8, 8, 1), np.uint8))
    if count < 4:
        with pytest.raises(EvaluationError, match=f"at least 4 images are needed to score by, .* has {count}: add"):
            scorer_of_images(data, source, Reading(), None)
        return
    score, most = scorer_of_images(data, source, Reading(), None)
    assert most == count - count // 2
    assert score(RANDOM.integers(0, 256, (most, 8, 8, 1), np.uint8), None).samples == most


def test_one_test_image_is_refused(tmp_path):
    images = RANDOM.integers(0, 256, (9, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images[:8], x_test=images[8:])
    with pytest.raises(EvaluationError, match="at least 2 test images are needed to score by, .* has 1: add more"):
        scorer_of_images(Dataset(images[:8]), str(tmp_path / "a.npz"), Reading(), None)


def test_class_without_training_image_is_named(tmp_path):
    """Its one image is among the tenth that is held out."""
    images = RANDOM.integers(0, 256, (1300, 28, 28, 1), np.uint8)
    labels = np.arange(1300) % 2
    labels[np.random.default_rng(0).permutation(1300)[0]] = 2
    data = Dataset(images, labels.astype(np.int32), ("cats", "dogs", "a rare bird"))
    np.savez(tmp_path / "a.npz", images=images)
    real = split_for_testing(tmp_path / "a.npz", data, Reading())
    message = "has no image of the class a rare bird to train a classifier on beside a held-out tenth, 130 images: add"
    with pytest.raises(EvaluationError, match=message):
        check_classifiable(real, "a.npz")


def test_what_a_fid_needs_is_said():
    assert explain_pixels("kmnist", (28, 28, 1)).endswith("train-classifier --dataset kmnist, then --classifier FILE")
    assert "--features perceptual, for images of 32x32x3; train-classifier is for" in explain_pixels("a", (32, 32, 3))
