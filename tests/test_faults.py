"""Runs that meet real faults: killed processes, full and read-only disks, damaged files, losses that are not finite."""

import contextlib
import errno
import gc
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    FLAGS,
    FUSIONS,
    RECIPE,
    all_files,
    assert_same_bits,
    assert_same_run,
    finish,
    latest_valid_step,
    metric_rows,
    one_error_line,
    restore_checkpoint,
    run_cli,
    small_gan,
    wait_for_line,
)
from programs.small_recipe import init

from dcgan_jax import load_run
from dcgan_jax.cli.drawing import save_npy
from dcgan_jax.files import replace_file
from dcgan_jax.training import run_dir as run_dirs
from dcgan_jax.training.array_store import save_tree
from dcgan_jax.training.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    checkpoint_steps,
    quarantine_after,
    remove_partial,
    save_checkpoint,
    verify_checkpoint,
)
from dcgan_jax.training.finite import NotFiniteError, check_finite
from dcgan_jax.training.metrics_file import MetricsFile, truncate_metrics
from dcgan_jax.training.run_dir import RunDirError, claim_number, lock_run_dir, resolve_run_dir


@pytest.fixture
def broken(small_run, tmp_path):
    """A copy of the finished run, to damage."""
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture
def small_process(train_process, small_flags, tmp_path):
    """Start a run of eleven steps by `small_flags`, with the bits of `small_run`."""
    return lambda *flags: train_process(
        *small_flags, "--steps", 11, *flags, cwd=tmp_path, environment={"XLA_FLAGS": FUSIONS}
    )


RESUME = ["train", "--recipe", RECIPE, "--resume", "--workdir"]


def test_run_killed_3_times_ends_in_same_bits(train_process, finished, tmp_path):
    """Of the tutorial's size, at random moments, one of them within a save; then it is resumed until it is done."""
    chance = random.Random(1)
    run_dir = tmp_path / "run"
    within_a_save = 0
    for i in range(3):
        resume = ["--resume"] if (run_dir / "config.json").exists() else ["--steps", 11, *FLAGS]
        process = train_process("--workdir", run_dir, *resume, cwd=tmp_path, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + chance.uniform(1, 8)
        aim_at_a_save = i == 1
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
        code, _, err = finish(train_process("--workdir", run_dir, *resume, cwd=tmp_path))
        assert code == 0, err
    assert_same_run(run_dir, finished[0])
    assert within_a_save >= 1


def test_damaged_checkpoint_is_passed_over(small_run, broken, capsys):
    """The checkpoint before it is taken, and the run ends as without the damage."""
    data = max((broken / "checkpoints" / "11").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(data.read_bytes())
    content[len(content) // 3] ^= 4
    data.write_bytes(content)
    (broken / "checkpoints" / "12.partial").mkdir()
    code = run_cli(*RESUME, broken)
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
    assert_same_run(broken, small_run, small_gan)


def test_no_valid_checkpoint_changes_nothing(broken, capsys):
    for step in (4, 8, 11):
        (broken / "checkpoints" / str(step) / "SHA256SUMS").unlink()
    before = all_files(broken)
    assert run_cli(*RESUME, broken, "--steps", 12) == 2
    assert "is valid: " in one_error_line(capsys)
    assert all_files(broken) == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB, for the first two checkpoints and not for a third."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True)
    if mount.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk_stops_and_resumes_with_room(small_run, small_flags, small_disk, capsys):
    """And a file system that has become read-only is reported before anything is done."""
    run_dir = small_disk / "run"
    assert run_cli("train", "--workdir", run_dir, "--steps", 11, *small_flags) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: cannot write the checkpoint ")
    assert "no space left" in err.lower()
    kept = checkpoint_steps(run_dir / "checkpoints")
    assert kept == [4, 0]
    assert latest_valid_step(run_dir / "checkpoints") == (4, [])

    (run_dir / "checkpoints" / "8.partial").mkdir(exist_ok=True)  # as a process that was killed would leave it
    subprocess.run(["mount", "-o", "remount,size=40m", small_disk], check=True)
    code = run_cli(*RESUME, run_dir)
    assert code == 0, capsys.readouterr().err
    assert not list(run_dir.rglob("*.partial"))
    assert_same_run(run_dir, small_run, small_gan)
    capsys.readouterr()

    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert run_cli(*RESUME, run_dir, "--steps", 13) == 2
    assert "cannot write the run directory" in one_error_line(capsys)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


def test_lock_refuses_second_process_until_death(small_process, small_run, tmp_path, capsys):
    """The process that holds the lock is named; one that has died blocks nobody."""
    run_dir = tmp_path / "run"
    first = small_process("--workdir", run_dir)
    wait_for_line(first, "1:")
    first.send_signal(signal.SIGSTOP)  # so that it is still there when the second comes
    assert run_cli(*RESUME, run_dir) == 2
    assert f"is in use by process {first.pid} on " in one_error_line(capsys)
    first.kill()
    finish(first)
    assert str(first.pid) in (run_dir / "lock").read_text()  # left by a dead process
    code = run_cli(*RESUME, run_dir)
    assert code == 0, capsys.readouterr().err
    assert_same_run(run_dir, small_run, small_gan)


def test_sigterm_saves_and_exits_with_code_0(small_process, tmp_path):
    process = small_process("--steps", 100_000)
    wait_for_line(process, "1:")
    process.send_signal(signal.SIGTERM)
    code, out, err = finish(process)
    assert (code, err) == (0, "SIGTERM: stopping after this step, then saving\n")
    step = int(re.search(r"stopped and saved at step (\d+)", out)[1])
    assert latest_valid_step(tmp_path / "runs" / "0001" / "checkpoints") == (step, [])


@pytest.mark.parametrize(
    "name",
    ["SIGUSR1", pytest.param("SIGUSR2", marks=pytest.mark.slow), pytest.param("SIGXCPU", marks=pytest.mark.slow)],
)
def test_batch_systems_signals_save_and_stop(name, small_process, tmp_path):
    """Each may come more than once before the run has ended."""
    process = small_process("--steps", 100_000)
    wait_for_line(process, "1:")
    for _ in range(3):
        process.send_signal(signal.Signals[name])
    code, out, err = finish(process)
    assert (code, err) == (0, f"{name}: stopping after this step, then saving\n")
    step = int(re.search(r"stopped and saved at step (\d+)", out)[1])
    assert latest_valid_step(tmp_path / "runs" / "0001" / "checkpoints") == (step, [])


@pytest.mark.parametrize("inherited", [signal.default_int_handler, signal.SIG_IGN], ids=["default", "ignored"])
def test_second_signal_ends_at_once(inherited, interrupt_at, small_flags, tmp_path, capsys):
    """Both come while samples are written: the first is noted, the second is Python's own.

    A shell starts background commands with SIGINT ignored.
    """
    survived = interrupt_at("000002.png", times=2)
    signal.signal(signal.SIGINT, inherited)
    assert run_cli("train", "--steps", 9, *small_flags, "--workdir", tmp_path / "run") == 130
    assert signal.getsignal(signal.SIGINT) is inherited
    assert survived == [0]
    acknowledged, ended = capsys.readouterr().err.splitlines()
    assert acknowledged == "Ctrl-C: stopping after this step, then saving; Ctrl-C again stops at once"
    assert ended == "interrupted: what no checkpoint holds is lost"
    assert latest_valid_step(tmp_path / "run" / "checkpoints") == (0, [])


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_value_that_is_not_finite_is_never_saved(value, broken, capsys):
    """A parameter is spoilt after step 8: the losses of step 9 show it, before the next row."""
    checkpoints = broken / "checkpoints"
    shutil.rmtree(checkpoints / "11")
    like = load_run(broken, init=init).state
    saved = restore_checkpoint(checkpoints / "8", like)
    network = saved.state.discriminator
    dense = {**network.params["Dense_1"], "bias": network.params["Dense_1"]["bias"] + float(value)}
    spoilt = saved.state.replace(discriminator=network.replace(params={**network.params, "Dense_1": dense}))
    save_checkpoint(checkpoints, spoilt, saved.key, saved.config, record=saved.record, collapse=saved.collapse)
    before = all_files(checkpoints)
    assert run_cli(*RESUME, broken, "--log-every", 5) == 3
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

    def with_value(**changed):
        return json.dumps({**whole, "config": {**whole["config"], **changed}})

    for edited, message in (
        (with_value(batch_size=4), "has --batch-size 2, not 4 as config.json says: write back there"),
        (with_value(batch_size="4"), "config.json: --batch-size must be an integer, got '4'"),
        (with_value(steps=-4), "config.json: --steps must be between 1"),
        (with_value(dtype="float8"), "config.json: --dtype must be one of"),
        (json.dumps(whole)[:-9], "config.json: the config is not JSON"),
        ("", "config.json: the config is not JSON"),
    ):
        path.write_text(edited)
        before = all_files(broken)
        steps = [] if '"steps": -4' in edited else ["--steps", 12]
        assert run_cli(*RESUME, broken, *steps) == 2
        assert message in one_error_line(capsys)
        assert all_files(broken) == before


def test_archive_damaged_since_the_start_is_named(train_process, damaged_wheel, finished, tmp_path):
    site, archive = damaged_wheel
    broken = shutil.copytree(finished[0], tmp_path / "run")
    before = all_files(broken)
    process = train_process(
        "--workdir", broken, "--resume", "--steps", 12, cwd=tmp_path, environment={"PYTHONPATH": str(site)}
    )
    code, out, err = finish(process)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{archive} is damaged" in err
    assert all_files(broken) == before


def test_kill_before_first_checkpoint_restarts(small_run, tmp_path, capsys):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    shutil.copy(small_run / "config.json", run_dir)
    (run_dir / "checkpoints" / "0.partial").mkdir(parents=True)
    code = run_cli(*RESUME, run_dir)
    assert code == 0, capsys.readouterr().err
    assert_same_run(run_dir, small_run, small_gan)


def test_run_without_access_stops_no_other(tmp_path, monkeypatch):
    """With ``--workdir``, whatever is in ``runs``; without it, it is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").touch()
    name = "x" * 300 + "/config.json"  # no file can have it
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "0001").symlink_to(name)
    assert resolve_run_dir("mine", resume=True).name == "mine"
    with pytest.raises(RunDirError, match="cannot use .*0001 as a run directory"):
        resolve_run_dir(None, resume=True)


def test_simultaneous_runs_take_two_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = [resolve_run_dir(None, resume=False) for _ in range(2)]
    assert [str(claim_number(run_dir)) for run_dir in chosen] == [os.path.join("runs", n) for n in ("0001", "0002")]


def test_directory_with_only_a_lock_is_usable(tmp_path):
    run_dir = tmp_path / "run"
    with lock_run_dir(run_dir, resume=False), contextlib.suppress(RunDirError):
        pass
    assert resolve_run_dir(str(run_dir), resume=False) == run_dir
    (run_dir / "checkpoints" / "0.partial").mkdir(parents=True)  # of an import that failed
    assert resolve_run_dir(str(run_dir), resume=False) == run_dir
    for mine in (run_dir / "checkpoints" / "0", run_dir / "mine"):
        mine.touch()
        with pytest.raises(RunDirError, match="not an empty directory"):
            resolve_run_dir(str(run_dir), resume=False)
        mine.unlink()


@pytest.fixture(scope="module")
def three_saved(small_state, tmp_path_factory):
    """Checkpoints of steps 1 to 3."""
    folder = tmp_path_factory.mktemp("three") / "checkpoints"
    for step in (1, 2, 3):
        save_checkpoint(folder, small_state.replace(step=jnp.int32(step)), jax.random.key(0), {})
    return folder


def failing(function, n, error, counts=lambda path: True):
    """``function`` of `os`, whose ``n``-th call raises ``error``; and the list of its calls."""
    calls = []

    def call(path, *args, **kwargs):
        if counts(path):
            calls.append(path)
            if len(calls) == n:
                raise error
        return function(path, *args, **kwargs)

    return call, calls


@pytest.mark.parametrize("step", [3, 4], ids=["replaced", "new"])
@pytest.mark.parametrize("name", ["mkdir", "rename", "rmdir"])
def test_failing_call_of_a_save_loses_nothing(name, step, three_saved, small_state, tmp_path, monkeypatch, capfd):
    """The n-th call of each kind fails, for each n. ``test_system_calls.py`` tries all kinds, in the kernel."""
    new = small_state.replace(step=jnp.int32(step))
    for n in itertools.count(1):
        folder = shutil.copytree(three_saved, tmp_path / f"{n}" / "checkpoints")
        before = {each: all_files(folder / str(each)) for each in (1, 2, 3)}
        error = OSError(errno.EIO, "Input/output error")
        with monkeypatch.context() as patch:
            call, calls = failing(getattr(os, name), n, error)
            patch.setattr(os, name, call)
            try:
                warnings = save_checkpoint(folder, new, jax.random.key(1), {})
            except CheckpointError as raised:
                assert str(raised) == f"cannot write the checkpoint {folder / str(step)} (Input/output error)"
                assert remove_partial(folder) == []  # a thread of Orbax's may have ended late
                assert {each: all_files(folder / str(each)) for each in (1, 2, 3)} == before
            else:
                assert warnings in ([], [f"cannot delete the expired checkpoint {folder / '1'} (Input/output error)"])
                assert all_files(folder / "2") == before[2]
                assert_same_bits(restore_checkpoint(folder / str(step), small_state).state, new)
        if len(calls) < n:
            break
    assert n > 1
    gc.collect()
    assert capfd.readouterr().err == ""  # no thread of Orbax reports the same on its own


def spoil(path, tree):
    """Write the state with one bit of one array changed."""
    save_tree(path, tree.replace(step=tree.step ^ 1))


def forget(path, tree):
    """Write the state without its index, as Orbax does where it cannot list its own directory."""
    save_tree(path, tree)
    (path / "state" / "manifest.ocdbt").unlink()


@pytest.mark.parametrize("write", [spoil, forget])
def test_what_is_read_back_otherwise_is_no_checkpoint(write, three_saved, small_state, tmp_path, monkeypatch):
    """Its digests would be right, and it would take the place of one that can be restored."""
    folder = shutil.copytree(three_saved, tmp_path / "checkpoints")
    before = all_files(folder)
    monkeypatch.setattr("dcgan_jax.training.checkpoint.save_tree", write)
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*/4 \(.*\)$"):
        save_checkpoint(folder, small_state.replace(step=jnp.int32(4)), jax.random.key(0), {})
    assert all_files(folder) == before


@pytest.mark.parametrize("n", [1, 2, 3])
def test_kill_at_a_rename_of_a_save_loses_nothing(n, three_saved, small_state, tmp_path, monkeypatch):
    """A checkpoint is replaced by one of its step: the old one or the new one is there, and it is whole."""
    folder = shutil.copytree(three_saved, tmp_path / "checkpoints")
    old = all_files(folder / "3")
    with monkeypatch.context() as patch:
        rename, calls = failing(os.rename, n, SystemExit, lambda path: os.path.dirname(path) == str(folder))
        patch.setattr(os, "rename", rename)
        with contextlib.suppress(SystemExit):
            save_checkpoint(folder, small_state.replace(step=jnp.int32(3)), jax.random.key(1), {})
    assert len(calls) == min(n, 2)
    assert remove_partial(folder) == []
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2", "3"]
    assert latest_valid_step(folder) == (3, [])
    assert (all_files(folder / "3") == old) == (n < 3)


def test_error_of_reading_is_no_damage(three_saved, tmp_path, monkeypatch):
    """Too many open files, for example, say nothing about a checkpoint: it is not passed over."""
    folder = shutil.copytree(three_saved, tmp_path / "checkpoints")
    before = all_files(folder)
    for number, expected in ((errno.EMFILE, CheckpointError), (errno.EIO, DamagedCheckpointError)):
        with monkeypatch.context() as patch:
            call, _ = failing(os.open, 1, OSError(number, os.strerror(number)))
            patch.setattr("dcgan_jax.training.digests._digest", lambda path, call=call: call(path, os.O_RDONLY))
            with pytest.raises(CheckpointError) as raised:
                verify_checkpoint(folder / "3")
        assert type(raised.value) is expected
        assert os.strerror(number) in str(raised.value)
    assert all_files(folder) == before


def test_folder_that_cannot_be_listed_is_not_empty(three_saved, tmp_path, monkeypatch):
    """A run whose checkpoints cannot be seen must not start again over them."""
    folder = tmp_path / "checkpoints"
    assert checkpoint_steps(folder) == []
    folder.touch()
    with pytest.raises(CheckpointError, match=r"cannot list the checkpoints in .* \(Not a directory\)"):
        checkpoint_steps(folder)
    call, _ = failing(os.scandir, 1, OSError(errno.EACCES, "Permission denied"))
    monkeypatch.setattr(os, "scandir", call)
    with pytest.raises(CheckpointError, match=r"cannot list the checkpoints in .* \(Permission denied\)"):
        latest_valid_step(three_saved)


def test_damage_that_cannot_be_set_aside_is_named(three_saved, tmp_path, monkeypatch):
    folder = shutil.copytree(three_saved, tmp_path / "checkpoints")
    before = all_files(folder)
    call, _ = failing(os.rename, 1, OSError(errno.EROFS, "Read-only file system"))
    monkeypatch.setattr(os, "rename", call)
    with pytest.raises(CheckpointError, match=r"cannot rename the damaged checkpoint .*/3 \(Read-only file system\)"):
        quarantine_after(folder, 2)
    assert all_files(folder) == before


def test_leftover_that_cannot_be_deleted_is_named(tmp_path, monkeypatch):
    """On some network mounts a file that is open in another program is one. The run continues."""
    left = tmp_path / "8.partial"
    left.mkdir()
    call, _ = failing(os.rmdir, 1, OSError(errno.EBUSY, "Device or resource busy"))
    monkeypatch.setattr(os, "rmdir", call)
    (problem,) = remove_partial(tmp_path)
    assert (
        problem == f"cannot delete {tmp_path / '8.partial'}, which an interrupted write left (Device or resource busy)"
    )


def test_directory_without_locks_is_not_in_use(tmp_path, monkeypatch):
    """Some network mounts have no locks: no other process is to blame."""

    def lock(file, flags):
        try:
            raise OSError(errno.ENOLCK, "No locks available")
        except OSError as error:
            raise run_dirs.portalocker.LockException(error) from error

    monkeypatch.setattr(run_dirs.portalocker, "lock", lock)
    with pytest.raises(RunDirError, match=r"cannot lock the run directory .* \(No locks available\)"):
        lock_run_dir(tmp_path / "run", resume=False).__enter__()


@pytest.mark.parametrize("change", [shutil.rmtree, lambda path: path.rename(path.with_name("moved"))])
def test_run_directory_that_is_gone_is_noticed(change, tmp_path):
    """Rows would go to a file that nobody finds, and the next checkpoint to a directory without a config."""
    (tmp_path / "run").mkdir()
    rows = MetricsFile(tmp_path / "run" / "metrics.jsonl")
    rows.write({"step": 1})
    rows.flush()
    change(tmp_path / "run")
    rows.write({"step": 2})
    with pytest.raises(RunDirError, match=r"metrics.jsonl was removed, renamed or replaced while"):
        rows.flush()
    rows.close()


def test_full_disk_is_named_with_the_file(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    rows = MetricsFile(tmp_path / "metrics.jsonl")
    with open("/dev/full", "w") as full:
        os.dup2(full.fileno(), rows._file.fileno())
    rows.write({"step": 1})
    for attempt in (rows.flush, rows.close):
        with pytest.raises(OSError, match=r"No space left on device: '.*metrics.jsonl'"):
            attempt()
    with pytest.raises(OSError, match=r"No such file or directory: '.*/nowhere'$"):
        replace_file(tmp_path / "nowhere" / "samples.png", lambda partial: partial.touch())


def test_samples_that_are_cut_short_are_an_error(tmp_path):
    """The last bytes of an ``.npy`` cannot be written: NumPy writes into files in C, and does not notice."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    images = np.zeros((16, 28, 28, 1), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (images.nbytes, before[1]))  # there is a header, too
    try:
        with pytest.raises(OSError, match="File too large"):
            save_npy(tmp_path / "samples.npy", images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_rows_that_cannot_be_read_are_not_emptied(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.exists", lambda self: False)  # as from Python 3.14, whatever the reason is
        truncate_metrics(path, 1)
    assert path.read_text() == '{"step": 1}\n'
