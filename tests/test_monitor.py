"""The monitor: what it decides by metrics, samples and evaluations, without a run and without files."""

import json

import numpy as np
import pytest

from dcgan_jax.losses import CROSS_ENTROPY
from dcgan_jax.penalties import r1_penalty
from dcgan_jax.training.collapse import CollapseDetector, CollapseThresholds
from dcgan_jax.training.monitor import Monitor, steps_to_keep

HEALTHY = {"d_accuracy": 0.7, "d_loss": 0.6, "g_accuracy": 0.3}
WON = {"d_accuracy": 1.0, "d_loss": 0.05, "g_accuracy": 0.0}
LAZY = CROSS_ENTROPY._replace(penalty=r1_penalty(1), penalty_every=4)
REALS = np.random.default_rng(0).random((16, 8, 8, 1))


def monitor_of(losses=CROSS_ENTROPY, step=0, saved=None, **options):
    """A monitor whose discriminator has won after three steps, and whose samples have collapsed at the second grid."""
    thresholds = CollapseThresholds(window=3, block=1, from_step=2)
    detector = CollapseDetector(step, REALS, digits=False, state=saved, thresholds=thresholds)
    return Monitor(detector, losses, **options)


def penalties(monitor, steps):
    """The penalty that is shown of each step; the program computes one in the steps 1, 5, 9, and zeros between."""
    rows = {n: {**HEALTHY, "d_penalty": float(n) if n % 4 == 1 else 0.0} for n in steps}
    return [monitor.observe_metrics(n, row)[0]["d_penalty"] for n, row in rows.items()]


def test_rows_without_penalty_are_as_they_are():
    assert monitor_of().observe_metrics(1, HEALTHY) == (HEALTHY, None)
    assert "d_penalty" not in monitor_of().state_dict()


def test_lazy_penalty_is_shown_until_the_next():
    assert penalties(monitor_of(LAZY), range(1, 11)) == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9]


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_resumed_monitor_shows_the_last_penalty(stop):
    """What is saved is JSON."""
    first = monitor_of(LAZY)
    shown = penalties(first, range(1, stop + 1))
    saved = json.loads(json.dumps(first.state_dict()))
    resumed = monitor_of(LAZY, stop, saved, penalty=saved["d_penalty"])
    assert shown + penalties(resumed, range(stop + 1, 11)) == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9]


def test_won_discriminator_is_reported_once():
    monitor = monitor_of()
    messages = [monitor.observe_metrics(n, HEALTHY if n <= 5 else WON)[1] for n in range(1, 12)]
    ((step, message),) = [(n, message) for n, message in enumerate(messages, 1) if message]
    assert step == 8
    assert "the discriminator has won" in message
    assert monitor.collapsed
    assert monitor.last_healthy([9, 6, 5, 3, 0]) == 5  # three steps before it was seen
    assert monitor.last_healthy([9, 6]) is None


def test_samples_that_are_alike_are_reported():
    monitor, alike = monitor_of(), REALS[:1].repeat(16, axis=0)
    assert monitor.observe_images(0, REALS) is None
    assert monitor.observe_images(4, alike) is None
    assert not monitor.collapsed
    assert "the generator has collapsed" in str(monitor.observe_images(8, alike))
    assert monitor.collapsed
    assert monitor.last_healthy([8, 4, 0]) == 0


def test_resumed_monitor_has_not_seen_a_collapse():
    """A collapse before the run was saved does not stop it: it is reported again if it lasts."""
    first = monitor_of()
    for n in range(1, 5):
        first.observe_metrics(n, WON)
    resumed = monitor_of(step=4, saved=first.state_dict())
    assert (first.collapsed, resumed.collapsed) == (True, False)
    assert resumed.observe_metrics(5, HEALTHY)[1] is None
    assert resumed.state_dict()["collapsed"]


def test_fid_is_reached_at_most_as_given():
    monitor = monitor_of(stop_at_fid=20)
    assert not monitor.reached
    for step, figure, reached in ((5, 20.1, False), (10, 20.0, True), (15, 30.0, False)):
        monitor.observe_evaluation(step, figure)
        assert monitor.reached is reached
    assert monitor.evaluations == [(20.1, 5), (20.0, 10), (30.0, 15)]
    without = monitor_of()
    without.observe_evaluation(5, 0.0)
    assert not without.reached


def test_best_evaluation_of_each_kind_is_kept():
    """That of checkpoints that are still there; earlier evaluations and those of another kind count."""
    monitor = monitor_of(evaluations=[(9.0, 10), (3.0, 20)], other_evaluations=[[(0.5, 30), (0.4, 5)]])
    monitor.observe_evaluation(50, 4.0)
    assert monitor.steps_to_keep([40, 30, 20, 10], 50) == {20, 30}
    assert monitor.steps_to_keep([40, 30, 10], 50) == {50, 30}
    monitor.observe_evaluation(60, 2.0)
    assert monitor.steps_to_keep([50, 40, 30, 20, 10], 60) == {60, 30}


@pytest.mark.parametrize(
    ("steps", "step", "best", "healthy_until", "settled_until", "kept"),
    [
        ([], 0, None, 0, -300, set()),  # the first checkpoint
        ([0], 500, None, 500, 200, {0}),
        ([1000, 500, 0], 1500, None, 1500, 1200, {1000}),  # healthy: the last one that is settled
        ([1000, 500, 0], 1500, None, 1500, 1000, {1000}),  # up to that step and with it
        ([1000, 500, 0], 1500, None, 1500, 999, {500}),
        ([1000, 500, 0], 1500, None, 1400, 900, {1000, 500}),  # a sign of a collapse after step 1,400
        ([1000, 500, 0], 1500, None, 700, 700, {500}),
        ([1000, 500], 1500, None, 400, 100, set()),  # none from before it is left
        ([1000, 500, 0], 1500, 0, 1500, 1200, {1000, 0}),  # and the best evaluation
        ([1000, 500, 0], 1500, 1500, 1500, 1200, {1500, 1000}),
        ([1000, 500, 0], 1500, 1000, 1400, 1200, {1000}),
    ],
)
def test_steps_to_keep(steps, step, best, healthy_until, settled_until, kept):
    assert steps_to_keep(steps, step, [best], healthy_until, settled_until) == kept
