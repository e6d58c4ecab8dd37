"""Assertions, small networks and other functions that several tests use."""

import contextlib
import dataclasses
import functools
import gzip
import io
import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
from PIL import Image
from programs.small_recipe import SmallDiscriminator, SmallGenerator
from xla_options import WITHOUT_FUSIONS, as_flags

from dcgan_jax import TrainConfig, cli, init_state, load_dataset, save_grid
from dcgan_jax.data import load_data
from dcgan_jax.evaluation import class_scoring, patches, scoring
from dcgan_jax.evaluation.classifier import SHA256, load_classifier
from dcgan_jax.evaluation.strided_classifier import strided_features
from dcgan_jax.training import checkpoint as checkpoints
from dcgan_jax.training import device_loop
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run_dir import write_config

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "programs"
# The small GAN as a recipe: `--recipe` of the command line, and ``init`` of `train` and `load_run`.
RECIPE = PROGRAMS / "small_recipe.py"
# Without LLVM's optimisations and without MLIR's fusions XLA compiles in a fifth of the time: for what does not depend
# on them.
QUICK_OPTIONS = {"xla_backend_optimization_level": 0, **WITHOUT_FUSIONS}
FUSIONS = as_flags(WITHOUT_FUSIONS)  # of the processes whose runs have the same bits as this process's
QUICK_COMPILATION = as_flags(QUICK_OPTIONS)
# The flags of the short runs that most tests use, apart from --steps.
FLAGS = ["--batch-size", "2", "--log-every", "3", "--sample-every", "5", "--checkpoint-every", "4", "--seed", "3"]


def small_gan(key, **options):
    """A state of `SmallGenerator` and `SmallDiscriminator`, quick to compile; without options as `RECIPE` builds it."""
    return init_state(key, generator=SmallGenerator(), discriminator=SmallDiscriminator(), latent_size=5, **options)


def plain_conv2d(x, kernel, stride=1):
    """XLA's own convolution with 'same' padding: [B, H, W, in] and [k, k, in, out]."""
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def quick_jit(function, **options):
    """`jax.jit` with `QUICK_OPTIONS`."""
    return jax.jit(function, compiler_options=QUICK_OPTIONS, **options)


def compile_steps_quickly(monkeypatch):
    """Compile the steps of this process's runs with `QUICK_OPTIONS`: to other bits than those of other processes."""
    monkeypatch.setattr(device_loop, "quick_options", lambda: QUICK_OPTIONS)
    monkeypatch.setattr(device_loop, "steps_program", functools.cache(device_loop.steps_program.__wrapped__))


def compare_fewer_patches(monkeypatch):
    """Compare images by fewer patches along fewer directions, which takes a thirtieth of the time."""
    draw = functools.partial(patches.draw_patches, count=2**14)
    compare = functools.partial(patches.sliced_wasserstein, directions=128)
    monkeypatch.setattr("dcgan_jax.evaluation.pixel_scoring.draw_patches", draw)
    monkeypatch.setattr("dcgan_jax.evaluation.pixel_scoring.sliced_wasserstein", compare)


@functools.cache
def _fewer_digits():
    network = class_scoring.Features(load_classifier(), tuple("0123456789"), SHA256, strided_features)
    test = load_data(split="test")
    test = test._replace(images=test.images[:500], labels=None if test.labels is None else test.labels[:500])
    return class_scoring.real_features(load_dataset()[:2000], test, network)


@functools.cache
def _baseline_of_fewer_digits(n):
    return class_scoring.real_baseline(n, _fewer_digits())


def score_by_fewer_digits(monkeypatch):
    """Score digits by 2,000 training and 500 test images of MNIST, which takes a tenth of the time."""
    monkeypatch.setattr(scoring, "_real_digits", _fewer_digits)
    monkeypatch.setattr(scoring, "_real_baseline", _baseline_of_fewer_digits)


def abstract_state(init=init_state):
    """Shapes, types and devices of the tutorial's state, to restore a checkpoint like it; nothing is computed."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes)


def restore_checkpoint(path, like):
    """Verify a checkpoint, and read it: what it says, and its state."""
    verified = checkpoints.verify_checkpoint(path)
    return SimpleNamespace(**verified._asdict(), state=checkpoints.restore_checkpoint(verified, like))


def latest_valid_step(folder):
    """The step of the latest valid checkpoint, or None, and a line on each newer one."""
    verified, problems = checkpoints.latest_checkpoint(folder)
    return verified and verified.step, problems


def assert_same_bits(a, b):
    """Both trees have the same structure, and each leaf the same type, shape and bytes."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert x.tobytes() == y.tobytes()


def assert_close(a, b, tolerance):
    """Both trees agree to ``tolerance``, each leaf relative to its largest element."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        assert x.shape == y.shape
        assert np.abs(x - y).max() <= tolerance * np.abs(y).max()


def assert_same_checkpoints(ours, theirs, init=init_state):
    """Two checkpoints of the tutorial's GAN, or of that of ``init``, hold the same bits."""
    like = abstract_state(init)
    ours, theirs = restore_checkpoint(ours, like), restore_checkpoint(theirs, like)
    assert_same_bits(ours.state, theirs.state)
    assert (jax.random.key_data(ours.key) == jax.random.key_data(theirs.key)).all()


def assert_same_run(run_dir, whole, init=init_state):
    """The same rows, samples and last checkpoint; the columns of Flax's summary have no fixed order."""
    ours, theirs = run_files(run_dir), run_files(whole)
    assert set(ours) == set(theirs)
    changed = {name for name in ours if ours[name] != theirs[name]}
    assert changed <= {"models.txt", "config.json"}
    assert metric_rows(run_dir) == metric_rows(whole)
    assert_same_checkpoints(run_dir / "checkpoints" / "11", whole / "checkpoints" / "11", init)


def write_run(
    run_dir, config=None, record=None, *, rows=50, evaluations=(), grids=(0, 1, 500), checkpoint=True, tail=""
):
    """The files of a run by hand, without training: what reports read; the grids are of random pixels."""
    config = dataclasses.replace(config or TrainConfig(), workdir=str(run_dir))
    (run_dir / "samples").mkdir(parents=True)
    record = record or RunRecord()
    write_config(run_dir, config, record)
    rng = np.random.default_rng(0)
    names = ("d_loss", "d_accuracy", "g_loss", "g_accuracy")
    metrics = [{"step": 10 * i, **dict(zip(names, rng.random(4).tolist(), strict=True))} for i in range(1, rows + 1)]
    lines = [json.dumps(row) + "\n" for row in [*metrics, *evaluations]]
    (run_dir / "metrics.jsonl").write_text("".join(lines) + tail)
    for step in grids:
        save_grid(run_dir / "samples" / f"{step:06d}.png", rng.random((16, *record.image_shape)))
    save_grid(run_dir / "reals.png", rng.random((16, *record.image_shape)))
    if checkpoint:
        described = {
            "step": 500,
            "collapse": {"healthy_until": 500, "collapsed": False, "blocks": [[0.75, 0.5]]},
            "environment": {"jax": "0.10.2", "XLA_FLAGS": None},
        }
        (run_dir / "checkpoints" / "500").mkdir(parents=True)
        (run_dir / "checkpoints" / "500" / "run.json").write_text(json.dumps(described))
    return run_dir


def evaluation_row(step, fid, samples=10_000, **changes):
    """A row of ``metrics.jsonl`` for an evaluation."""
    scores = {"fid": fid, "second_fid": 2 * fid, "precision": 0.5, "shares": {"0": 0.25, "1": 0.75}, "missing": []}
    evaluation = {"samples": samples, "scores": scores, "floor": {**scores, "fid": 1.5}, **changes}
    return {"step": step, "weights": "last", "evaluation": evaluation}


def metric_rows(run_dir):
    """The rows of a run's metrics.jsonl."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def scalars(run_dir):
    """The numbers of a run's metrics.jsonl as event files have them: (step, name, float32)."""
    rows = metric_rows(run_dir)
    return [(row["step"], name, float(np.float32(row[name]))) for row in rows for name in row if name != "step"]


def timing_rows(run_dir):
    """The rows of a run's timing.jsonl."""
    return [json.loads(line) for line in (run_dir / "timing.jsonl").read_text().splitlines()]


def traced_steps(folder):
    """The steps in the one trace below a folder that Perfetto opens, and the names of its events."""
    (path,) = folder.rglob("perfetto_trace.json.gz")
    assert list(path.parent.glob("*.xplane.pb"))  # xprof's
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    steps = [int(event["args"]["step_num"]) for event in events if event.get("name") == "train"]
    return steps, {event.get("name") for event in events}


def tensorboard_records(run_dir):
    """The events of a run's one event file."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = (run_dir / "tensorboard").iterdir()
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events


def read_tensorboard(run_dir):
    """What is logged: (step, name, number) in order; for an image its pixels."""
    found = []
    for event in tensorboard_records(run_dir):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.append((event.step, value.tag, value.simple_value))
            elif value.WhichOneof("value") == "image":
                found.append((event.step, value.tag, pixels(io.BytesIO(value.image.encoded_image_string))))
    return found


def pixels(file):
    """The bytes of a picture in RGB."""
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB")).tobytes()


def all_files(folder):
    """Each file below a folder, by its relative path, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run_files(run_dir):
    """`all_files` of a run, but for its checkpoints, its lock, and what has times in it."""
    rest = ("checkpoints/", "lock", "timing.jsonl", "tensorboard/")
    return {n: content for n, content in all_files(run_dir).items() if not n.startswith(rest)}


def run_cli(*argv):
    """Run ``dcgan-jax`` with these arguments in this process; the exit code."""
    try:
        return cli.main(list(map(str, argv)))
    except SystemExit as done:  # argparse's own
        return done.code


def one_error_line(capsys):
    """The one line on standard error that a command printed, and nothing else."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def finish(process, timeout=600):
    """Wait for a process that prints no traceback: its exit code, standard output and standard error."""
    out, err = process.communicate(timeout=timeout)
    assert "Traceback" not in (err or "")
    return process.returncode, out, err


def wait_for_line(process, start):
    """Read a process's standard output up to a line that begins with ``start``."""
    for line in process.stdout:
        if line.startswith(start):
            return
    raise AssertionError(f"the process ended without a line {start!r}")


def wait_for(condition, seconds=600):
    """Wait until a condition holds; the limit only catches a hang."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def run_program(name, *arguments, **environment):
    """Run one of ``tests/programs``, which may import this module, in a process of its own; its standard output."""
    done = subprocess.run(
        [sys.executable, PROGRAMS / name, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environment},
        capture_output=True,
        text=True,
        timeout=1800,  # only catches a hang
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def terminal(columns):
    """A terminal of so many columns: a stream that writes to it, and the bytes shown, complete after the context."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    shown = []

    def read():
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(master, 4096):
                shown.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with open(slave, "w", encoding="utf-8") as stream:
            yield stream, shown
    finally:
        reader.join()
        os.close(master)


def screen(shown):
    """The lines of a terminal that was shown these bytes: carriage returns overwrite."""
    lines, column = [""], 0
    for text in re.findall(r"[\r\n]|[^\r\n]+", b"".join(shown).decode()):
        if text == "\n":
            lines.append("")
        if text in "\r\n":
            column = 0
        else:
            lines[-1] = lines[-1][:column].ljust(column) + text + lines[-1][column + len(text) :]
            column += len(text)
    return [line.rstrip() for line in lines]


def free_port():
    """A TCP port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def memory_within_checks(monkeypatch, beside=0):
    """Within, NumPy and Python take no more memory than `check_bytes` was asked for, and ``beside`` bytes."""
    checked = []

    def check_bytes(needed, *_):
        checked.append(tracemalloc.get_traced_memory()[0] + needed)

    with monkeypatch.context() as patch:
        for module in ("fitting", "arrays", "idx"):
            patch.setattr(f"dcgan_jax.data.{module}.check_bytes", check_bytes)
        tracemalloc.start()
        try:
            yield
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak <= max(checked) + beside
