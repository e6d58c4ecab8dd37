"""When a run logs, samples, evaluates and saves: tables, and `next_stop` against a search step by step."""

import itertools

import pytest

from dcgan_jax import TrainConfig
from dcgan_jax.training.schedule import Due, due, is_logged, is_sampled, next_stop

NOTHING = Due(log=False, sample=False, evaluate=False, save=False)


@pytest.mark.parametrize(
    ("log_every", "logged"),
    [(1, list(range(1, 13))), (3, [1, 3, 6, 9, 12]), (5, [1, 5, 10]), (12, [1, 12]), (100, [1])],
)
def test_first_and_every_nth_step_are_logged(log_every, logged):
    config = TrainConfig(log_every=log_every)
    assert [step for step in range(1, 13) if is_logged(step, config)] == logged


@pytest.mark.parametrize(
    ("sample_every", "sampled"),
    [
        (1, list(range(1, 21))),
        (2, [1, *range(2, 21, 2)]),
        (4, [1, 2, 4, 8, 12, 16, 20]),
        (5, [1, 2, 4, 5, 10, 15, 20]),
        (10, [1, 2, 4, 8, 10, 20]),
        (100, [1, 2, 4, 8, 16]),
    ],
)
def test_samples_start_at_powers_of_two(sample_every, sampled):
    """The first samples show most of the change; from ``sample_every`` on only its multiples are sampled."""
    config = TrainConfig(sample_every=sample_every)
    assert [step for step in range(1, 21) if is_sampled(step, config)] == sampled


@pytest.mark.parametrize(
    ("step", "stop"),
    [
        (0, 1),  # powers of two
        (1, 2),
        (2, 4),
        (4, 8),
        (8, 10),  # a checkpoint
        (10, 14),  # an evaluation
        (14, 16),
        (16, 20),  # a checkpoint
        (20, 25),  # samples; no powers of two from there on
        (25, 28),
        (28, 30),
        (30, 40),
        (40, 42),
        (60, 70),
        (99, 100),
        (100, 101),  # the last step
    ],
)
def test_next_stop_is_first_step_that_needs_state(step, stop):
    config = TrainConfig(steps=101, sample_every=25, checkpoint_every=10, eval_every=14, log_every=1)
    assert next_stop(step, config) == stop


def test_next_stop_skips_nothing_that_is_due():
    """From every step, it is the next one that is sampled, evaluated or saved."""
    for sample, checkpoint, evaluation in itertools.product((1, 3, 7, 8, 9, 50), (2, 5, 40), (None, 1, 6)):
        config = TrainConfig(steps=45, sample_every=sample, checkpoint_every=checkpoint, eval_every=evaluation)
        for before in range(45):
            later = range(before + 1, 46)
            needed = (n for n in later if any(due(n - 1, n, config, stopping=False)._replace(log=False)))
            assert next_stop(before, config) == next(needed)


@pytest.mark.parametrize(
    ("before", "step", "stopping", "expected"),
    [
        (0, 1, False, NOTHING._replace(log=True, sample=True)),
        (1, 2, False, NOTHING._replace(sample=True)),
        (2, 3, False, NOTHING._replace(log=True)),
        (4, 5, False, NOTHING._replace(sample=True)),
        (6, 7, False, NOTHING),
        (6, 7, True, NOTHING._replace(save=True)),  # a stop is saved
        (7, 8, False, NOTHING._replace(save=True)),
        (7, 8, True, NOTHING._replace(save=True)),
        (13, 14, False, NOTHING._replace(evaluate=True, save=True)),  # an evaluation is saved
        (14, 15, False, NOTHING._replace(log=True, sample=True)),
        (22, 23, False, NOTHING._replace(save=True)),  # the last step is saved
        # Calls of several steps: rows are due for any step of the call, the rest for its last one.
        (5, 8, False, NOTHING._replace(log=True, save=True)),
        (6, 8, False, NOTHING._replace(save=True)),
        (9, 11, False, NOTHING),
        (9, 12, False, NOTHING._replace(log=True)),
        (4, 7, False, NOTHING._replace(log=True)),
    ],
)
def test_due_after_call(before, step, stopping, expected):
    config = TrainConfig(steps=23, log_every=3, sample_every=5, checkpoint_every=8, eval_every=14)
    assert due(before, step, config, stopping=stopping) == expected


def test_nothing_is_evaluated_without_eval_every():
    config = TrainConfig(steps=20, checkpoint_every=4)
    assert not any(due(n - 1, n, config, stopping=False).evaluate for n in range(1, 21))
