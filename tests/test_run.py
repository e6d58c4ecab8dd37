"""`load_run` and `create_run`: a run is read back from its directory, and what is missing is named in one line."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import all_files, assert_same_bits
from programs.small_recipe import init

from dcgan_jax import TrainConfig, load_run, train
from dcgan_jax.errors import UserError
from dcgan_jax.prng import seed_key, split_key
from dcgan_jax.training.checkpoint import checkpoint_steps, save_checkpoint
from dcgan_jax.training.first_state import create_state, initializer
from dcgan_jax.training.recipe import as_recipe
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run import create_run
from dcgan_jax.training.run_dir import lock_run_dir, read_config
from dcgan_jax.training.run_files import sample_digits, sample_reals
from dcgan_jax.training.setup import with_recipe


@pytest.fixture(scope="module")
def dataset(small_flags):
    """The path of small images."""
    return str(small_flags[small_flags.index("--dataset") + 1])


@pytest.fixture(scope="module")
def created(dataset, tmp_path_factory):
    """A run of seed 5 with checkpoints of steps 0, 5 and 9, and its first state and keys."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    config = TrainConfig(batch_size=2, seed=5, dataset=dataset, workdir=str(run_dir))
    state, keys = create_state(config, RunRecord((8, 8, 1)), init=init)
    assert create_run(config, state, keys, init=init) == run_dir
    for step in (5, 9):
        later = state.replace(step=state.step + step)
        saved, record = dataclasses.asdict(config), dataclasses.asdict(read_config(run_dir)[1])
        save_checkpoint(run_dir / "checkpoints", later, keys["run"], saved, record=record, collapse={"n": step})
    return run_dir, state, keys


@pytest.fixture
def run_dir(created, tmp_path):
    return shutil.copytree(created[0], tmp_path / "run")


def test_first_state_is_that_of_init_state():
    """Of the tutorial's size; the options that it is compiled with change no bit."""
    state, _ = create_state(TrainConfig(seed=5))
    key = split_key(seed_key(5), 6)[0]
    assert_same_bits(state, initializer(TrainConfig(seed=5))(key))


def damage(run_dir, step):
    (run_dir / "checkpoints" / str(step) / "SHA256SUMS").unlink()


@pytest.mark.parametrize("kind", [str, Path])
def test_load_run_reads_the_latest_checkpoint(kind, dataset, created):
    """By a string or a path; nothing is written, and another process may hold the lock."""
    run_dir, state, keys = created
    before = all_files(run_dir)
    with lock_run_dir(run_dir, resume=True):
        run = load_run(kind(run_dir), init=init)
    digest = hashlib.sha256(b"((200, 8, 8, 1), ())" + np.load(dataset).tobytes()).hexdigest()
    assert run.config == TrainConfig(batch_size=2, seed=5, dataset=dataset, workdir=str(run_dir))
    found = RunRecord((8, 8, 1), data_digest=digest, quick_compile=True)
    assert run.record == with_recipe(found, as_recipe(init))
    assert (run.run_dir, run.checkpoint.path) == (Path(run_dir), Path(run_dir) / "checkpoints" / "9")
    assert_same_bits(run.state, state.replace(step=state.step + 9))
    assert_same_bits(jax.tree.map(jax.random.key_data, run.keys), jax.tree.map(jax.random.key_data, keys))
    assert run.collapse == {"n": 9}
    assert all_files(run_dir) == before


def test_load_run_reads_a_given_step(created):
    for step in (0, 5):
        assert load_run(created[0], step, init=init).state.step == step


def test_load_run_passes_over_damage(run_dir, capsys):
    damage(run_dir, 9)
    before = all_files(run_dir)
    assert load_run(run_dir, init=init).state.step == 5
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{run_dir / 'checkpoints' / '9'} is damaged: SHA256SUMS is missing; falling back to step 5" in err
    assert all_files(run_dir) == before


def test_load_run_refuses_what_is_missing(run_dir, tmp_path):
    """One line each, and nothing is changed."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run_dir / "config.json", bare)
    for folder, step, message in (
        (tmp_path / "absent", None, "there is no run in .*absent: it does not exist"),
        (run_dir / "checkpoints", None, "there is no run in .*checkpoints"),
        (run_dir / "config.json", None, "there is no run in .*config.json"),
        (bare, None, "the run in .*bare has no checkpoint to read: it has none yet"),
        (bare, 5, "the run in .*bare has no checkpoint 5 to read: it has none yet"),
        (run_dir, 7, "the run in .*run has no checkpoint 7 to read: it has 0, 5, 9"),
        (run_dir, -1, "the run in .*run has no checkpoint -1 to read: it has 0, 5, 9"),
    ):
        before = all_files(tmp_path)
        with pytest.raises(UserError, match=message) as error:
            load_run(folder, step, init=init)
        assert "\n" not in str(error.value)
        assert all_files(tmp_path) == before


def test_load_run_refuses_damage_and_bad_config(run_dir):
    damage(run_dir, 5)
    with pytest.raises(UserError, match=r"checkpoints/5 is damaged: SHA256SUMS is missing$"):
        load_run(run_dir, 5, init=init)
    damage(run_dir, 9)
    damage(run_dir, 0)
    with pytest.raises(UserError, match=r"no checkpoint in .* is valid: .*/9 is damaged.* \(as are 2 others\)"):
        load_run(run_dir, init=init)
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**config, "config": {**config["config"], "steps": "many"}}))
    with pytest.raises(UserError, match=r"config.json: `steps` must be an integer, got 'many'"):
        load_run(run_dir, init=init)


def test_load_run_refuses_another_config(run_dir):
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**config, "config": {**config["config"], "preset": "keras3"}}))
    with pytest.raises(UserError, match=r"checkpoints/9 has `preset` tutorial, not keras3"):
        load_run(run_dir, init=init)


def test_create_run_that_fails_leaves_no_run(dataset, created, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    _, state, keys = created
    config = TrainConfig(batch_size=2, dataset=dataset, workdir=str(tmp_path / "run"))
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"cannot write the checkpoint .*/0 "):
        patch.setattr("os.fsync", full)
        create_run(config, state, keys, init=init)
    assert set(all_files(tmp_path)) <= {"run/lock"}
    assert create_run(config, state, keys, init=init) == tmp_path / "run"
    assert checkpoint_steps(tmp_path / "run" / "checkpoints") == [0]


@pytest.mark.parametrize(
    ("names", "steps", "digits"),
    [([], 10_000, 6), ([], 2_000_000, 7), (["000000", "000500"], 2_000_000, 6), (["0", "16", "1000"], 10, 1)],
)
def test_names_of_samples_sort(names, steps, digits, tmp_path):
    """Those of a new run; a run that resumes keeps its own."""
    for name in [*names, "notes"]:
        (tmp_path / f"{name}.png").touch()
    assert sample_digits(tmp_path, steps) == digits


def test_resumed_run_keeps_its_names_of_samples(dataset, run_dir):
    (run_dir / "samples" / "000000.png").rename(run_dir / "samples" / "0.png")
    config = TrainConfig(batch_size=2, seed=5, dataset=dataset, steps=10, sample_every=10, workdir=str(run_dir))
    train(config, init=init, resume=True)
    assert {path.name for path in (run_dir / "samples").iterdir()} == {"0.png", "10.png"}


@pytest.mark.parametrize("n", [1, 5, 16, 17, 300])
def test_real_images_that_a_run_shows_differ(n):
    """As far as there are so many; fewer are shown in turn."""
    shown = sample_reals(np.arange(n), seed_key(3)).tolist()
    assert len(shown) == 16
    assert len(set(shown)) == min(n, 16)
    assert shown[: min(n, 16)] != sorted(shown)[: min(n, 16)] or n == 1
