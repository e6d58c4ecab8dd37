"""Runs whose images stay in a file: they have the bits of those in memory, whatever happens to them."""

import itertools
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import FUSIONS, PROGRAMS, assert_same_bits, assert_same_run, finish, run_cli, small_gan, wait_for
from programs.small_recipe import init

from dcgan_jax import TrainConfig, batches, load_data, train
from dcgan_jax.data import Dataset
from dcgan_jax.evaluation import image_scorer
from dcgan_jax.training import loop
from dcgan_jax.training.batch_source import DeviceImages, step_keys
from dcgan_jax.training.record import to_json
from dcgan_jax.training.run_dir import read_config

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), np.uint8)
LABELS = np.arange(60, dtype=np.int32) % 3


@pytest.fixture
def labelled(tmp_path):
    """The path of an array of images with labels."""
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    return str(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "fields",
    [{}, {"steps_per_call": 3, "mirror": True, "conditional": True, "hold_out": 12}],
    ids=["plain", "in calls, mirrored, by class, held out"],
)
def test_streamed_run_has_the_bits_of_one_in_memory(fields, labelled, tmp_path, data_cache):
    """The calls are cut at samples and checkpoints."""
    config = {"steps": 11, "batch_size": 4, "dataset": labelled, "sample_every": 5, "checkpoint_every": 4, **fields}
    states = [
        train(TrainConfig(**config, workdir=str(tmp_path / str(stream)), stream=stream), init=init).state
        for stream in (False, True)
    ]
    assert_same_bits(*states)
    rows = [(tmp_path / str(stream) / "metrics.jsonl").read_text() for stream in (False, True)]
    assert rows[0] == rows[1]
    reals = [(tmp_path / str(stream) / "reals.png").read_bytes() for stream in (False, True)]
    assert reals[0] == reals[1]
    assert len(list(data_cache.rglob("*.npy"))) == 1


def test_device_holds_no_images(labelled, tmp_path, data_cache, monkeypatch):
    """Of a streamed run; and of one whose images would take more than a third of a device's own memory."""
    placed = []
    place = loop._place
    monkeypatch.setattr(loop, "_place", lambda run, mesh: placed.append(place(run, mesh)) or placed[-1])
    monkeypatch.setattr(loop, "_is_beyond", lambda size, mesh: size == IMAGES.size)
    for stream in (True, None, False):
        config = TrainConfig(
            steps=1, batch_size=4, dataset=labelled, workdir=str(tmp_path / f"{stream}"), stream=stream
        )
        train(config, init=init)
    assert [isinstance(sources, itertools.repeat) for _, sources, _ in placed] == [False, False, True]


def test_killed_run_resumes_in_memory_or_streamed(small_run, small_flags, train_process, tmp_path):
    """To the bits of the run in memory that nobody has killed."""
    run_dir = tmp_path / "run"
    flags = [*small_flags, "--steps", 100_000, "--stream", "--workdir", run_dir]
    process = train_process(*flags, cwd=tmp_path, environment={"XLA_FLAGS": FUSIONS})
    wait_for(lambda: (run_dir / "checkpoints" / "4").exists() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    code, _, err = finish(process)
    assert code == -signal.SIGKILL, err
    for step in sorted(int(path.name) for path in (run_dir / "checkpoints").iterdir() if path.name.isdecimal())[::-1]:
        if step > 8:  # beyond the run that it is compared with
            (run_dir / "checkpoints" / str(step)).rename(tmp_path / str(step))
    resume = ["train", *small_flags[:2], "--resume", "--workdir", run_dir]
    assert run_cli(*resume, "--steps", 9, "--no-stream") == 0
    assert run_cli(*resume, "--steps", 11, "--stream") == 0
    assert_same_run(run_dir, small_run, small_gan)


def test_streaming_makes_no_other_run(tmp_path, labelled):
    """The config keeps it, and a run that resumes may say otherwise."""
    config = TrainConfig(steps=2, batch_size=4, dataset=labelled, workdir=str(tmp_path / "run"), stream=True)
    train(config, init=init)
    assert read_config(tmp_path / "run")[0].stream is True
    assert '"stream": true' in to_json(*read_config(tmp_path / "run"))
    more = TrainConfig(steps=3, batch_size=4, dataset=labelled, workdir=str(tmp_path / "run"), stream=False)
    assert train(more, init=init, resume=True).state.step == 3


def test_file_that_is_cut_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)

    def cut(*_):
        with (tmp_path / "a.npy").open("r+b") as file:
            file.truncate(1000)

    config = TrainConfig(steps=400, batch_size=4, dataset=str(tmp_path / "a.npy"), workdir=str(tmp_path / "run"))
    with pytest.raises(OSError, match=r"a.npy has changed while it was read"):
        train(TrainConfig(**{**vars(config), "stream": True}), init=init, on_steps=cut)


def test_scores_are_of_some_images(labelled, data_cache, monkeypatch):
    """Of a bounded number of training images, in memory or not."""
    scored = []
    monkeypatch.setattr(image_scorer, "MAX_SAMPLES", 20)
    monkeypatch.setattr(image_scorer, "compare_images", lambda images, train, test: scored.append(train))
    for stream in (False, True):
        data = load_data(labelled, stream=stream)
        score, most = image_scorer.scorer_of_images(data, labelled, TrainConfig().reading(), None)
        score(IMAGES[:5], None)
        assert most == 10
    np.testing.assert_array_equal(*scored)
    assert scored[0].shape == (20, 8, 8, 1)
    assert not isinstance(scored[1], np.memmap)


def drawn(key, step, batch_size=5):
    """The batch of a step as a run in memory has it."""
    return DeviceImages(IMAGES, LABELS).batch(step_keys(key, step)[0], batch_size)


@pytest.mark.parametrize("kind", ["array", "file", "dataset"])
def test_batches_are_those_of_a_run(kind, key, labelled, tmp_path):
    """From any step on, with labels where there are any."""
    np.save(tmp_path / "a.npy", IMAGES)
    source = {"array": IMAGES, "file": tmp_path / "a.npy", "dataset": load_data(labelled)}[kind]
    for step, (images, labels) in zip(range(254, 260), batches(source, key, 5, start_step=254), strict=False):
        expected = drawn(key, step)
        assert_same_bits(images, expected[0])
        assert isinstance(images, jax.Array)
        if kind == "dataset":
            assert_same_bits(labels, expected[1])
        else:
            assert labels is None


def test_iterator_in_use_at_exit():
    """Nothing is printed when the interpreter finalizes it."""
    done = subprocess.run([sys.executable, PROGRAMS / "batches_at_exit.py"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Exception" not in done.stderr


def test_batches_are_gathered_two_ahead(key):
    """By a thread, which ends with the iterator."""
    asked = []

    class Images:
        shape, dtype = IMAGES.shape, IMAGES.dtype

        def __len__(self):
            return len(IMAGES)

        def __getitem__(self, rows):
            asked.append(len(rows))
            return IMAGES[rows]

    iterator = batches(Dataset(Images()), key, 5)
    next(iterator)
    wait_for(lambda: len(asked) == 3)
    iterator.close()
    assert len(asked) == 3


@pytest.mark.parametrize(("count", "size", "step"), [(0, 1, 0), (60, 0, 0), (60, 1, -1)])
def test_impossible_batches_are_refused(count, size, step, key):
    with pytest.raises(ValueError, match=f"got {count} images, {size} and {step}"):
        batches(IMAGES[:count], key, size, step)
