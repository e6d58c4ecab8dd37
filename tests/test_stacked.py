"""Stacked MNIST: three digits as the colours of one picture."""

import numpy as np
import pytest
from helpers import run_cli

from dcgan_jax import load_data, load_dataset, load_labels
from dcgan_jax.data import DatasetError, absolute_source


def sorted_rows(images):
    rows = images.reshape(len(images), -1)
    return rows[np.lexsort(rows.T)]


@pytest.fixture(scope="module")
def stacked():
    return load_data("stacked_mnist", "test")


def test_each_colour_has_each_digit_once(stacked):
    grey = load_dataset("mnist", "test")
    assert (stacked.images.shape, stacked.images.dtype) == ((10_000, 28, 28, 3), np.uint8)
    for colour in range(3):
        np.testing.assert_array_equal(sorted_rows(stacked.images[..., colour]), sorted_rows(grey))


def test_class_is_what_the_colours_show(stacked):
    digit = {image.tobytes(): str(label) for image, label in zip(*digits_and_labels(), strict=True)}
    for image, label in zip(stacked.images[:200], stacked.labels, strict=False):
        assert stacked.classes[label] == "".join(digit[image[..., colour].tobytes()] for colour in range(3))


def digits_and_labels():
    return load_dataset("mnist", "test")[..., 0], load_labels("mnist", "test")


def test_training_images_have_all_thousand_classes():
    stacked = load_data("stacked_mnist")
    assert stacked.classes == tuple(f"{number:03}" for number in range(1000))
    counts = np.bincount(stacked.labels)
    # Poisson with a mean of 37 to 84 each, by the shares of 5 and 1.
    assert (counts.min(), counts.max()) > (15, 60)


def test_it_is_the_same_each_time(stacked):
    again = load_data("stacked_mnist", "test", labels=False)
    assert again.labels is None
    np.testing.assert_array_equal(again.images, stacked.images)


def test_name_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stacked_mnist").mkdir()
    assert absolute_source("stacked_mnist") == "stacked_mnist"
    with pytest.raises(DatasetError, match="holds no pictures|no pictures"):
        load_data("./stacked_mnist")


def test_labels_do_not_fit_into_bytes():
    with pytest.raises(DatasetError, match="stacked_mnist has 1000 classes, and a byte counts 256: use load_data"):
        load_labels("stacked_mnist")


def test_a_run_on_it_is_planned(tmp_path, capsys):
    flags = ["--dataset", "stacked_mnist", "--conditional", "--batch-size", 4, "--width", 4]
    assert run_cli("train", *flags, "--dry-run", "--workdir", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "float32[1000,50]" in out  # the classes' vectors
    assert "float32[1,28,28,3]" in out
