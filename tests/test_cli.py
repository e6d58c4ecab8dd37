"""The command line, for real: processes of their own, in another folder, from the built wheel."""

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import FLAGS, ROOT, assert_same_checkpoints, contents, one_line, rows
from PIL import Image

from dcgan_jax import TrainConfig
from dcgan_jax.cli import main, train_main
from dcgan_jax.training.progress import duration, forecast

LINE = re.compile(r"^(\d+): \[D loss: [\d.]+, acc: [\d.]+\]  \[A loss: [\d.]+, acc: [\d.]+\]$", re.MULTILINE)


@pytest.fixture(autouse=True)
def no_compilation_cache(monkeypatch):
    """What the command line sets for its whole process is not for this one."""
    monkeypatch.setattr("dcgan_jax.cli._keep_compiled_programs", lambda: None)


def test_a_run_folder_holds_what_it_promises(finished):
    folder, _ = finished
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "models.txt",
        "reals.png",
        "fakes.png",
        "samples",
        "checkpoints",
        "lock",
    }
    assert {p.name for p in (folder / "samples").iterdir()} == {f"{n}.png" for n in (0, 1, 2, 4, 5, 10)}
    assert sorted(int(p.name) for p in (folder / "checkpoints").iterdir()) == [4, 8, 11]
    for picture in [*(folder / "samples").iterdir(), folder / "reals.png", folder / "fakes.png"]:
        with Image.open(picture) as png:
            assert (png.size, png.mode) == ((488, 488), "L")
            assert len(np.unique(np.asarray(png))) > 2


def test_the_metrics_have_a_row_each_time_they_are_logged(finished):
    folder, _ = finished
    assert [row["step"] for row in rows(folder)] == [1, 3, 6, 9]
    for row in rows(folder):
        assert set(row) == {"step", "d_loss", "d_accuracy", "g_loss", "g_accuracy"}
        assert all(np.isfinite(value) for value in row.values())
        assert 0 <= row["d_accuracy"] <= 1 >= row["g_accuracy"] >= 0


def test_the_settings_and_the_models_are_written_down(finished):
    folder, _ = finished
    config = TrainConfig.from_json((folder / "config.json").read_text())
    assert (config.steps, config.batch_size, config.seed, config.preset) == (11, 2, 3, "tutorial")
    models = (folder / "models.txt").read_text()
    assert "2,368,705" in models  # the generator's parameters, and its statistics:
    assert "25,536" in models
    assert "4,311,553" in models


def test_without_a_terminal_the_lines_are_the_tutorials(finished):
    _, out = finished
    assert LINE.findall(out) == ["1", "3", "6", "9", "11"]
    assert "steps/s: the remaining" in out
    assert "done: 11 steps" in out


def test_ctrl_c_saves_and_resume_goes_on_to_the_same_bits(command, finished, tmp_path):
    """Interrupted, then resumed on a terminal; the same metrics, pictures and parameters as undisturbed."""
    whole, _ = finished
    process = command("--steps", 11, *FLAGS, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stdout:
        if line.startswith("6:"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    stopped = int(re.search(r"stopped and saved at step (\d+)", out)[1])
    assert 6 <= stopped < 11
    folder = tmp_path / "runs" / "0001"
    assert (folder / "checkpoints" / str(stopped)).is_dir()

    # As after a kill: a row past the checkpoint, and half a row.
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "d_loss": 0.0}\n{"step": 1')

    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 160))
    process = command("--resume", cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    bar = b""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        bar += chunk
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert b"11/11" in bar
    assert b"d_loss=" in bar
    assert b"g_accuracy=" in bar

    ours, theirs = contents(folder), contents(whole)
    assert set(ours) == set(theirs)
    # Flax puts the columns of its summary in another order from process to process.
    assert {name for name in ours if ours[name] != theirs[name]} <= {"models.txt"}
    assert_same_checkpoints(folder / "checkpoints" / "11", whole / "checkpoints" / "11")


def test_four_steps_a_call_leave_the_same_run(command, finished, tmp_path):
    whole, _ = finished
    process = command(
        *("--steps", 11, *FLAGS, "--steps-per-call", 4), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert LINE.findall(out) == ["1", "3", "6", "9", "11"]
    folder = tmp_path / "runs" / "0001"
    assert contents(folder).keys() == contents(whole).keys()
    for ours, theirs in zip(rows(folder), rows(whole), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"4", "8", "11"}


def test_a_second_start_compiles_nothing(command, finished, cache_home, tmp_path):
    """Programs are kept in the user's cache folder."""
    kept = cache_home / "dcgan-jax" / "xla"
    assert any(path.name.startswith("jit_run_steps") for path in kept.iterdir())
    log = {"JAX_LOG_COMPILES": "1"}
    process = command(
        "--steps", 1, *FLAGS, cwd=tmp_path, environment=log, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "cache hit for 'jit_run_steps'" in err
    assert "cache miss" not in err


def test_the_compilation_cache_can_be_left_alone(monkeypatch, capsys):
    kept = []
    monkeypatch.setattr("dcgan_jax.cli._keep_compiled_programs", lambda: kept.append(True))
    nothing = ["--resume", "--workdir", "absent"]
    assert train_main([*nothing, "--no-compilation-cache"]) == 2
    assert kept == []
    assert train_main(nothing) == 2
    assert kept == [True]
    capsys.readouterr()


def test_a_signal_in_the_middle_of_a_step_still_saves_what_it_says(run_python, tmp_path):
    """The signal comes while step 2's picture is drawn, after the step has decided whether it is the last."""
    out = run_python(
        f"""
        import signal
        from dcgan_jax import TrainConfig, loop, records
        from dcgan_jax.training.checkpoint import newest_intact
        draw = records.save_grid
        def draw_and_interrupt(path, images):
            draw(path, images)
            if path.name == "2.png":
                signal.raise_signal(signal.SIGINT)
        records.save_grid = draw_and_interrupt
        outcome = loop.train(TrainConfig(steps=9, batch_size=2, workdir={str(tmp_path / "run")!r}))
        print(outcome.stopped_by.name, int(outcome.state.step), newest_intact(outcome.folder / "checkpoints")[0])
        """
    )
    assert out.splitlines()[-1] == "SIGINT 3 3"


def test_an_interrupt_before_the_first_step_is_told_in_one_line(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dcgan_jax.cli.train", interrupt)
    assert train_main([]) == 130
    assert capsys.readouterr().err == "interrupted; nothing was saved since the last checkpoint\n"


def test_resume_with_more_steps_goes_on_and_with_other_settings_does_not(finished, capsys):
    folder, _ = finished
    before = contents(folder)
    for flags, message in (
        (["--batch-size", "4"], "has batch_size 2, not 4"),
        (["--preset", "article", "--seed", "1"], "has seed 3, not 1, preset tutorial, not article"),
        (["--steps", "11"], "already has 11 steps"),
        ([], "already has 11 steps"),
    ):
        assert train_main(["--workdir", str(folder), "--resume", *flags]) == 2
        assert message in one_line(capsys)
    assert train_main(["--workdir", str(folder), "--resume", "--steps", "12", "--dry-run"]) == 0
    assert "would go on" in capsys.readouterr().out
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--steps 0", "--steps must be between 1"),
        ("--steps many", "invalid int value: 'many'"),
        ("--batch-size -1", "--batch-size must be between 1"),
        ("--batch-size 60001", "--batch-size must be at most 60000"),
        ("--preset adam", "--preset must be one of tutorial, article, upstream, keras3, got 'adam'"),
        ("--dataset cifar10", "--dataset must be one of mnist"),
        ("--workdir full", "full is not an empty folder"),
        ("--workdir full/file", "not an empty folder"),
        ("--workdir full/file/below", "cannot write the run folder"),
        ("--workdir /proc/nowhere", "cannot write the run folder"),
        ("--resume", "nothing to resume"),
        ("--resume --workdir full", "nothing to resume in full"),
        ("--resume --workdir absent", "nothing to resume in absent"),
        ("--stepz 5", "unrecognized arguments: --stepz"),
        ("--step 5", "unrecognized arguments: --step"),
        ("extra", "unrecognized arguments: extra"),
    ],
)
def test_bad_input_is_told_in_one_line_and_nothing_is_written(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/file").write_text("mine")
    try:
        code = train_main(flags.split())
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in one_line(capsys)
    assert contents(tmp_path) == {"full/file": b"mine"}


def test_a_folder_that_holds_a_run_is_left_alone(finished, capsys):
    folder, _ = finished
    before = contents(folder)
    assert train_main(["--workdir", str(folder)]) == 2
    assert "already holds a run: add --resume" in one_line(capsys)
    assert contents(folder) == before


def test_a_dry_run_tells_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train_main(["--dry-run", "--steps", "5"]) == 0
    out = capsys.readouterr().out
    assert '"steps": 5' in out
    assert "would train in runs/0001, on 60,000 images" in out
    assert "4,311,553" in out
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as done:
        main(["train", "--help"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    for flag in [
        "--steps",
        "--batch-size",
        "--seed",
        "--dataset",
        "--data-dir",
        "--workdir",
        "--preset",
        "--sample-every",
        "--log-every",
        "--checkpoint-every",
        "--dtype",
        "--keep-checkpoints",
        "--steps-per-call",
        "--no-compilation-cache",
        "--resume",
        "--dry-run",
    ]:
        assert flag in out
    assert "(default: 10000)" in out
    assert max(map(len, out.splitlines())) <= 120


def test_an_unknown_command_is_told(capsys):
    with pytest.raises(SystemExit) as done:
        main(["trian"])
    assert done.value.code == 2
    assert "invalid choice: 'trian'" in one_line(capsys)


def test_train_py_is_the_same_command(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", "--steps", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --steps must be between 1 and 2147483647, got 0\n"


def test_a_slow_device_is_told_how_to_see_a_picture_within_half_an_hour():
    config = TrainConfig()
    lines = forecast(config, 9_990, 5.0)  # five seconds a step of 256
    assert "13 h 52 min" in lines[0]
    batch_size, steps, every = map(
        int, re.search(r"--batch-size (\d+) --steps (\d+) --sample-every (\d+)", lines[1]).groups()
    )
    assert steps * 5.0 * batch_size / 256 <= 30 * 60
    assert every <= steps
    TrainConfig(batch_size=batch_size, steps=steps, sample_every=every)
    assert len(forecast(config, 9_990, 0.01)) == 1


def test_durations_read_as_people_say_them():
    assert [duration(s) for s in (9, 75, 3_600 * 13 + 61)] == ["9 s", "1 min 15 s", "13 h 01 min"]
