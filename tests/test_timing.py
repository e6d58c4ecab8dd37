"""Times and profiles of a run's sessions, of a small function in place of a step."""

import os

import jax
import jax.numpy as jnp
import pytest
from helpers import one_error_line, run_cli, timing_rows, traced_steps

from dcgan_jax.training import timing
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.distributed import data_mesh
from dcgan_jax.training.profile import check_profile, profile_steps
from dcgan_jax.training.timing import record_timing


@jax.jit
def small_step(state):
    return state + 1


class Steps:
    """In place of a `StepRunner`: dispatches of at most ``capacity`` steps."""

    def __init__(self, capacity=1, step=0):
        self.capacity, self.step, self.calls = capacity, step, []

    def advance(self, state, stop):
        before, self.step = self.step, min(self.step + self.capacity, stop)
        for _ in range(self.step - before):
            state = small_step(state)
        self.calls.append((before, self.step))
        return state, before, self.step


def run_to(advance, last, step=0):
    """The state after the steps up to the ``last``: their number."""
    state = jnp.int32(step)
    while step < last:
        state, _, step = advance(state, last)
    return int(state)


def test_each_session_has_a_row(tmp_path):
    for first, last in ((0, 5), (5, 6)):
        with record_timing(Steps(step=first).advance, tmp_path, first, data_mesh(), 0.25) as advance:
            assert run_to(advance, last, first) == last
    rows = timing_rows(tmp_path)
    assert [(row["first_step"], row["last_step"]) for row in rows] == [(0, 5), (5, 6)]
    for row in rows:
        assert 0.25 == row["compile_seconds"] < row["seconds"]
        assert row["peak_memory_bytes"] > 2**20
        assert (row["device"], row["devices"]) == (jax.devices()[0].device_kind, data_mesh().size)
    # Four steps took less than the whole session; the second session has no step after its first dispatch.
    assert rows[0]["steps_per_second"] > 4 / rows[0]["seconds"]
    assert rows[1]["steps_per_second"] is None


def test_row_of_a_running_session(tmp_path, monkeypatch, capsys):
    """So that a report shows it, and a killed process leaves it: it is replaced once a minute."""
    monkeypatch.setattr(timing, "_SECONDS", 0)
    (tmp_path / "timing.jsonl").write_text('{"last_step": 2}\n')
    with record_timing(Steps(step=2).advance, tmp_path, 2, data_mesh(), 0.25) as advance:
        assert run_to(advance, 6, 2) == 6
        earlier, row = timing_rows(tmp_path)
        assert (earlier, row["first_step"], row["last_step"]) == ({"last_step": 2}, 2, 5)
        assert row["steps_per_second"] > 0
        (tmp_path / "timing.jsonl").unlink()
        (tmp_path / "timing.jsonl").mkdir()  # the session continues, and reports it once, at its end
        assert run_to(advance, 9, 6) == 9
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err.count("warning: the timing of this session is not recorded (") == 1


def test_session_that_fails_has_a_row(tmp_path):
    with pytest.raises(ZeroDivisionError), record_timing(Steps().advance, tmp_path, 0, data_mesh(), 0.25) as advance:
        run_to(advance, 2)
        raise ZeroDivisionError
    assert timing_rows(tmp_path)[0]["last_step"] == 2


def test_session_without_steps_has_a_row(tmp_path):
    with record_timing(Steps().advance, tmp_path, 0, data_mesh(), 0.25):
        pass
    (row,) = timing_rows(tmp_path)
    assert (row["last_step"], row["compile_seconds"], row["steps_per_second"]) == (0, 0.25, None)


def test_timing_that_cannot_be_written_is_a_warning(tmp_path, capsys):
    (tmp_path / "timing.jsonl").mkdir()
    with record_timing(Steps().advance, tmp_path, 0, data_mesh(), 0.25) as advance:
        assert run_to(advance, 3) == 3
    err = capsys.readouterr().err
    assert err.startswith("warning: the timing of this session is not recorded (")
    assert err.count("\n") == 1


@pytest.mark.parametrize("capacity", [1, 4])
def test_profile_begins_after_the_first_dispatch(capacity, tmp_path, capsys):
    """So many, however many a dispatch takes; the run's steps are the same."""
    steps = Steps(capacity)
    with profile_steps(steps.advance, tmp_path / "한 글", 3) as advance:
        assert run_to(advance, 9) == 9
    expected = {1: [(n, n + 1) for n in range(9)], 4: [(0, 4), (4, 7), (7, 9)]}[capacity]
    assert steps.calls == expected
    numbers, names = traced_steps(tmp_path)
    assert numbers == {1: [2, 3, 4], 4: [5]}[capacity]
    assert any("small_step" in str(name) for name in names)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"profiled 3 steps: open {tmp_path / '한 글'}")
    assert out.count("\n") == 1


def test_profile_elsewhere_has_the_same_dispatches(tmp_path):
    """Processes that share a batch must: each waits for the others."""
    calls = []
    for folder in (None, tmp_path):
        steps = Steps(capacity=4)
        with profile_steps(steps.advance, folder, 3) as advance:
            run_to(advance, 9)
        calls.append(steps.calls)
    assert calls == [[(0, 4), (4, 7), (7, 9)]] * 2


def test_profile_of_fewer_steps(tmp_path, capsys):
    with profile_steps(Steps().advance, tmp_path, 10) as advance:
        assert run_to(advance, 3) == 3
    assert traced_steps(tmp_path)[0] == [2, 3]
    assert capsys.readouterr().out.startswith("profiled 2 steps, all that were left, not 10: open ")
    with profile_steps(Steps().advance, tmp_path / "none", 10) as advance:
        run_to(advance, 1)
    assert not (tmp_path / "none").exists()
    err = capsys.readouterr().err
    assert err == "warning: nothing is profiled: the run ended with its first dispatch, which compiles\n"


def test_profile_that_fails_is_a_warning(tmp_path, capsys):
    """Another trace is running; or the files cannot be written. The dispatches are the same."""
    with jax.profiler.trace(tmp_path / "other"), profile_steps(Steps().advance, tmp_path / "mine", 2) as advance:
        assert run_to(advance, 4) == 4
    assert not (tmp_path / "mine").exists()
    (tmp_path / "file").touch()
    steps = Steps(capacity=4)
    with profile_steps(steps.advance, tmp_path / "file", 2) as advance:
        assert run_to(advance, 9) == 9
    assert steps.calls == [(0, 4), (4, 6), (6, 9)]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in lines] == ["warning: the steps cannot be profiled"] * 2


@pytest.mark.parametrize("steps", [0, -1, 101])
def test_unusable_number_is_refused(steps, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli("train", "--profile", steps, "--dry-run") == 2
    assert f"--profile must be between 1 and 100, got {steps}" in one_error_line(capsys)
    assert run_cli("train", "--profile", "many") == 2
    assert "--profile: invalid int value: 'many'" in one_error_line(capsys)
    with pytest.raises(ConfigError, match="`profile` must be"):
        check_profile(steps)
    assert os.listdir(tmp_path) == []
