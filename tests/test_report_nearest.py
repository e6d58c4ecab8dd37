"""The nearest training pictures of a report: copies are seen, and what is missing costs a line and no report."""

import base64
import io

import numpy as np
import pytest
from helpers import run_cli, write_run
from PIL import Image

from dcgan_jax import TrainConfig, save_grid
from dcgan_jax.data import load_data
from dcgan_jax.evaluation.images import EvaluationError
from dcgan_jax.evaluation.real_images import hold_out
from dcgan_jax.report import nearest, read_source
from dcgan_jax.training.record import RunRecord

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 8, 8, 1), np.uint8)


@pytest.fixture(autouse=True)
def by_pixels(monkeypatch):
    """As without the extra ``perceptual``; `test_perceptual` compares in features."""

    def load():
        raise EvaluationError("not installed")

    monkeypatch.setattr(nearest, "load_efficientnet_lite", load)


def copying_run(folder, **fields):
    """A run that holds out 20 of 60 images; half of its samples are copies of training images."""
    np.save(folder / "images.npy", IMAGES)
    config = TrainConfig(**{"dataset": str(folder / "images.npy"), "hold_out": 20, **fields})
    data = hold_out(load_data(folder / "images.npy"), 20, "x")
    run_dir = write_run(folder / "run", config, RunRecord((8, 8, 1), data_digest=data.digest()))
    samples = np.concatenate([RANDOM.integers(0, 256, (8, 8, 8, 1), np.uint8), data.images[:8]])
    save_grid(run_dir / "samples" / "000500.png", samples)
    return run_dir, data, samples


def panel(run_dir, max_bytes=10**6):
    return nearest.nearest_pictures(read_source(run_dir), max_bytes)


def image_of(content):
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return np.asarray(picture)[..., None]


def distances_to(train, images):
    apart = (images[:, None].astype(np.float64) - train[None]) / 255
    return np.sqrt(np.square(apart).sum((2, 3, 4))).min(1)


def test_copies_are_first_and_have_no_distance(tmp_path):
    run_dir, data, samples = copying_run(tmp_path)
    found = panel(run_dir)
    for sample, training, distance in found["pairs"][:8]:
        np.testing.assert_array_equal(image_of(sample), image_of(training))
        assert distance == "0.00"
    of_samples, of_held_out = (distances_to(data.images, each) for each in (samples, data.held_out.images))
    shown = [distance for _, _, distance in found["pairs"]]
    assert shown == [f"{distance:.2f}" for distance in np.sort(of_samples)]
    medians = [f"{np.median(each):.2f}" for each in (of_samples, of_held_out)]
    assert found["facts"] == list(
        zip(("Median distance of 16 samples", "Of 20 held-out pictures"), medians, strict=True)
    )
    assert "Each sample at step 500" in found["about"]
    assert "Euclidean distance of pixels" in found["about"]


def test_mirrored_copies_are_found_if_the_run_mirrors(tmp_path):
    run_dir, data, _ = copying_run(tmp_path, mirror=True)
    save_grid(run_dir / "samples" / "000500.png", data.images[:16, :, ::-1])
    assert {distance for _, _, distance in panel(run_dir)["pairs"]} == {"0.00"}


def test_run_without_held_out_pictures_says_so(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    config = TrainConfig(dataset=str(tmp_path / "images.npy"))
    found = panel(write_run(tmp_path / "run", config, RunRecord((8, 8, 1))))
    assert [name for name, _ in found["facts"]] == ["Median distance of 16 samples"]
    assert found["about"].endswith("A run with held-out pictures would have their distance beside it.")


def test_pairs_that_do_not_fit_are_left_out(tmp_path):
    run_dir, *_ = copying_run(tmp_path)
    whole = panel(run_dir)["pairs"]
    some = panel(run_dir, 1_000)["pairs"]
    assert 0 < len(some) < 16
    assert some == whole[: len(some)]
    assert sum(map(len, sum(some, []))) <= 1_000


@pytest.mark.parametrize("what", ["gone", "changed", "name", "grid", "memory"])
def test_what_is_missing_costs_a_line(what, tmp_path, monkeypatch, capsys):
    """The report is written all the same."""
    run_dir, *_ = copying_run(tmp_path, **({"dataset": "fashion_mnist"} if what == "name" else {}))
    images = tmp_path / "images.npy"
    match what:
        case "gone":
            images.unlink()
        case "changed":
            np.save(images, IMAGES[::-1])
        case "grid":
            save_grid(run_dir / "samples" / "000500.png", IMAGES[:3])
        case "memory":
            monkeypatch.setattr(nearest, "nearest_images", lambda *_: np.empty(2**50))
    found = panel(run_dir)
    messages = {
        "gone": "images.npy",
        "changed": "are no longer those that the run in",
        "name": "fashion_mnist is the name of a data set, and a report downloads none",
        "grid": "is no grid of 16 images",
        "memory": "Unable to allocate",
    }
    assert found["about"].startswith("Left out: ")
    assert messages[what] in found["about"]
    assert (found["pairs"], found["facts"]) == ([], [])
    assert run_cli("report", run_dir) == 0
    assert capsys.readouterr().err == ""
    assert "Left out: " in (run_dir / "report.html").read_text()


def test_run_without_samples_has_no_nearest(tmp_path):
    assert panel(write_run(tmp_path / "run", grids=())) is None


def test_features_are_compared_of_few_pictures_alone(monkeypatch):
    monkeypatch.setattr(nearest, "load_efficientnet_lite", lambda: "the network")
    assert nearest._features(5_000) == ("the network", "in the features of a network that was trained on ImageNet")
    network, how = nearest._features(5_001)
    assert network is None
    assert how.startswith("of pixels")
