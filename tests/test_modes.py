"""Modes of stacked MNIST: what is counted, and that a generator that leaves some out has a worse score."""

import json

import numpy as np
import pytest
from helpers import one_error_line, run_cli

from dcgan_jax import TrainConfig, evaluate_modes, load_data
from dcgan_jax.evaluation import EvaluationError
from dcgan_jax.evaluation.comparability import MODES, Comparability
from dcgan_jax.evaluation.mode_scoring import divergence, read_modes
from dcgan_jax.evaluation.results import format_table, summary
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.run import create_run
from dcgan_jax.training.scorer import is_of_modes, scorer_of_run
from dcgan_jax.training.setup import prepare_run

N = 2000


@pytest.fixture(scope="module")
def real():
    """Images of the test split, and their classes by number."""
    stacked = load_data("stacked_mnist", "test")
    labels = np.array([int(name) for name in stacked.classes])[stacked.labels]
    return stacked.images[:N], labels[:N]


@pytest.fixture(scope="module")
def scores(real):
    return evaluate_modes(real[0], real[1])


def test_digits_of_each_colour_are_read(real):
    """99.5 % of MNIST's test digits are, and so 98.5 % of three."""
    modes, confidence = read_modes(real[0])
    assert (modes == real[1]).mean() > 0.975
    assert confidence.min() >= 0.1  # the likeliest of ten
    assert confidence.max() <= 1


def test_modes_are_those_of_the_labels(real, scores):
    assert abs(scores.scores.modes - len(set(real[1].tolist()))) <= 0.02 * 1000
    assert scores.scores.as_asked == pytest.approx((read_modes(real[0])[0] == real[1]).mean())
    assert scores.samples == N


@pytest.mark.parametrize("labels", [[1, 2], [[1], [2], [3]], [1, 2, 1000], [-1, 2, 3], [1.0, 2.0, 3.5]])
def test_labels_are_modes_one_for_each_image(labels, real):
    with pytest.raises(EvaluationError, match=r"labels must be 3 integers from 0 to 999, one for each image, got "):
        evaluate_modes(real[0][:3], np.array(labels))


def test_divergence_by_hand():
    uniform = np.full(4, 0.25)
    assert divergence(uniform, uniform) == 0
    assert divergence(np.array([0.5, 0.5, 0, 0]), uniform) == pytest.approx(np.log(2))
    assert divergence(np.array([1.0, 0, 0, 0]), np.array([0.1, 0.2, 0.3, 0.4])) == pytest.approx(np.log(10))


def test_divergence_of_real_images(scores):
    """With N images of K modes it is about (modes that N images have - 1) / 2 N: a draw's own unevenness."""
    ours, floor = scores.scores, scores.floor
    # E of the sum is between that of K = modes drawn and of K = 1000, as N is twice K alone.
    for each in (ours, floor):
        assert 0.5 * (each.modes - 1) / (2 * N) < each.mode_kl < 2 * 999 / (2 * N)
    assert ours.mode_kl == pytest.approx(floor.mode_kl, rel=0.2)
    assert ours.nearest == pytest.approx(floor.nearest, rel=0.05)


def test_modes_that_are_left_out_are_missed(real, scores):
    """Without sevens in red a tenth of the modes is missing; the divergence rises by ln(1 / (1 - share of sevens))."""
    images, labels = real
    kept = labels // 100 != 7
    images = np.concatenate([images[kept], images[kept]])[:N]
    less = evaluate_modes(images).scores
    assert less.modes < 0.93 * scores.scores.modes
    assert less.mode_kl > scores.scores.mode_kl + 0.8 * -np.log(kept.mean())


def test_colours_that_show_one_digit_have_ten_modes(real):
    """Of grey pictures red, green and blue are alike: modes 000, 111, ..., and a divergence near ln 100."""
    grey = np.repeat(real[0][..., :1], 3, axis=-1)
    alike = evaluate_modes(grey).scores
    assert alike.modes == 10
    assert alike.mode_kl == pytest.approx(np.log(100), rel=0.05)


@pytest.mark.parametrize("shape", [(5, 28, 28, 1), (5, 32, 32, 3), (1, 28, 28, 3), (28, 28, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(EvaluationError, match=r"must be \[N, 28, 28, 3\], N at least 2, got"):
        evaluate_modes(np.zeros(shape, np.uint8))


def test_result_is_shown_and_compared(scores):
    line, table = summary(scores), format_table(scores)
    assert f"{scores.scores.modes:,} modes (real images: {scores.floor.modes:,}), KL" in line
    assert "modes, of 1,000" in table
    assert "drawn as asked" in table
    row = scores.to_json()
    assert row["scores"]["modes"] == scores.scores.modes
    kind = Comparability.of(json.loads(json.dumps(row)))
    assert (kind, kind.figure) == (Comparability(MODES, N), "mode_kl")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """An untrained run on it."""
    folder = tmp_path_factory.mktemp("modes") / "run"
    config = TrainConfig(dataset="stacked_mnist", batch_size=4, width=4, workdir=str(folder))
    config, record, *_ = prepare_run(config, folder, resume=False)
    return create_run(config, *create_state(config, record))


@pytest.mark.slow
def test_run_is_scored_by_its_modes(run_dir, capsys):
    assert run_cli("evaluate", run_dir, "--samples", 50, "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["features"] == MODES
    assert 1 <= row["scores"]["modes"] <= 50
    assert "swd_mean" not in row["scores"]


def test_images_that_are_read_otherwise_have_no_modes():
    """Turned or inverted, they are no digits that the classifier knows."""
    assert is_of_modes(TrainConfig(dataset="stacked_mnist", image_size="28x28"))
    for other in ({"layout": "NWHC"}, {"range": "0,127"}, {"image_size": "32"}, {"channels": 1}, {"dataset": "mnist"}):
        assert not is_of_modes(TrainConfig(**{"dataset": "stacked_mnist", **other}))


def test_papers_number_of_images_is_the_default():
    config = TrainConfig(dataset="stacked_mnist", image_size="28", channels=3)
    assert scorer_of_run(config, load_data("stacked_mnist", "test"), None, None, "samples").comparability == (
        MODES,
        26_000,
    )


def test_files_are_scored_by_their_modes(real, tmp_path, capsys):
    np.save(tmp_path / "a.npy", real[0][:50])
    assert run_cli("evaluate", tmp_path / "a.npy", "--dataset", "stacked_mnist") == 0
    assert "modes, of 1,000" in capsys.readouterr().out
    np.save(tmp_path / "b.npy", real[0][:50, :20])
    assert run_cli("evaluate", tmp_path / "b.npy", "--dataset", "stacked_mnist") == 2
    assert "images of stacked MNIST must be [N, 28, 28, 3]" in one_error_line(capsys)
