"""Runs that meet real faults: killed processes, full and read-only disks, damaged files, losses without a value."""

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
from conftest import FLAGS, assert_same_checkpoints, contents, one_line, rows

from dcgan_jax.training.checkpoint import checkpoint_steps, newest_intact
from dcgan_jax.cli import train_main
from dcgan_jax.training.loop import NotFiniteError, _check_finite


@pytest.fixture
def broken(finished, tmp_path):
    """A copy of the finished run, to damage."""
    return shutil.copytree(finished[0], tmp_path / "run")


def all_files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run(command, *flags, cwd, **options):
    process = command(*flags, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    return process.returncode, out, err


def assert_same_run(folder, whole):
    """The same rows, pictures and last checkpoint; Flax puts the columns of its summary in no fixed order."""
    ours, theirs = contents(folder), contents(whole)
    assert set(ours) == set(theirs)
    changed = {name for name in ours if ours[name] != theirs[name]}
    assert changed <= {"models.txt", "config.json"}
    assert rows(folder) == rows(whole)
    assert_same_checkpoints(folder / "checkpoints" / "11", whole / "checkpoints" / "11")


def survive(command, whole, cwd, kills, seed):
    """Kill a run at random moments, every third time inside a save, and resume it until it is done."""
    chance = random.Random(seed)
    folder = cwd / "run"
    inside_a_save = 0
    for i in range(kills):
        resume = ["--resume"] if (folder / "config.json").exists() else ["--steps", 11, *FLAGS]
        process = command("--workdir", folder, *resume, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + chance.uniform(1, 8)
        aim_at_a_save = i % 3 == 1
        while process.poll() is None:
            saving = any((folder / "checkpoints").glob("*.partial"))
            if aim_at_a_save and saving:
                time.sleep(chance.uniform(0, 0.2))
                break
            if not aim_at_a_save and time.monotonic() > deadline:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 0, 2), err  # it may have been done before
        inside_a_save += any((folder / "checkpoints").glob("*.partial"))
        if process.returncode == 2:
            assert "already has 11 steps" in err
            shutil.rmtree(folder)
    if not (folder / "checkpoints" / "11").exists():
        resume = ["--resume"] if (folder / "config.json").exists() else ["--steps", 11, *FLAGS]
        code, _, err = run(command, "--workdir", folder, *resume, cwd=cwd)
        assert code == 0, err
    assert_same_run(folder, whole)
    return inside_a_save


def test_killed_five_times_a_run_ends_in_the_same_bits(command, finished, tmp_path):
    assert survive(command, finished[0], tmp_path, kills=5, seed=1) >= 1


@pytest.mark.slow
def test_killed_twenty_times_a_run_ends_in_the_same_bits(command, finished, tmp_path):
    inside = survive(command, finished[0], tmp_path, kills=24, seed=2)
    print(f"24 kills survived, {inside} of them inside a save")
    assert inside >= 4


def test_a_damaged_checkpoint_is_passed_over_and_the_run_ends_in_the_same_bits(command, finished, broken):
    data = max((broken / "checkpoints" / "11").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(data.read_bytes())
    content[len(content) // 3] ^= 4
    data.write_bytes(content)
    (broken / "checkpoints" / "12.partial").mkdir()
    code, out, err = run(command, "--workdir", broken, "--resume", cwd=broken.parent)
    assert code == 0, err
    assert err.count("\n") == 1
    assert str(data.relative_to(broken / "checkpoints" / "11")) in err
    assert "falling back to step 8" in err
    assert "going on from step 8" in out
    assert checkpoint_steps(broken / "checkpoints") == [11, 8, 4]
    assert (broken / "checkpoints" / "11.damaged").is_dir()
    assert not list(broken.rglob("*.partial"))
    shutil.rmtree(broken / "checkpoints" / "11.damaged")
    assert_same_run(broken, finished[0])


def test_with_no_intact_checkpoint_nothing_is_touched(broken, capsys):
    for step in (4, 8, 11):
        (broken / "checkpoints" / str(step) / "SHA256SUMS").unlink()
    before = all_files(broken)
    assert train_main(["--workdir", str(broken), "--resume", "--steps", "12"]) == 2
    assert "is intact: " in one_line(capsys)
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


def test_on_a_full_disk_training_stops_and_goes_on_when_there_is_room(command, finished, small_disk, tmp_path):
    folder = small_disk / "run"
    code, out, err = run(command, "--workdir", folder, "--steps", 11, *FLAGS, cwd=tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("error: cannot write the checkpoint ")
    assert "no space left" in err.lower()
    kept = checkpoint_steps(folder / "checkpoints")
    assert kept == [4, 0]
    assert newest_intact(folder / "checkpoints") == (4, [])

    (folder / "checkpoints" / "8.partial").mkdir(exist_ok=True)  # as a process that was killed would leave it
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    code, out, err = run(command, "--workdir", folder, "--resume", cwd=tmp_path)
    assert code == 0, err
    assert not list(folder.rglob("*.partial"))
    assert_same_run(folder, finished[0])

    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, out, err = run(command, "--workdir", folder, "--resume", "--steps", 13, cwd=tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot write the run folder" in err
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


def test_a_second_process_is_refused_and_a_dead_one_blocks_nobody(command, finished, tmp_path):
    folder = tmp_path / "run"
    first = command("--workdir", folder, "--steps", 11, *FLAGS, cwd=tmp_path, stdout=subprocess.PIPE)
    for line in first.stdout:
        if line.startswith("1:"):
            break
    first.send_signal(signal.SIGSTOP)  # so that it is still there when the second comes
    code, _, err = run(command, "--workdir", folder, "--resume", cwd=tmp_path)
    assert code == 2
    assert f"is in use by process {first.pid} on " in err
    first.kill()
    first.wait()
    first.stdout.close()
    assert str(first.pid) in (folder / "lock").read_text()  # left by a dead process
    code, _, err = run(command, "--workdir", folder, "--resume", cwd=tmp_path)
    assert code == 0, err
    assert_same_run(folder, finished[0])


def test_sigterm_saves_and_ends_well(command, tmp_path):
    process = command("--steps", 11, *FLAGS, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stdout:
        if line.startswith("1:"):
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    step = int(re.search(r"stopped and saved at step (\d+)", out)[1])
    assert newest_intact(tmp_path / "runs" / "0001" / "checkpoints") == (step, [])


@pytest.mark.parametrize("inherited", ["default_int_handler", "SIG_IGN"])  # the latter from a shell's background
def test_a_second_signal_ends_at_once(inherited, run_python, tmp_path):
    """Both come while a picture is drawn: the first is noted, the second is Python's own."""
    out = run_python(
        f"""
        import signal
        from dcgan_jax import cli, records
        signal.signal(signal.SIGINT, signal.{inherited})
        draw = records.save_grid
        def draw_and_interrupt(path, images):
            draw(path, images)
            if path.name == "2.png":
                signal.raise_signal(signal.SIGINT)
                print("noted", flush=True)
                signal.raise_signal(signal.SIGINT)
                print("never", flush=True)
        records.save_grid = draw_and_interrupt
        print(cli.train_main(["--steps", "9", "--batch-size", "2", "--workdir", {str(tmp_path / "run")!r}]))
        """
    )
    assert out.splitlines()[-2:] == ["noted", "130"]
    assert newest_intact(tmp_path / "run" / "checkpoints") == (0, [])


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_number_that_is_not_finite_ends_the_run_and_is_never_saved(value, run_python, tmp_path):
    """One parameter is spoilt after the sixth step: the losses of the seventh show it, before the next row."""
    out = run_python(
        f"""
        import sys
        from dcgan_jax import cli, loop
        run_steps, done = loop.run_steps, 0
        def spoil(state, *args, **kwargs):
            global done
            state, metrics = run_steps(state, *args, **kwargs)
            done += 1
            if done == 6:
                half = state.discriminator
                dense = {{**half.params["dense"], "bias": half.params["dense"]["bias"] + float({value!r})}}
                state = state.replace(discriminator=half.replace(params={{**half.params, "dense": dense}}))
            return state, metrics
        loop.run_steps, sys.stderr = spoil, sys.stdout
        flags = "--steps 11 --batch-size 2 --log-every 5 --checkpoint-every 4".split()
        print(cli.train_main([*flags, "--workdir", {str(tmp_path / "run")!r}]))
        """
    )
    *_, error, code = out.splitlines()
    assert code == "3"
    assert re.match(r"error: (d|g)_loss is (nan|inf) at step 7: stopped", error)
    assert newest_intact(tmp_path / "run" / "checkpoints") == (4, [])
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 5]


def test_a_statistic_or_slot_that_is_not_finite_is_named(small_state):
    _check_finite(small_state, 1)
    half = small_state.generator
    nu = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.inf), half.opt_state.nu)
    spoilt = small_state.replace(generator=half.replace(opt_state=half.opt_state._replace(nu=nu)))
    with pytest.raises(NotFiniteError, match=r"generator/opt_state/nu/\w+/\w+ is not finite at step 40: stopped"):
        _check_finite(spoilt, 40)


def test_a_config_edited_by_hand_is_told(broken, capsys):
    path = broken / "config.json"
    whole = json.loads(path.read_text())
    for edited, message in (
        (json.dumps({**whole, "batch_size": 4}), "checkpoints/11 has batch_size 2, not 4"),
        (json.dumps({**whole, "batch_size": "4"}), "config.json: --batch-size must be a whole number, got '4'"),
        (json.dumps({**whole, "steps": -4}), "config.json: --steps must be between 1"),
        (json.dumps({**whole, "dtype": "float8"}), "config.json: --dtype must be one of"),
        (json.dumps(whole)[:-9], "config.json: the settings are not JSON"),
        ("", "config.json: the settings are not JSON"),
    ):
        path.write_text(edited)
        before = all_files(broken)
        assert (
            train_main(["--workdir", str(broken), "--resume", "--steps", "12"][: None if "-4" not in edited else 3])
            == 2
        )
        assert message in one_line(capsys)
        assert all_files(broken) == before


def test_an_archive_damaged_since_the_start_is_told(command, wheel, broken, tmp_path):
    site = shutil.copytree(wheel, tmp_path / "site")
    archive = next(site.rglob("train-images*"))
    content = bytearray(archive.read_bytes())
    content[1000] ^= 1
    archive.write_bytes(content)
    before = all_files(broken)
    code, _, err = run(
        command, "--workdir", broken, "--resume", "--steps", 12, cwd=tmp_path, environment={"PYTHONPATH": str(site)}
    )
    assert (code, err.count("\n")) == (2, 1)
    assert f"the archive {archive} is damaged" in err
    assert all_files(broken) == before


def test_a_run_killed_before_its_first_checkpoint_starts_again(command, finished, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(finished[0] / "config.json", folder)
    (folder / "checkpoints" / "0.partial").mkdir(parents=True)
    code, out, err = run(command, "--workdir", folder, "--resume", cwd=tmp_path)
    assert code == 0, err
    assert_same_run(folder, finished[0])


def test_two_new_runs_at_the_same_moment_take_two_numbers(tmp_path, monkeypatch):
    from dcgan_jax.training.loop import _claim_number
    from dcgan_jax.training.run_dir import choose_folder

    monkeypatch.chdir(tmp_path)
    chosen = [choose_folder(None, resume=False) for _ in range(2)]
    assert [str(_claim_number(folder)) for folder in chosen] == [os.path.join("runs", n) for n in ("0001", "0002")]


def test_a_folder_with_nothing_but_a_lock_is_taken(tmp_path):
    from dcgan_jax.training.run_dir import RunFolderError, choose_folder, hold

    folder = tmp_path / "run"
    with hold(folder, resume=False), contextlib.suppress(RunFolderError):
        pass
    assert choose_folder(str(folder), resume=False) == folder
    (folder / "mine").touch()
    with pytest.raises(RunFolderError, match="not an empty folder"):
        choose_folder(str(folder), resume=False)
