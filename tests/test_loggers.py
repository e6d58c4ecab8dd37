"""What a run logs beside ``metrics.jsonl``: each step once, whatever ended the run before it was resumed."""

import contextlib
import importlib.util
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import (
    FUSIONS,
    RECIPE,
    all_files,
    assert_same_checkpoints,
    finish,
    metric_rows,
    one_error_line,
    pixels,
    read_tensorboard,
    run_cli,
    scalars,
    small_gan,
    tensorboard_records,
    timing_rows,
    traced_steps,
    wait_for_line,
)

from dcgan_jax import TrainConfig
from dcgan_jax.images import image_grid, save_grid
from dcgan_jax.training import tensorboard
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.loggers import RunLog, validate_loggers
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run_dir import write_config
from dcgan_jax.training.setup import with_log_id
from dcgan_jax.training.trackers import TrackerError

os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="dcgan-jax-test-")  # read when trackio is imported
TRACKERS = {
    "tensorboard": {"tensorboard": True},
    "wandb": {"log": "wandb"},
    "trackio": {"log": "trackio"},
}


def read_wandb(run_dir):
    """Likewise, from the one file that ``wandb sync`` reads: LevelDB's log format."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # waits for the process that writes the file
    (path,) = (run_dir / "wandb").glob("offline-run-*/*.wandb")
    content, position, begun, found = path.read_bytes(), 7, b"", []
    while position + 7 <= len(content):
        if 2**15 - position % 2**15 < 7:  # no header fits in the rest of the block
            position += 2**15 - position % 2**15
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        begun += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or its end
            record, begun = Record.FromString(begun), b""
            if record.WhichOneof("record_type") == "history":
                found += wandb_row(path.parent, record.history)
    return found


def wandb_row(folder, history):
    items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in history.item}
    numbers = [(name, value) for name, value in items.items() if not name.startswith(("_", "samples/"))]
    if "samples/path" in items:
        numbers.append(("samples", pixels(folder / "files" / items["samples/path"])))
    return [(history.step.num, *each) for each in numbers]


def read_trackio(run_dir):
    """Likewise, from Trackio's database."""
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import MEDIA_DIR

    found = []
    (name,) = [name for name in SQLiteStorage.get_runs("dcgan-jax") if name.startswith(f"{run_dir.name}-")]
    for row in SQLiteStorage.get_logs("dcgan-jax", name):
        step = row.pop("step")
        del row["timestamp"]
        for each, value in row.items():
            found.append((step, each, pixels(MEDIA_DIR / value["file_path"]) if isinstance(value, dict) else value))
    return found


READERS = {"tensorboard": read_tensorboard, "wandb": read_wandb, "trackio": read_trackio}


@pytest.fixture(params=TRACKERS)
def logger(request, monkeypatch):
    """The config of a run with one logger, and what reads it back."""
    package = {"tensorboard": "tensorboardX"}.get(request.param, request.param)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("TRACKIO_SPACE_ID", raising=False)
    config = TrainConfig(**TRACKERS[request.param])
    validate_loggers(config)
    return config, READERS[request.param]


def log_steps(log, run_dir, first, last, channels=1):
    """Rows of some steps as a run writes them, with samples at each fourth, and an evaluation at step 6."""
    for step in range(first, last + 1):
        if step:
            log.log_scalars(step, {"d_loss": step / 8, "g_loss": -step / 4})
        if step % 4 == 0:
            images = np.full((16, 4, 4, channels), step * 9, np.uint8)
            save_grid(run_dir / "samples" / f"{step:06d}.png", images)
            log.log_images(step, "samples", image_grid(images))
        if step == 6:
            row = {"weights": "last", "evaluation": {"samples": 129, "scores": {"fid": 7.5, "digits": [1, 2]}}}
            log.log_scalars(step, row)


def expected(last, channels=1):
    """What `log_steps` from 0 logs, in any order."""
    found = []
    for step in range(last + 1):
        if step:
            found += [(step, "d_loss", step / 8), (step, "g_loss", -step / 4)]
        if step % 4 == 0:
            grid = image_grid(np.full((16, 4, 4, channels), step * 9, np.uint8))
            found.append((step, "samples", np.broadcast_to(grid, (*grid.shape[:2], 3)).tobytes()))
        if step == 6:
            found += [(step, "evaluation/samples", 129.0), (step, "evaluation/scores/fid", 7.5)]
    return sorted(found)


@pytest.fixture
def run_dir(tmp_path, request):
    """A directory in place of a run's, whose name needs care."""
    run_dir = tmp_path / f"{request.node.name} <img 한 글>"
    (run_dir / "samples").mkdir(parents=True)
    return run_dir


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_and_samples_are_logged(channels, logger, run_dir):
    config, read = logger
    with contextlib.closing(RunLog(config, run_dir, 0, "ab12")) as log:
        log_steps(log, run_dir, 0, 8, channels)
    found = read(run_dir)
    assert [step for step, _, _ in found] == sorted(step for step, _, _ in found)
    assert sorted(found) == expected(8, channels)


def test_resumed_run_has_each_step_once(logger, run_dir):
    """From any checkpoint before, also the first; twice, and when the process did not end as it should."""
    config, read = logger
    for start, first, last in ((0, 0, 7), (5, 6, 8), (2, 3, 8), (0, 0, 8), (8, 9, 9)):
        log = RunLog(config, run_dir, start, "ab12")
        log_steps(log, run_dir, first, last)
        log.close()
        if config.tensorboard:  # as a process that is killed leaves it
            (events,) = (run_dir / "tensorboard").iterdir()
            events.write_bytes(events.read_bytes()[:-3])
    with contextlib.closing(RunLog(config, run_dir, 9, "ab12")):
        pass
    assert sorted(read(run_dir)) == expected(9)
    assert [row["step"] for row in metric_rows(run_dir)] == [1, 2, 3, 4, 5, 6, 6, 7, 8, 9]


def test_logger_that_is_added_later_has_all(logger, run_dir):
    """And a broken picture costs a line, a row that was edited by hand nothing."""
    config, read = logger
    with contextlib.closing(RunLog(TrainConfig(), run_dir, 0, "ab12")) as log:
        log_steps(log, run_dir, 0, 8)
    with (run_dir / "metrics.jsonl").open("a") as rows:
        rows.write('{"step": 1.5, "d_loss": 1}\n{"step": true}\n{"step": 7, "d_loss": "1", "g_loss": null}\n')
    (run_dir / "samples" / "000005.png").write_bytes(b"no picture")
    with contextlib.closing(RunLog(config, run_dir, 8, "ab12")):
        pass
    assert sorted(read(run_dir)) == expected(8)


def test_metrics_are_the_same_bytes(logger, run_dir):
    """With a logger and without."""
    config, _ = logger
    with contextlib.closing(RunLog(config, run_dir, 0, "ab12")) as log:
        log_steps(log, run_dir, 0, 8)
    rows = (run_dir / "metrics.jsonl").read_bytes()
    with contextlib.closing(RunLog(TrainConfig(), run_dir, 0, "ab12")) as log:
        log_steps(log, run_dir, 0, 8)
    assert (run_dir / "metrics.jsonl").read_bytes() == rows
    assert rows.startswith(b'{"step": 1, "d_loss": 0.125, "g_loss": -0.25}\n{"step": 2, ')


def test_event_file_has_the_config(run_dir):
    """As TensorBoard's hyperparameters; a TensorBoard that shows the run drops what it has read of it before."""
    from tensorboardX.proto.event_pb2 import SessionLog
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    config = TrainConfig(tensorboard=True, seed=5, conditional=True, eval_every=7)
    RunLog(config, run_dir, 0, "ab12").close()
    version, start, *summaries = tensorboard_records(run_dir)
    assert version.file_version == "brain.Event:2"
    assert (start.session_log.status, start.step) == (SessionLog.START, 0)
    data = [
        HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in summaries
        for value in event.summary.value
    ]
    hparams = data[1].session_start_info.hparams
    assert (hparams["seed"].number_value, hparams["preset"].string_value) == (5, "tutorial")
    assert (hparams["conditional"].bool_value, hparams["mirror"].bool_value) == (True, False)
    names = [metric.name.tag for metric in data[0].experiment.metric_infos]
    assert names == ["d_loss", "g_loss", "evaluation/scores/fid"]


def test_logger_that_fails_ends_with_a_line(run_dir, monkeypatch, capsys):
    """Its disk is full. The run continues without it, and the next start logs all."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    config = TrainConfig(tensorboard=True)
    log = RunLog(config, run_dir, 0, "ab12")
    monkeypatch.setattr(tensorboard, "_FLUSH_SECONDS", 0)
    with open("/dev/full", "w") as full:
        os.dup2(full.fileno(), log._loggers[0]._file._writer.fileno())
    log_steps(log, run_dir, 0, 8)
    log.close()
    err = capsys.readouterr().err
    assert err.startswith("warning: `tensorboard` logs no more ([Errno 28] No space left on device); the run continues")
    assert err.count("\n") == 1
    assert len(metric_rows(run_dir)) == 9
    RunLog(config, run_dir, 8, "ab12").close()
    assert sorted(read_tensorboard(run_dir)) == expected(8)


def test_logger_that_fails_at_the_end_is_a_line(run_dir, capsys):
    log = RunLog(TrainConfig(tensorboard=True), run_dir, 0, "ab12")
    log._loggers[0]._file.close()
    log.close()
    assert capsys.readouterr().err.startswith("warning: `tensorboard` logs no more (")


@pytest.mark.parametrize(
    ("flags", "package", "message"),
    [
        (
            ["--tensorboard"],
            "tensorboardX.proto.event_pb2",
            "--tensorboard needs the package tensorboardX: pip install",
        ),
        (["--log", "wandb"], "wandb", "--log wandb needs the package wandb: pip install 'dcgan-jax[wandb]'"),
        (["--log", "trackio"], "trackio", "--log trackio needs the package trackio: pip install 'dcgan-jax[trackio]'"),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_missing_package_is_named(dry, flags, package, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert run_cli("train", *flags, *dry) == 2
    assert message in one_error_line(capsys)
    assert all_files(tmp_path) == {}


def test_unknown_logger_is_refused():
    with pytest.raises(ConfigError, match="`log` must be one of none, wandb, trackio, got 'mlflow'"):
        TrainConfig(log="mlflow")


def test_login_is_checked_first(monkeypatch):
    """Nobody is logged in; or no server is reached."""
    wandb = pytest.importorskip("wandb", reason="the package wandb is not installed")
    online = SimpleNamespace(settings=SimpleNamespace(mode="online"))  # W&B reads the variable once
    monkeypatch.setattr(wandb, "setup", lambda: online)
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    with pytest.raises(
        TrackerError, match=r"^`log='wandb'` cannot log in \(nobody is logged in\): run wandb login, or"
    ):
        validate_loggers(TrainConfig(log="wandb"))

    def unreachable(prompt):
        raise ConnectionError("no such host\nand more")

    monkeypatch.setattr(wandb, "login", unreachable)
    with pytest.raises(TrackerError, match=r"^`log='wandb'` cannot log in \(no such host\): run wandb login, or set "):
        validate_loggers(TrainConfig(log="wandb"))


def test_trackio_elsewhere_is_refused(monkeypatch):
    pytest.importorskip("trackio", reason="the package trackio is not installed")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/runs")
    with pytest.raises(TrackerError, match="TRACKIO_SPACE_ID is set: unset it"):
        validate_loggers(TrainConfig(log="trackio"))


def test_identifier_is_kept():
    """By a run that has one, whatever it logs to; a run that logs under none has none."""
    assert with_log_id(RunRecord(), "none").log_id is None
    for log in ("wandb", "trackio"):
        assert len(with_log_id(RunRecord(), log).log_id) == 8
        assert with_log_id(RunRecord(log_id="ab12"), log).log_id == "ab12"


def test_resumed_run_keeps_or_unsets_its_loggers(tmp_path, monkeypatch, capsys):
    """Both are the run's own config, like other fields that change nothing it computes."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    write_config(run_dir, TrainConfig(tensorboard=True, workdir=str(run_dir)), RunRecord())
    for flags, logs in (([], True), (["--no-tensorboard", "--log", "none"], False)):
        assert run_cli("train", "--workdir", run_dir, "--resume", "--dry-run", *flags) == 0
        out = capsys.readouterr().out
        config = json.loads(out[out.index("{\n") : out.index("\n}") + 2])["config"]
        assert (config["tensorboard"], config["log"]) == (logs, "none")


@pytest.fixture(scope="module")
def whole(small_flags, tmp_path_factory):
    """A run of eleven steps with event files, of which three are profiled; and what it printed."""
    run_dir, out = tmp_path_factory.mktemp("logged") / "run", io.StringIO()
    flags = ["--steps", 11, *small_flags, "--tensorboard", "--profile", 3, "--workdir", run_dir]
    with contextlib.redirect_stdout(out):
        assert run_cli("train", *flags) == 0
    return run_dir, out.getvalue()


def test_logged_run_has_the_same_bits(whole, small_run):
    """As one without loggers and profile; and all that it measured is logged."""
    run_dir, out = whole
    assert metric_rows(run_dir) == metric_rows(small_run)
    assert_same_checkpoints(run_dir / "checkpoints" / "11", small_run / "checkpoints" / "11", small_gan)
    assert f"TensorBoard: tensorboard --logdir {run_dir / 'tensorboard'}" in out
    logged = [(step, name, value) for step, name, value in read_tensorboard(run_dir) if name != "samples"]
    assert sorted(logged) == sorted(scalars(run_dir))
    assert [step for step, name, _ in read_tensorboard(run_dir) if name == "samples"] == [0, 1, 2, 4, 5, 10]


def test_profile_of_a_run(whole):
    run_dir, out = whole
    steps, names = traced_steps(run_dir / "profile")
    assert steps == [2, 3, 4]
    assert any("run_steps" in str(name) for name in names)
    assert "profiled 3 steps: open " in out


def test_timing_of_a_run(whole, small_run):
    for run_dir in (whole[0], small_run):
        (row,) = timing_rows(run_dir)
        assert (row["first_step"], row["last_step"]) == (0, 11)
        assert row["compile_seconds"] > 0 < row["steps_per_second"]


def test_fallback_and_kill_leave_no_step_twice(whole, train_process, tmp_path, capsys):
    """A run that fell back to an earlier checkpoint, was killed and resumed has the curves of an undisturbed one."""
    run_dir = shutil.copytree(whole[0], tmp_path / "run")
    (run_dir / "checkpoints" / "11" / "SHA256SUMS").unlink()
    resume = ["--recipe", RECIPE, "--workdir", run_dir, "--resume", "--steps"]
    environment = {"XLA_FLAGS": FUSIONS}
    flags = [*resume, 100_000, "--keep-checkpoints", 100_000]
    process = train_process(*flags, cwd=tmp_path, stderr=subprocess.DEVNULL, environment=environment)
    wait_for_line(process, "15:")
    process.send_signal(signal.SIGKILL)
    finish(process)
    for step in checkpoint_steps(run_dir / "checkpoints"):
        if step > 11:  # that it may have saved
            shutil.rmtree(run_dir / "checkpoints" / str(step))
    assert run_cli("train", *resume, 11) == 0
    assert "resuming from step 8" in capsys.readouterr().out
    assert read_tensorboard(run_dir) == read_tensorboard(whole[0])
    assert [row["last_step"] for row in timing_rows(run_dir)] == [11, 11]
