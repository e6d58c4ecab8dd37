"""Runs that meet real faults: killed processes, full and read-only disks, damaged files, losses that are not finite."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import jax
import jax.numpy as jnp
import pytest
from helpers import (
    FLAGS,
    all_files,
    assert_same_run,
    finish,
    metric_rows,
    one_error_line,
    run_cli,
    wait_for_line,
)

from dcgan_jax import load_run
from dcgan_jax.training.checkpoint import checkpoint_steps, latest_valid_step, restore_checkpoint, save_checkpoint
from dcgan_jax.training.finite import NotFiniteError, check_finite
from dcgan_jax.training.run_dir import RunDirError, claim_number, lock_run_dir, resolve_run_dir


@pytest.fixture
def broken(finished, tmp_path):
    """A copy of the finished run, to damage."""
    return shutil.copytree(finished[0], tmp_path / "run")


def survive(train_process, whole, cwd, kills, seed):
    """Kill a run at random moments, every third time within a save, and resume it until it is done."""
    chance = random.Random(seed)
    run_dir = cwd / "run"
    within_a_save = 0
    for i in range(kills):
        resume = ["--resume"] if (run_dir / "config.json").exists() else ["--steps", 11, *FLAGS]
        process = train_process("--workdir", run_dir, *resume, cwd=cwd, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + chance.uniform(1, 8)
        aim_at_a_save = i % 3 == 1
        while process.poll() is None:
            saving = any((run_dir / "checkpoints").glob("*.partial"))
            if aim_at_a_save and saving:
                time.sleep(chance.uniform(0, 0.2))
                break
            if not aim_at_a_save and time.monotonic() > deadline:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        code, _, err = finish(process)
        assert code in (-signal.SIGKILL, 0, 2), err  # it may have been done before
        within_a_save += any((run_dir / "checkpoints").glob("*.partial"))
        if code == 2:
            assert "already has 11 steps" in err
            shutil.rmtree(run_dir)
    if not (run_dir / "checkpoints" / "11").exists():
        resume = ["--resume"] if (run_dir / "config.json").exists() else ["--steps", 11, *FLAGS]
        assert run_cli("train", "--workdir", run_dir, *resume) == 0
    assert_same_run(run_dir, whole)
    return within_a_save


def test_run_killed_5_times_ends_in_same_bits(train_process, finished, tmp_path):
    assert survive(train_process, finished[0], tmp_path, kills=5, seed=1) >= 1


@pytest.mark.slow
def test_run_killed_24_times_ends_in_same_bits(train_process, finished, tmp_path):
    within = survive(train_process, finished[0], tmp_path, kills=24, seed=2)
    print(f"24 kills survived, {within} of them within a save")
    assert within >= 4


def test_damaged_checkpoint_is_passed_over(finished, broken, capsys):
    """The checkpoint before it is taken, and the run ends as without the damage."""
    data = max((broken / "checkpoints" / "11").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(data.read_bytes())
    content[len(content) // 3] ^= 4
    data.write_bytes(content)
    (broken / "checkpoints" / "12.partial").mkdir()
    code = run_cli("train", "--workdir", broken, "--resume")
    out, err = capsys.readouterr()
    assert code == 0, err
    assert err.count("\n") == 1
    assert str(data.relative_to(broken / "checkpoints" / "11")) in err
    assert "falling back to step 8" in err
    assert "resuming from step 8" in out
    assert checkpoint_steps(broken / "checkpoints") == [11, 8, 4]
    assert (broken / "checkpoints" / "11.damaged").is_dir()
    assert not list(broken.rglob("*.partial"))
    shutil.rmtree(broken / "checkpoints" / "11.damaged")
    assert_same_run(broken, finished[0])


def test_no_valid_checkpoint_changes_nothing(broken, capsys):
    for step in (4, 8, 11):
        (broken / "checkpoints" / str(step) / "SHA256SUMS").unlink()
    before = all_files(broken)
    assert run_cli("train", "--workdir", broken, "--resume", "--steps", 12) == 2
    assert "is valid: " in one_error_line(capsys)
    assert all_files(broken) == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 MB, for the first two checkpoints and not for a third."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", disk], capture_output=True)
    if mount.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk_stops_and_resumes_with_room(finished, small_disk, capsys):
    """And a file system that has become read-only is reported before anything is done."""
    run_dir = small_disk / "run"
    assert run_cli("train", "--workdir", run_dir, "--steps", 11, *FLAGS) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: cannot write the checkpoint ")
    assert "no space left" in err.lower()
    kept = checkpoint_steps(run_dir / "checkpoints")
    assert kept == [4, 0]
    assert latest_valid_step(run_dir / "checkpoints") == (4, [])

    (run_dir / "checkpoints" / "8.partial").mkdir(exist_ok=True)  # as a process that was killed would leave it
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    code = run_cli("train", "--workdir", run_dir, "--resume")
    assert code == 0, capsys.readouterr().err
    assert not list(run_dir.rglob("*.partial"))
    assert_same_run(run_dir, finished[0])
    capsys.readouterr()

    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert run_cli("train", "--workdir", run_dir, "--resume", "--steps", 13) == 2
    assert "cannot write the run directory" in one_error_line(capsys)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


def test_lock_refuses_second_process_until_death(train_process, finished, tmp_path, capsys):
    """The process that holds the lock is named; one that has died blocks nobody."""
    run_dir = tmp_path / "run"
    first = train_process("--workdir", run_dir, "--steps", 11, *FLAGS, cwd=tmp_path)
    wait_for_line(first, "1:")
    first.send_signal(signal.SIGSTOP)  # so that it is still there when the second comes
    assert run_cli("train", "--workdir", run_dir, "--resume") == 2
    assert f"is in use by process {first.pid} on " in one_error_line(capsys)
    first.kill()
    finish(first)
    assert str(first.pid) in (run_dir / "lock").read_text()  # left by a dead process
    code = run_cli("train", "--workdir", run_dir, "--resume")
    assert code == 0, capsys.readouterr().err
    assert_same_run(run_dir, finished[0])


def test_sigterm_saves_and_exits_with_code_0(train_process, tmp_path):
    process = train_process("--steps", 11, *FLAGS, cwd=tmp_path)
    wait_for_line(process, "1:")
    process.send_signal(signal.SIGTERM)
    code, out, err = finish(process)
    assert (code, err) == (0, "SIGTERM: stopping after this step, then saving\n")
    step = int(re.search(r"stopped and saved at step (\d+)", out)[1])
    assert latest_valid_step(tmp_path / "runs" / "0001" / "checkpoints") == (step, [])


@pytest.mark.parametrize("inherited", [signal.default_int_handler, signal.SIG_IGN], ids=["default", "ignored"])
def test_second_signal_ends_at_once(inherited, interrupt_at, tmp_path, capsys):
    """Both come while samples are written: the first is noted, the second is Python's own.

    A shell starts background commands with SIGINT ignored.
    """
    survived = interrupt_at("000002.png", times=2)
    signal.signal(signal.SIGINT, inherited)
    assert run_cli("train", "--steps", 9, "--batch-size", 2, "--workdir", tmp_path / "run") == 130
    assert signal.getsignal(signal.SIGINT) is inherited
    assert survived == [0]
    acknowledged, ended = capsys.readouterr().err.splitlines()
    assert acknowledged == "Ctrl-C: stopping after this step, then saving; Ctrl-C again stops at once"
    assert ended == "interrupted; nothing was saved since the last checkpoint"
    assert latest_valid_step(tmp_path / "run" / "checkpoints") == (0, [])


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_value_that_is_not_finite_is_never_saved(value, broken, capsys):
    """A parameter is spoilt after step 8: the losses of step 9 show it, before the next row."""
    checkpoints = broken / "checkpoints"
    shutil.rmtree(checkpoints / "11")
    like = load_run(broken).state
    saved = restore_checkpoint(checkpoints / "8", like)
    network = saved.state.discriminator
    dense = {**network.params["dense"], "bias": network.params["dense"]["bias"] + float(value)}
    spoilt = saved.state.replace(discriminator=network.replace(params={**network.params, "dense": dense}))
    save_checkpoint(checkpoints, spoilt, saved.key, saved.config, collapse=saved.collapse)
    before = all_files(checkpoints)
    assert run_cli("train", "--workdir", broken, "--resume", "--log-every", 5) == 3
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: (d|g)_loss is (nan|inf) at step 9: stopped.*\n", err)
    assert all_files(checkpoints) == before
    assert latest_valid_step(checkpoints) == (8, [])
    assert [row["step"] for row in metric_rows(broken)] == [1, 3, 6]


def test_slot_that_is_not_finite_is_named(small_state):
    check_finite(small_state, 1)
    network = small_state.generator
    nu = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.inf), network.opt_state.nu)
    spoilt = small_state.replace(generator=network.replace(opt_state=network.opt_state._replace(nu=nu)))
    with pytest.raises(NotFiniteError, match=r"generator/opt_state/nu/\w+/\w+ is not finite at step 40: stopped"):
        check_finite(spoilt, 40)


def test_edited_config_is_refused(broken, capsys):
    path = broken / "config.json"
    whole = json.loads(path.read_text())
    for edited, message in (
        (json.dumps({**whole, "batch_size": 4}), "checkpoints/11 has batch_size 2, not 4"),
        (json.dumps({**whole, "batch_size": "4"}), "config.json: --batch-size must be an integer, got '4'"),
        (json.dumps({**whole, "steps": -4}), "config.json: --steps must be between 1"),
        (json.dumps({**whole, "dtype": "float8"}), "config.json: --dtype must be one of"),
        (json.dumps(whole)[:-9], "config.json: the config is not JSON"),
        ("", "config.json: the config is not JSON"),
    ):
        path.write_text(edited)
        before = all_files(broken)
        steps = [] if '"steps": -4' in edited else ["--steps", 12]
        assert run_cli("train", "--workdir", broken, "--resume", *steps) == 2
        assert message in one_error_line(capsys)
        assert all_files(broken) == before


def test_archive_damaged_since_the_start_is_named(train_process, damaged_wheel, broken, tmp_path):
    site, archive = damaged_wheel
    before = all_files(broken)
    process = train_process(
        "--workdir", broken, "--resume", "--steps", 12, cwd=tmp_path, environment={"PYTHONPATH": str(site)}
    )
    code, out, err = finish(process)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{archive} is damaged" in err
    assert all_files(broken) == before


def test_kill_before_first_checkpoint_restarts(finished, tmp_path, capsys):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    shutil.copy(finished[0] / "config.json", run_dir)
    (run_dir / "checkpoints" / "0.partial").mkdir(parents=True)
    code = run_cli("train", "--workdir", run_dir, "--resume")
    assert code == 0, capsys.readouterr().err
    assert_same_run(run_dir, finished[0])


def test_simultaneous_runs_take_two_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = [resolve_run_dir(None, resume=False) for _ in range(2)]
    assert [str(claim_number(run_dir)) for run_dir in chosen] == [os.path.join("runs", n) for n in ("0001", "0002")]


def test_directory_with_only_a_lock_is_usable(tmp_path):
    run_dir = tmp_path / "run"
    with lock_run_dir(run_dir, resume=False), contextlib.suppress(RunDirError):
        pass
    assert resolve_run_dir(str(run_dir), resume=False) == run_dir
    (run_dir / "mine").touch()
    with pytest.raises(RunDirError, match="not an empty directory"):
        resolve_run_dir(str(run_dir), resume=False)
