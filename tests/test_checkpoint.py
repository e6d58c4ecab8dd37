"""Checkpoints: what is saved comes back, damage is noticed and named, and old checkpoints are deleted."""

import hashlib
import json
import logging
import os
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import abstract_state, all_files, assert_same_bits, latest_valid_step, restore_checkpoint

from dcgan_jax.training.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    checkpoint_steps,
    expired_steps,
    quarantine_after,
    remove_partial,
    save_checkpoint,
    verify_checkpoint,
)
from dcgan_jax.training.environment import environment_info
from dcgan_jax.training.record import FORMAT

CONFIG = {"batch_size": 6, "workdir": "somewhere"}


@pytest.fixture(scope="module")
def trained(small_state):
    """The state of step 1, each array of which has values that no initialisation gives."""
    random = np.random.default_rng(0)
    values = jax.tree.map(lambda leaf: jnp.asarray(random.standard_normal(leaf.shape), leaf.dtype), small_state)
    return values.replace(step=jnp.int32(1))


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    """Checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("saved")
    for step in (1, 2):
        save_checkpoint(folder, trained.replace(step=trained.step * step), jax.random.key(7), CONFIG)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


DAMAGES = [flip_one_bit, truncate, empty, os.remove]


def test_checkpoint_restores_every_bit(trained, small_state, folder):
    assert checkpoint_steps(folder) == [2, 1]
    restored = restore_checkpoint(folder / "1", small_state)
    assert_same_bits(restored.state, trained)
    assert restored.state.step == 1
    assert jax.random.key_impl(restored.key) == jax.random.key_impl(jax.random.key(7))
    assert (jax.random.key_data(restored.key) == jax.random.key_data(jax.random.key(7))).all()
    assert restored.config == CONFIG
    assert restored.collapse == {}
    assert restored.environment == environment_info(1)
    assert restored.environment["jax"] == jax.__version__


@pytest.mark.parametrize(
    ("variables", "threads"),
    [({"PJRT_NPROC": "3"}, 3), ({"NPROC": "5"}, 5), ({"PJRT_NPROC": "auto", "NPROC": ""}, None)],
)
def test_threads_are_those_that_xla_takes(variables, threads, monkeypatch):
    for name in ("PJRT_NPROC", "NPROC"):
        monkeypatch.delenv(name, raising=False)
    without = environment_info(1)["threads"]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_info(1)["threads"] == (threads or without)


def test_log_level_of_others_is_as_before(trained, tmp_path):
    logger = logging.getLogger("absl")
    before = logger.level
    try:
        logger.setLevel(logging.INFO)
        save_checkpoint(tmp_path, trained, jax.random.key(0), CONFIG)
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(before)


def test_another_prng_is_restored(trained, small_state, tmp_path):
    key = jax.random.key(3, impl="rbg")
    save_checkpoint(tmp_path, trained, key, CONFIG)
    restored = restore_checkpoint(tmp_path / "1", small_state).key
    assert jax.random.bits(restored) == jax.random.bits(key)


def test_newest_checkpoints_are_kept(trained, tmp_path):
    for step in (1, 5, 6, 20):
        save_checkpoint(tmp_path, trained.replace(step=trained.step * step), jax.random.key(0), CONFIG)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["20", "5", "6"]
    save_checkpoint(tmp_path, trained.replace(step=trained.step * 21), jax.random.key(0), CONFIG, keep=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["21"]


def test_keep_steps_are_kept_beside_the_newest(trained, tmp_path):
    for step in (1, 5, 6, 20):
        saved = trained.replace(step=trained.step * step)
        save_checkpoint(tmp_path, saved, jax.random.key(0), CONFIG, keep=1, keep_steps={5, 100})
    assert checkpoint_steps(tmp_path) == [20, 5]


@pytest.mark.parametrize(
    ("steps", "keep", "keep_steps", "expired"),
    [
        ([], 3, (), []),
        ([4], 1, (), []),
        ([20, 6, 5], 3, (), []),
        ([20, 6, 5, 1], 3, (), [1]),
        ([20, 6, 5, 1], 1, (), [6, 5, 1]),
        ([20, 6, 5, 1], 1, {5, 100}, [6, 1]),
        ([20, 6, 5, 1], 1, [20, 6, 5, 1], []),
        ([20, 6, 5, 1], 3, {20}, [1]),  # one of the newest is not counted twice
        ([20, 6, 5, 1], 9, {1}, []),
    ],
)
def test_expired_steps(steps, keep, keep_steps, expired):
    assert expired_steps(steps, keep, keep_steps) == expired


def test_step_saved_again_replaces_the_old_one(trained, small_state, tmp_path):
    for seed in (1, 2):
        save_checkpoint(tmp_path, trained, jax.random.key(seed), CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
    restored = restore_checkpoint(tmp_path / "1", small_state).key
    assert (jax.random.key_data(restored) == jax.random.key_data(jax.random.key(2))).all()


def test_no_checkpoint_is_no_error(tmp_path):
    assert latest_valid_step(tmp_path / "nowhere") == (None, [])
    assert latest_valid_step(tmp_path) == (None, [])


def test_damage_to_any_file_is_noticed_and_named(saved, small_state, tmp_path):
    names = list(all_files(saved / "2"))
    assert {"run.json", "SHA256SUMS"} < set(names)
    assert len(names) > 5
    noticed = 0
    for name in names:
        for damage in DAMAGES:
            folder = shutil.copytree(saved, tmp_path / "checkpoints")
            before = (folder / "2" / name).read_bytes()
            damage(folder / "2" / name)
            if damage is not os.remove and (folder / "2" / name).read_bytes() == before:
                assert before == b""  # an empty file can only be deleted
                shutil.rmtree(folder)
                continue
            damaged = all_files(folder)
            with pytest.raises(DamagedCheckpointError) as error:
                restore_checkpoint(folder / "2", small_state)
            assert f"{folder / '2'} is damaged: {name} " in str(error.value)
            assert "\n" not in str(error.value)
            step, problems = latest_valid_step(folder)
            assert step == 1
            assert problems == [str(error.value)]
            assert all_files(folder) == damaged
            noticed += 1
            shutil.rmtree(folder)
    print(f"{noticed} damages to {len(names)} files, each noticed and named")


def test_no_valid_checkpoint_deletes_nothing(folder):
    flip_one_bit(folder / "1" / "run.json")
    shutil.rmtree(folder / "2")
    (folder / "2").mkdir()
    damaged = all_files(folder)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is valid: .*/2 is damaged.* \(as are 1 others\)"):
        latest_valid_step(folder)
    assert all_files(folder) == damaged


def test_sha256sum_checks_the_digests(folder):
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum here")
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=folder / "2", check=True)
    flip_one_bit(folder / "2" / "run.json")
    assert subprocess.run(check, cwd=folder / "2", capture_output=True).returncode == 1


def write_digests(checkpoint):
    """Write the digests again, as another version of the program would."""
    names = [name for name in all_files(checkpoint) if name != "SHA256SUMS"]
    lines = "".join(f"{hashlib.sha256((checkpoint / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    of_lines = hashlib.sha256(lines.encode()).hexdigest()
    (checkpoint / "SHA256SUMS").write_text(f"{lines}# {of_lines}\n")


def test_another_format_is_refused(folder, small_state):
    """Both versions are named, and an older checkpoint is not taken instead: it is no damage."""
    description = json.loads((folder / "2" / "run.json").read_text())
    for version, advice in ((FORMAT + 1, ""), (1, ": revision b594a72 of dcgan-jax resumes runs of earlier formats")):
        (folder / "2" / "run.json").write_text(json.dumps({**description, "format": version}))
        write_digests(folder / "2")
        other = f"/2 has format {version}, and this version reads format {FORMAT}{advice}$"
        with pytest.raises(CheckpointError, match=other):
            restore_checkpoint(folder / "2", small_state)
        with pytest.raises(CheckpointError, match=other):
            latest_valid_step(folder)


def test_run_json_without_format_is_damage(folder):
    (folder / "2" / "run.json").write_text("[]")
    write_digests(folder / "2")
    with pytest.raises(DamagedCheckpointError, match="run.json names no format"):
        verify_checkpoint(folder / "2")


def test_checkpoint_of_another_model_is_refused(folder):
    with pytest.raises(CheckpointError, match="cannot read the checkpoint .*structure") as error:
        restore_checkpoint(folder / "1", abstract_state())
    assert str(folder / "1") in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_checkpoint_is_named(small_state, tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*/4"):
        restore_checkpoint(tmp_path / "4", small_state)


def test_latest_is_by_step_not_by_clock(folder):
    os.utime(folder / "1", (2**31, 2**31))
    os.utime(folder / "2", (0, 0))
    assert latest_valid_step(folder) == (2, [])


def test_damaged_checkpoints_are_quarantined(folder):
    flip_one_bit(folder / "2" / "run.json")
    before = all_files(folder / "2")
    (folder / "2.damaged").mkdir()
    quarantine_after(folder, 1)
    assert checkpoint_steps(folder) == [1]
    assert all_files(folder / "2.damaged.2") == before


def test_interrupted_writes_are_removed(folder):
    (folder / "3.partial" / "state").mkdir(parents=True)
    (folder / "config.json.partial").write_text("{")
    remove_partial(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def test_failed_save_leaves_earlier_checkpoints(folder, trained, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    before = all_files(folder)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match="cannot write the checkpoint .*/4 .No space left on device"):
        save_checkpoint(folder, trained.replace(step=trained.step * 4), jax.random.key(0), CONFIG)
    assert all_files(folder) == before


def test_config_that_is_not_json_is_not_saved(folder, trained):
    before = all_files(folder)
    with pytest.raises(CheckpointError, match="cannot write the checkpoint .*/2 .*not JSON serializable"):
        save_checkpoint(folder, trained.replace(step=trained.step * 2), jax.random.key(0), {"a": object()})
    assert all_files(folder) == before
