import hashlib
import json
import os
import shutil
import subprocess

import jax
import pytest
from conftest import assert_same_bits

from dcgan_jax import init_state, train_step
from dcgan_jax.training.checkpoint import (
    FORMAT,
    CheckpointError,
    DamagedCheckpointError,
    checkpoint_steps,
    clear_leftovers,
    newest_intact,
    restore_checkpoint,
    save_checkpoint,
    set_aside,
    verify_checkpoint,
    written_by,
)

SETTINGS = {"batch_size": 6, "workdir": "somewhere"}


@pytest.fixture(scope="module")
def trained(small_state, small_images):
    return train_step(small_state, small_images, jax.random.key(0))[0]


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    """Checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("saved")
    for step in (1, 2):
        save_checkpoint(folder, trained.replace(step=trained.step * step), jax.random.key(7), SETTINGS)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


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


def test_everything_comes_back_bit_by_bit(trained, small_state, folder):
    assert checkpoint_steps(folder) == [2, 1]
    restored = restore_checkpoint(folder / "1", small_state)
    assert_same_bits(restored.state, trained)
    assert restored.state.step == 1
    assert jax.random.key_impl(restored.key) == jax.random.key_impl(jax.random.key(7))
    assert (jax.random.key_data(restored.key) == jax.random.key_data(jax.random.key(7))).all()
    assert restored.settings == SETTINGS
    assert restored.written_by == written_by(1)
    assert restored.written_by["jax"] == jax.__version__


def test_another_prng_comes_back_as_itself(trained, small_state, tmp_path):
    key = jax.random.key(3, impl="rbg")
    save_checkpoint(tmp_path, trained, key, SETTINGS)
    restored = restore_checkpoint(tmp_path / "1", small_state).key
    assert jax.random.bits(restored) == jax.random.bits(key)


def test_the_newest_are_kept(trained, tmp_path):
    for step in (1, 5, 6, 20):
        save_checkpoint(tmp_path, trained.replace(step=trained.step * step), jax.random.key(0), SETTINGS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["20", "5", "6"]
    save_checkpoint(tmp_path, trained.replace(step=trained.step * 21), jax.random.key(0), SETTINGS, keep=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["21"]


def test_spared_checkpoints_are_kept_beside_the_newest(trained, tmp_path):
    for step in (1, 5, 6, 20):
        saved = trained.replace(step=trained.step * step)
        save_checkpoint(tmp_path, saved, jax.random.key(0), SETTINGS, keep=1, spare={5, 100})
    assert checkpoint_steps(tmp_path) == [20, 5]


def test_a_step_saved_again_takes_the_place_of_the_old(trained, small_state, tmp_path):
    for seed in (1, 2):
        save_checkpoint(tmp_path, trained, jax.random.key(seed), SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
    restored = restore_checkpoint(tmp_path / "1", small_state).key
    assert (jax.random.key_data(restored) == jax.random.key_data(jax.random.key(2))).all()


def test_where_there_is_none(tmp_path):
    assert newest_intact(tmp_path / "nowhere") == (None, [])
    assert newest_intact(tmp_path) == (None, [])


def test_every_damage_to_every_file_is_noticed_and_named(saved, small_state, tmp_path):
    names = [name for name in files(saved / "2")]
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
            damaged = files(folder)
            with pytest.raises(DamagedCheckpointError) as error:
                restore_checkpoint(folder / "2", small_state)
            assert f"{folder / '2'} is damaged: {name} " in str(error.value)
            assert "\n" not in str(error.value)
            step, problems = newest_intact(folder)
            assert step == 1
            assert problems == [str(error.value)]
            assert files(folder) == damaged
            noticed += 1
            shutil.rmtree(folder)
    print(f"{noticed} damages to {len(names)} files, each noticed and named")


def test_when_none_is_intact_nothing_is_deleted(folder):
    flip_one_bit(folder / "1" / "run.json")
    shutil.rmtree(folder / "2")
    (folder / "2").mkdir()
    damaged = files(folder)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is intact: .*/2 is damaged.* \(as are 1 others\)"):
        newest_intact(folder)
    assert files(folder) == damaged


def test_the_digests_are_those_of_sha256sum(folder):
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum here")
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=folder / "2", check=True)
    flip_one_bit(folder / "2" / "run.json")
    assert subprocess.run(check, cwd=folder / "2", capture_output=True).returncode == 1


def seal(checkpoint):
    """Write the digests anew, as another version of the program would."""
    names = [name for name in files(checkpoint) if name != "SHA256SUMS"]
    lines = "".join(f"{hashlib.sha256((checkpoint / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    own = hashlib.sha256(lines.encode()).hexdigest()
    (checkpoint / "SHA256SUMS").write_text(f"{lines}# {own}\n")


def test_another_format_is_refused_with_both_versions(folder, small_state):
    description = json.loads((folder / "2" / "run.json").read_text())
    (folder / "2" / "run.json").write_text(json.dumps({**description, "format": FORMAT + 1}))
    seal(folder / "2")
    newer = f"/2 has format {FORMAT + 1}, and this version reads format {FORMAT}"
    with pytest.raises(CheckpointError, match=newer):
        restore_checkpoint(folder / "2", small_state)
    with pytest.raises(CheckpointError, match=newer):  # it is no damage: an older checkpoint is not taken instead
        newest_intact(folder)
    # Before formats were counted, a checkpoint was Orbax's folder alone.
    shutil.rmtree(folder / "2")
    shutil.copytree(folder / "1" / "state", folder / "2")
    with pytest.raises(CheckpointError, match=f"/2 has format 0, and this version reads format {FORMAT}"):
        newest_intact(folder)


def test_a_sealed_file_without_a_format_is_damage(folder):
    (folder / "2" / "run.json").write_text("[]")
    seal(folder / "2")
    with pytest.raises(DamagedCheckpointError, match="run.json names no format"):
        verify_checkpoint(folder / "2")


def test_a_checkpoint_of_another_model_is_refused_in_one_line(folder):
    with pytest.raises(CheckpointError) as error:
        restore_checkpoint(folder / "1", init_state(jax.random.key(0)))
    assert str(folder / "1") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_checkpoint_is_named(small_state, tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*/4"):
        restore_checkpoint(tmp_path / "4", small_state)


def test_the_newest_is_that_of_the_highest_step_whatever_the_clock_said(folder):
    os.utime(folder / "1", (2**31, 2**31))
    os.utime(folder / "2", (0, 0))
    assert newest_intact(folder) == (2, [])


def test_damaged_checkpoints_are_set_aside_and_kept(folder):
    flip_one_bit(folder / "2" / "run.json")
    before = files(folder / "2")
    (folder / "2.damaged").mkdir()
    set_aside(folder, newer_than=1)
    assert checkpoint_steps(folder) == [1]
    assert files(folder / "2.damaged.2") == before


def test_what_a_save_cut_off_has_left_is_cleared(folder):
    (folder / "3.partial" / "state").mkdir(parents=True)
    (folder / "config.json.partial").write_text("{")
    clear_leftovers(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def test_a_save_that_fails_leaves_the_earlier_checkpoints(folder, trained, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = files(folder)
    monkeypatch.setattr("dcgan_jax.training.checkpoint._seal", full)
    with pytest.raises(CheckpointError, match="cannot write the checkpoint .*/4 .No space left on device"):
        save_checkpoint(folder, trained.replace(step=trained.step * 4), jax.random.key(0), SETTINGS)
    assert files(folder) == before
