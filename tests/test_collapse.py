"""Collapse: what the detector reports and when, and what a run then does."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import RECIPE, metric_rows, run_cli
from programs.small_recipe import init

from dcgan_jax import TrainConfig, load_labels, train
from dcgan_jax.training.checkpoint import checkpoint_steps, save_checkpoint
from dcgan_jax.training.collapse import CollapseDetector, CollapseThresholds, mean_distance
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.recipe import as_recipe
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run_dir import write_config
from dcgan_jax.training.setup import with_recipe

HEALTHY = {"d_accuracy": 0.7, "d_loss": 0.6}
WON = {"d_accuracy": 1.0, "d_loss": 0.05}
CERTAIN = {"d_accuracy": 0.99, "d_loss": 0.001}


@pytest.fixture
def reals(mnist):
    return mnist[:16] / 255


@pytest.fixture
def detector(reals):
    return CollapseDetector(0, reals, digits=True)


def reports(detector, losses, steps):
    """The steps at which something was reported, and what."""
    return {n: line for n in steps if (line := detector.observe_losses(n, losses))}


def test_mean_distance_is_of_two_different_images():
    images = np.zeros((3, 2, 2, 1))
    images[1, 0, 0], images[2] = 1, 2
    assert mean_distance(images) == pytest.approx((1 + 4 + np.sqrt(13)) / 3)


@pytest.mark.parametrize("losses", [WON, CERTAIN])
def test_long_win_is_reported_once(detector, losses):
    assert reports(detector, HEALTHY, range(1, 401)) == {}
    lines = reports(detector, losses, range(401, 1500))
    ((step, line),) = lines.items()
    assert 690 <= step <= 720  # almost all of the last 300 steps, looked at every 30
    assert "the discriminator has won" in line
    assert "lower learning rates" in line
    assert detector.healthy_until == step - 300


def test_short_wins_are_not_reported(detector):
    """As at the start of a healthy run."""
    for start in range(0, 3000, 300):
        assert reports(detector, WON, range(start + 1, start + 250)) == {}
        assert reports(detector, HEALTHY, range(start + 250, start + 301)) == {}
    assert detector.healthy_until == 3000


@pytest.mark.parametrize(
    "critic", [{"d_accuracy": 1.0, "g_accuracy": 0.0}, {"d_accuracy": 0.5, "g_accuracy": 1.0}], ids=["apart", "shifted"]
)
def test_critics_are_not_judged_by_logits(detector, critic):
    """A Wasserstein loss is below 0 in a healthy run, and its logits have no threshold."""
    assert reports(detector, {**critic, "d_loss": -3.0}, range(1, 1500)) == {}
    assert detector.healthy_until == 1499


@pytest.mark.parametrize("kind", ["one image", "one digit"])
def test_same_samples_are_reported_once(detector, kind, reals, mnist):
    same = reals[:1].repeat(16, axis=0) if kind == "one image" else mnist[load_labels() == 1][:16] / 255
    for step in (500, 1000, 1500, 2000):
        detector.observe_losses(step, HEALTHY)
        assert detector.observe_images(step, reals) is None
    assert detector.observe_images(2500, same) is None  # one grid is no proof
    detector.observe_losses(2600, HEALTHY)
    line = detector.observe_images(3000, same)
    assert line is not None
    assert "1 different digits among 16 images" in line
    assert detector.healthy_until == 2000
    assert detector.observe_images(3500, same) is None


def test_bad_samples_after_good_not_reported(detector, reals):
    """As with ``--sample-every 1``: grids of almost the same generator."""
    same = reals[:1].repeat(16, axis=0)
    detector.observe_images(2000, reals)
    assert [detector.observe_images(step, same) for step in range(2001, 2300, 23)] == [None] * 13
    assert detector.observe_images(2300, same) is not None


def test_settled_until_is_before_any_later_report(detector, reals):
    """A win is reported 300 steps after it began: a checkpoint from before it must still be there."""
    detector.observe_images(400, reals)  # good samples count, however early
    reports(detector, HEALTHY, range(1, 1001))
    assert detector.settled_until == 400
    detector.observe_images(1000, reals)
    assert detector.settled_until == 700
    ((step, _),) = reports(detector, CERTAIN, range(1001, 1400)).items()
    assert detector.healthy_until == step - 300 >= 700


def test_single_bad_samples_are_not_reported(detector, reals):
    """Before step 1,000 samples have no strokes yet; after it a single bad grid is no proof."""
    same = reals[:1].repeat(16, axis=0)
    assert [detector.observe_images(step, same) for step in (0, 1, 2, 4, 500, 900)] == [None] * 6
    for step in range(1000, 4000, 1000):
        assert detector.observe_images(step, same) is None
        assert detector.observe_images(step + 500, reals) is None
    detector.observe_losses(4000, HEALTHY)
    assert detector.healthy_until == 4000


def test_real_images_all_alike_set_no_distance(reals):
    """As of a folder with one picture: samples that are alike are then what was asked for."""
    same = reals[:1].repeat(16, axis=0)
    detector = CollapseDetector(0, same, digits=False)
    assert [detector.observe_images(step, same) for step in range(500, 5000, 500)] == [None] * 9


def test_other_images_are_not_read_as_digits(reals):
    detector = CollapseDetector(0, reals, digits=False)
    same = reals[:1].repeat(16, axis=0)
    detector.observe_images(1000, same)
    assert "digits" not in str(detector.observe_images(1500, same))


@pytest.mark.parametrize("interrupted", [700, 899, 1000, 1310, 2250, 2600])
def test_resumed_detector_reports_the_same(interrupted, reals):
    """Seventeen steps into a block, in the middle of a win, between two bad grids, after each report."""
    same = reals[:1].repeat(16, axis=0)

    def watch(steps, detector):
        lines = {}
        for n in steps:
            reported = [detector.observe_losses(n, WON if 900 <= n < 1400 else HEALTHY)]
            if n % 250 == 0:
                reported.append(detector.observe_images(n, reals if n < 2000 else same))
            if any(reported):
                lines[n] = next(filter(None, reported))
        return lines

    uninterrupted = CollapseDetector(0, reals, digits=True)
    expected = watch(range(1, 3001), uninterrupted)
    first = CollapseDetector(0, reals, digits=True)
    lines = watch(range(1, interrupted + 1), first)
    saved = json.loads(json.dumps(first.state_dict()))
    second = CollapseDetector(interrupted, reals, digits=True, state=saved)
    again = watch(range(interrupted + 1, 3001), second)
    assert len(expected) == 2
    # What was reported is reported again, as long as it lasts; nothing is reported at other steps.
    assert {**again, **lines}.keys() >= expected.keys()
    assert {step: line for step, line in again.items() if step in expected} == {
        step: line for step, line in expected.items() if step > interrupted
    }
    assert second.state_dict() == uninterrupted.state_dict()


@pytest.fixture(scope="module")
def images(small_flags):
    """The path of small images."""
    return str(small_flags[small_flags.index("--dataset") + 1])


@pytest.fixture(scope="module")
def win_at_8(images, tmp_path_factory):
    """A run of 12 steps, and the thresholds by which its discriminator has won after its eighth step, not before."""
    workdir = tmp_path_factory.mktemp("reference") / "run"
    config = TrainConfig(
        steps=12, batch_size=2, seed=4, dataset=images, log_every=1, checkpoint_every=4, keep_checkpoints=1
    )
    train(dataclasses.replace(config, workdir=str(workdir)), init=init)
    losses = [row["d_loss"] for row in metric_rows(workdir)]
    means = {step: np.mean(losses[step - 3 : step]) for step in range(3, 13)}
    before = min(means[step] for step in range(3, 8))
    assert means[8] < before
    # No samples are good ones, as the first of the tutorial's networks are not.
    return config, CollapseThresholds(window=3, block=1, accuracy=2, loss=(means[8] + before) / 2, distance=100)


@pytest.mark.parametrize("stop", [True, False])
def test_collapse_warns_once_and_stops_if_asked(stop, win_at_8, tmp_path, capsys):
    config, thresholds = win_at_8
    config = dataclasses.replace(config, workdir=str(tmp_path / "run"), stop_on_collapse=stop)
    outcome = train(config, init=init, thresholds=thresholds)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("warning: at step 8 the discriminator has won")]) == 1
    checkpoints = tmp_path / "run" / "checkpoints"
    assert outcome.stopped_by is None
    if stop:
        assert outcome.collapsed
        healthy = f"the last healthy checkpoint is {checkpoints / '4'} (evaluate and sample: `checkpoint=STEP`)"
        assert lines[-1] == f"collapsed: stopped at step 8 without a checkpoint of it; {healthy}"
        assert checkpoint_steps(checkpoints) == [4, 0]
    else:
        assert not outcome.collapsed
        assert lines[-1].startswith("done: 12 steps")
        assert checkpoint_steps(checkpoints) == [12, 4, 0]  # the last healthy one, and the last settled one


def test_collapse_mid_call_stops_and_resumes(images, tmp_path, capsys):
    """Up to four steps a call, and a collapse seen in samples: a resumed run stops again, unless it may not."""
    config = TrainConfig(
        steps=12,
        batch_size=2,
        dataset=images,
        sample_every=2,
        checkpoint_every=5,
        steps_per_call=4,
        workdir=str(tmp_path / "run"),
    )
    stopping = dataclasses.replace(config, stop_on_collapse=True)
    thresholds = CollapseThresholds(window=3, block=1, accuracy=2, loss=-1, from_step=4, distance=100)
    outcomes = [
        train(stopping, init=init, thresholds=thresholds),
        train(stopping, init=init, resume=True, thresholds=thresholds),
        train(config, init=init, resume=True, thresholds=thresholds),
    ]
    assert [outcome.collapsed for outcome in outcomes] == [True, True, False]
    out = capsys.readouterr().out
    stopped = [line for line in out.splitlines() if line.startswith("collapsed: stopped at step")]
    # At the second bad grid.
    assert [line.split(" without")[0] for line in stopped] == ["collapsed: stopped at step 6"] * 2
    assert "resuming from step 5" in out
    assert out.count("warning: at step 6 the generator has collapsed to few images") == 3
    assert checkpoint_steps(tmp_path / "run" / "checkpoints")[0] == 12


def test_stop_on_collapse_exits_with_code_4(images, tmp_path, capsys):
    """The checkpoint of step 600 is of a run whose discriminator has won for 299 steps."""
    config = TrainConfig(steps=601, batch_size=2, dataset=images, log_every=1, workdir=str(tmp_path))
    record = with_recipe(RunRecord((8, 8, 1)), as_recipe(init))
    state, keys = create_state(config, record, init=init)
    write_config(tmp_path, config, record)
    won = {"blocks": [[1.0, 0.0]] * 9, "sums": [29, 29.0, 0.0]}
    for step in (300, 600):
        saved, as_json = state.replace(step=state.step + step), dataclasses.asdict(config)
        found = dataclasses.asdict(record)
        save_checkpoint(tmp_path / "checkpoints", saved, keys["run"], as_json, record=found, collapse=won)
    resume = ["train", "--recipe", RECIPE, "--workdir", tmp_path, "--resume"]
    assert run_cli(*resume, "--stop-on-collapse") == 4
    out, err = capsys.readouterr()
    assert err == ""
    assert "warning: at step 601 the discriminator has won: over the last 300 steps" in out
    assert f"the last healthy checkpoint is {tmp_path / 'checkpoints' / '300'} " in out.splitlines()[-1]
    assert checkpoint_steps(tmp_path / "checkpoints") == [600, 300]
    # Without the flag the same run is warned of, and ends as any other.
    assert run_cli(*resume, "--no-stop-on-collapse") == 0
    assert "warning: at step 601 the discriminator has won" in capsys.readouterr().out
    assert checkpoint_steps(tmp_path / "checkpoints") == [601, 600, 300]
