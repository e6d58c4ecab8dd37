"""Which scores images from any source can have, and what is said where there is no FID."""

import numpy as np
import pytest
from helpers import compare_fewer_patches

from dcgan_jax.data import Dataset, Reading
from dcgan_jax.evaluation.classifier import load_classifier
from dcgan_jax.evaluation.classifier_file import Classifier
from dcgan_jax.evaluation.image_scorer import explain_pixels, scorer_of_images
from dcgan_jax.evaluation.images import EvaluationError

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
    data, source = saved(tmp_path, RANDOM.integers(0, 256, (40, 28, 28, 1), np.uint8))
    with pytest.raises(EvaluationError, match="the classifier knows the images of others .* not those of .*train one"):
        scorer_of_images(data, source, Reading(), classifier_of("0" * 64))
    _, most = scorer_of_images(data, source, Reading(), classifier_of(data.digest()))
    assert most == 36  # a tenth is held out


def test_what_a_fid_needs_is_said():
    assert explain_pixels("kmnist", (28, 28, 1)).endswith("train-classifier --dataset kmnist, then --classifier FILE")
    assert "features of images of 32x32x3: train-classifier makes" in explain_pixels("a", (32, 32, 3))
