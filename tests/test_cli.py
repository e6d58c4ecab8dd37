"""The command line: files, output, flags, exit codes, and errors of one line.

What a user's shell would start, or a signal would end, runs in a process of its own, from the built wheel and in
another directory; all other commands run in this process.
"""

import contextlib
import importlib.metadata
import os
import re
import runpy
import signal
import subprocess
import sys

import jax
import numpy as np
import platformdirs
import pytest
from helpers import (
    FLAGS,
    FUSIONS,
    RECIPE,
    ROOT,
    all_files,
    assert_same_checkpoints,
    compile_steps_quickly,
    finish,
    latest_valid_step,
    metric_rows,
    one_error_line,
    run_cli,
    run_files,
    screen,
    small_gan,
    terminal,
    wait_for_line,
)
from PIL import Image
from programs.small_recipe import init

from dcgan_jax import TrainConfig, train
from dcgan_jax.cli import program
from dcgan_jax.training.progress import forecast, format_duration
from dcgan_jax.training.run_dir import read_config

LINE = re.compile(r"^(\d+): \[D loss: [\d.]+, acc: [\d.]+\]  \[A loss: [\d.]+, acc: [\d.]+\]$", re.MULTILINE)
COMMANDS = [
    *(
        "data",
        "train",
        "sample",
        "interpolate",
        "project",
        "animate",
        "plot",
        "evaluate",
        "report",
        "train-classifier",
        "export",
        "import",
    )
]


def test_run_dir_holds_every_file(finished):
    run_dir, _ = finished
    names = {p.name for p in run_dir.iterdir()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "models.txt",
        "timing.jsonl",
        "reals.png",
        "fakes.png",
        "samples",
        "checkpoints",
        "lock",
    }
    assert {p.name for p in (run_dir / "samples").iterdir()} == {f"{n:06d}.png" for n in (0, 1, 2, 4, 5, 10)}
    assert sorted(int(p.name) for p in (run_dir / "checkpoints").iterdir()) == [4, 8, 11]
    for grid in [*(run_dir / "samples").iterdir(), run_dir / "reals.png", run_dir / "fakes.png"]:
        with Image.open(grid) as png:
            assert (png.size, png.mode) == ((488, 488), "L")
            assert len(np.unique(np.asarray(png))) > 2


def test_metrics_have_a_row_per_logged_step(finished):
    run_dir, _ = finished
    assert [row["step"] for row in metric_rows(run_dir)] == [1, 3, 6, 9]
    for row in metric_rows(run_dir):
        assert set(row) == {"step", "d_loss", "d_accuracy", "g_loss", "g_accuracy"}
        assert all(np.isfinite(value) for value in row.values())
        assert 0 <= row["d_accuracy"] <= 1 >= row["g_accuracy"] >= 0


def test_config_and_models_are_written(finished):
    run_dir, _ = finished
    config, _ = read_config(run_dir)
    assert (config.steps, config.batch_size, config.seed, config.preset) == (11, 2, 3, "tutorial")
    models = (run_dir / "models.txt").read_text()
    assert "2,368,705" in models  # the generator's parameters, and its statistics:
    assert "25,536" in models
    assert "4,311,553" in models


def test_lines_without_terminal_are_the_tutorials(finished):
    _, out = finished
    assert LINE.findall(out) == ["1", "3", "6", "9", "11"]
    assert "steps/s: the remaining" in out
    assert "done: 11 steps" in out


def test_ctrl_c_saves_and_resumes_to_same_bits(train_process, small_flags, tmp_path, monkeypatch):
    """Interrupted, then resumed on a terminal: the same metrics, samples and parameters as without an interruption."""
    monkeypatch.setenv("XLA_FLAGS", FUSIONS)
    process = train_process("--steps", 100_000, *small_flags, cwd=tmp_path)
    wait_for_line(process, "6:")
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130
    assert err == "Ctrl-C: stopping after this step, then saving; Ctrl-C again stops at once\n"
    stopped = int(re.search(r"stopped and saved at step (\d+)", out)[1])
    assert 6 <= stopped < 100_000
    last, whole = stopped + 5, tmp_path / "elsewhere" / "runs" / "0001"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_cli("train", "--steps", last, *small_flags) == 0
    run_dir = tmp_path / "runs" / "0001"
    assert (run_dir / "checkpoints" / str(stopped)).is_dir()

    # As after a kill: a row past the checkpoint, and half a row.
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "d_loss": 0.0}\n{"step": 1')

    monkeypatch.chdir(tmp_path)
    with terminal(80) as (stream, shown), contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        assert run_cli("train", "--resume", "--recipe", RECIPE, "--steps", last) == 0
    lines = screen(shown)
    assert lines[0] == f"resuming from step {stopped} in runs/0001"
    assert re.fullmatch(rf"{last}/{last} \|.*\| D \d\.\d\d \d+% G \d\.\d\d \d+% .*(step/s|s/step) ETA 00:00", lines[-3])
    assert lines[-2].startswith(f"done: {last} steps")

    ours, theirs = run_files(run_dir), run_files(whole)
    assert set(ours) == set(theirs)
    # Flax puts the columns of its summary in another order from process to process.
    assert {name for name in ours if ours[name] != theirs[name]} <= {"models.txt"}
    assert_same_checkpoints(run_dir / "checkpoints" / str(last), whole / "checkpoints" / str(last), small_gan)


def test_four_steps_per_call_write_the_same_run(small_run, small_flags, tmp_path, capsys):
    whole = small_run
    run_dir = tmp_path / "run"
    code = run_cli("train", "--steps", 11, *small_flags, "--steps-per-call", 4, "--workdir", run_dir)
    out, err = capsys.readouterr()
    assert code == 0, err
    assert LINE.findall(out) == ["1", "3", "6", "9", "11"]
    assert run_files(run_dir).keys() == run_files(whole).keys()
    for ours, theirs in zip(metric_rows(run_dir), metric_rows(whole), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert {p.name for p in (run_dir / "checkpoints").iterdir()} == {"4", "8", "11"}


def test_second_start_compiles_nothing(train_process, finished, cache_home, tmp_path):
    """Programs are cached in the user's cache directory."""
    cache = cache_home / "dcgan-jax" / "xla"
    assert any(path.name.startswith("jit_run_steps") for path in cache.iterdir())
    log = {"JAX_LOG_COMPILES": "1"}
    process = train_process("--steps", 1, *FLAGS, cwd=tmp_path, environment=log, stdout=subprocess.DEVNULL)
    code, _, err = finish(process)
    assert code == 0, err
    assert "cache hit for 'jit_run_steps'" in err
    assert "cache miss" not in err


@pytest.fixture
def cache_dir():
    """Set JAX's cache directory; afterwards it is as before. JAX's open cache is not affected."""
    before = jax.config.jax_compilation_cache_dir
    yield lambda path: jax.config.update("jax_compilation_cache_dir", path)
    jax.config.update("jax_compilation_cache_dir", before)


def test_compilation_cache_can_be_turned_off(cache_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    nothing = ["train", "--resume", "--workdir", tmp_path / "absent"]
    cache_dir(None)
    assert run_cli(*nothing, "--no-compilation-cache") == 2
    assert jax.config.jax_compilation_cache_dir is None
    assert run_cli(*nothing) == 2
    assert jax.config.jax_compilation_cache_dir == str(platformdirs.user_cache_path("dcgan-jax") / "xla")
    cache_dir(str(tmp_path / "mine"))  # as JAX_COMPILATION_CACHE_DIR sets it
    assert run_cli(*nothing) == 2
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    cache_dir("")  # JAX then keeps none
    assert run_cli(*nothing) == 2
    assert jax.config.jax_compilation_cache_dir == ""
    capsys.readouterr()


def test_signal_mid_step_saves_the_next_step(interrupt_at, small_flags, tmp_path):
    """The signal comes while step 2's samples are written, after the step has decided whether it is the last."""
    interrupt_at("000002.png")
    dataset = str(small_flags[small_flags.index("--dataset") + 1])
    outcome = train(TrainConfig(steps=9, batch_size=2, dataset=dataset, workdir=str(tmp_path / "run")), init=init)
    assert outcome.stopped_by == signal.SIGINT
    assert outcome.state.step == 3
    assert latest_valid_step(outcome.folder / "checkpoints") == (3, [])


def test_interrupt_in_first_step_saves_it(interrupt_at, small_flags, tmp_path, capsys):
    interrupt_at("reals.png")
    assert run_cli("train", *small_flags, "--workdir", tmp_path / "run") == 130
    message = "Ctrl-C: stopping after this step, then saving; Ctrl-C again stops at once\n"
    assert capsys.readouterr().err == message
    assert latest_valid_step(tmp_path / "run" / "checkpoints") == (1, [])


def test_batch_that_does_not_fit_is_refused_first(small_flags, tmp_path, monkeypatch, capsys):
    """Nothing of a run is written, so that the next one may have the directory. The tutorial's size is measured."""
    compile_steps_quickly(monkeypatch)
    monkeypatch.setattr("dcgan_jax.memory.free_memory", lambda: 2**26)
    assert run_cli("train", "--batch-size", 2, "--steps", 1, "--workdir", tmp_path / "run") == 2
    message = r"error: --batch-size 2: a step takes 0\.[1-9] GiB of memory, and 0\.1 GiB are free: .*\n"
    assert re.fullmatch(message, capsys.readouterr().err)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
    monkeypatch.undo()
    assert run_cli("train", *small_flags, "--steps", 1, "--workdir", tmp_path / "run") == 0


def test_interrupt_of_other_command_is_one_line(finished, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    assert run_cli("export", finished[0], "--format", "safetensors", "--out", tmp_path / "a.safetensors") == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_average_that_no_preset_kept_is_refused(finished, tmp_path, capsys):
    assert run_cli("sample", finished[0], "--weights", "average", "--out", tmp_path / "a.png") == 2
    assert "keeps no average: its preset has none, and it was trained without --ema" in one_error_line(capsys)


def test_resume_takes_more_steps_only(finished, capsys):
    run_dir, _ = finished
    before = run_files(run_dir)
    for flags, message in (
        (["--batch-size", "4"], "has --batch-size 2, not 4"),
        (["--preset", "article", "--seed", "1"], "has --seed 3, not 1, --preset tutorial, not article"),
        (["--steps", "11"], "already has 11 steps"),
        ([], "already has 11 steps"),
    ):
        assert run_cli("train", "--workdir", run_dir, "--resume", *flags) == 2
        assert message in one_error_line(capsys)
    assert run_cli("train", "--workdir", run_dir, "--resume", "--steps", 12, "--dry-run") == 0
    assert "would resume" in capsys.readouterr().out
    assert run_files(run_dir) == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("", "the following arguments are required: command"),
        ("trian", "invalid choice: 'trian'"),
        ("--steps 5", "the following arguments are required: command"),
        ("train --steps 0", "--steps must be between 1"),
        ("train --steps many", "invalid int value: 'many'"),
        ("train --batch-size -1", "--batch-size must be between 1"),
        ("train --batch-size 60001", "--batch-size must be at most 60000"),
        ("train --preset adam", "--preset must be one of tutorial, article, upstream, keras3, recommended, got 'adam'"),
        ("train --dataset cats --dry-run", "unknown data set 'cats': choose from mnist, fashion_mnist, kmnist"),
        ("train --dataset ./nowhere", "there is no file or folder"),
        ("train --dataset gs://bucket/a.zip", "--dataset: the data set must be a local path, not a URL"),
        ("train --image-size 30", "--image-size must have sides that are multiples of 4 from 4 to 1024, got 30: 28"),
        ("train --image-size 28x", "--image-size must be N or HxW"),
        ("train --channels 4", "--channels must be 1 or 3, got 4"),
        ("train --workdir full", "full is not an empty directory"),
        ("train --workdir full/file", "not an empty directory"),
        ("train --workdir full/file/below", "cannot write the run directory"),
        ("train --workdir /proc/nowhere", "cannot write the run directory"),
        ("train --resume", "nothing to resume"),
        ("train --resume --workdir full", "nothing to resume in full"),
        ("train --resume --workdir absent", "nothing to resume in absent"),
        ("train --stepz 5", "unrecognized arguments: --stepz"),
        ("train --step 5", "unrecognized arguments: --step"),
        ("train extra", "unrecognized arguments: extra"),
        ("sample", "the following arguments are required: RUN"),
        ("sample absent", "there is no run in absent"),
        ("sample full", "there is no run in full"),
        ("sample full --samples 0", "--samples must be between 1"),
        ("sample full --samples few", "invalid int value: 'few'"),
        ("sample full --seed -1", "--seed must be between 0"),
        ("sample full --seed 2147483640", "--seed must be between 0 and 2147483632 for 16 samples, got 2147483640"),
        ("sample full --seeds 1,x", "--seeds must be numbers and ranges, such as 17,42,100-115, got 'x'"),
        ("sample full --seeds 5-3", "--seeds must be between 0 and 2147483647, and ranges go up, got 5-3"),
        ("sample full --seeds 2147483648", "--seeds must be between 0 and 2147483647"),
        ("sample full --seeds 0-2147483647", "--seeds must be 60000 seeds at most"),
        ("sample full --seeds 7,1-9", "--seeds has 7 twice"),
        ("sample full --seeds 7 --seed 1", "--seeds names every image: leave --samples and --seed out"),
        ("sample full --out a.jpg", "--out must end in .png or .npy, or be a directory without a suffix, got a.jpg"),
        ("sample full --out full", "full already exists: choose another --out"),
        ("sample full --out full/file", "full/file already exists: choose another --out"),
        ("sample full --out nodir/new", "the directory nodir of --out does not exist: create it"),
        ("interpolate full --seeds 1,2 --out a.jpg", "--out must end in .png or .gif or .webp or .mp4, got a.jpg"),
        ("interpolate full --seeds 1", "--seeds must be at least two"),
        ("interpolate full --seeds 1,2 --frames 1", "--frames must be between 2 and 5000 for 2 seeds, got 1"),
        ("interpolate full --seeds 0-2501", "--seeds must be 2501 seeds at most, got 2502"),
        ("interpolate full --seeds 1-9 --frames 700", "--frames must be between 2 and 625 for 9 seeds, got 700"),
        ("interpolate absent --seeds 1,2", "there is no run in absent"),
        ("animate full", "there is no run in full"),
        ("animate full --fps 0", "--fps must be between 1 and 50, got 0"),
        ("animate full --out a.png", "--out must end in .gif or .webp or .mp4, got a.png"),
        ("plot", "the following arguments are required: RUN"),
        ("plot full", "there is no run in full"),
        ("plot full --out a.jpg", "--out must end in .png or .svg or .pdf, got a.jpg"),
        ("sample full --weights best", "invalid choice: 'best'"),
        ("evaluate", "the following arguments are required: RUN"),
        ("evaluate absent", "there is no run in absent"),
        ("evaluate absent.npy", "there is no file or folder absent.npy"),
        ("evaluate absent.npy --checkpoint 5", "--checkpoint is for runs"),
        ("evaluate full --checkpoint last", "invalid int value: 'last'"),
        ("evaluate absent.npy --classifier absent.npz", "cannot read the classifier absent.npz"),
        ("train-classifier", "the following arguments are required: --dataset"),
        ("train-classifier --dataset ./absent --out a.npz", "there is no file or folder absent"),
        ("train-classifier --dataset mnist --out a.png", "--out must end in .npz, got a.png"),
        ("export", "the following arguments are required: RUN, --format"),
        ("export full --format pickle", "invalid choice: 'pickle'"),
        ("export absent --format safetensors", "there is no run in absent"),
        ("export full --format onnx --out a.png", "--out must end in .onnx for --format onnx, got a.png"),
        ("export full --format onnx --network both", "invalid choice: 'both'"),
        ("import", "the following arguments are required: FILE"),
        ("import absent.safetensors", "absent.safetensors"),
        ("import full/file", "full/file"),
        ("import a.safetensors b.safetensors", "cannot read a.safetensors"),
        ("import absent.safetensors --steps 0", "--steps must be between 1"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert run_cli(*argv.split()) == 2
    assert message in one_error_line(capsys)
    assert all_files(tmp_path) == {"full/file": b"mine"}


def test_new_run_leaves_an_old_one_as_it_is(finished, capsys):
    run_dir, _ = finished
    before = run_files(run_dir)
    assert run_cli("train", "--workdir", run_dir) == 2
    assert "already holds a run: add --resume" in one_error_line(capsys)
    assert run_files(run_dir) == before


def test_dry_run_prints_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli("train", "--dry-run", "--steps", 5) == 0
    out = capsys.readouterr().out
    assert '"steps": 5' in out
    assert "would train in runs/0001, on 60,000 images" in out
    assert "4,311,553" in out
    assert list(tmp_path.iterdir()) == []


def test_train_help_lists_flags_with_defaults(capsys):
    assert run_cli("train", "--help") == 0
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
    assert max(map(len, out.splitlines())) <= 80


def test_help_lists_every_command(capsys):
    """Each with one line; each has a help text of its own, under its own name."""
    assert run_cli("--help") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.findall(r"^  ([a-z]+(?:-[a-z]+)*) +\S.*", out, re.MULTILINE) == COMMANDS
    assert "usage: dcgan-jax [-h] [--version] COMMAND ..." in out
    for command in COMMANDS:
        assert run_cli(command, "--help") == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out.startswith(f"usage: dcgan-jax {command} [-h]")
        assert max(map(len, out.splitlines())) <= 80


def run_as_process(monkeypatch, run, *argv):
    """Call ``run`` as Python would start it with these arguments; its exit code."""
    monkeypatch.setattr(sys, "argv", list(argv))
    with pytest.raises(SystemExit) as done:
        run()
    return done.value.code


def test_script_and_module_are_the_same_command(wheel, monkeypatch, capsys):
    (installed,) = importlib.metadata.distributions(name="dcgan-jax", path=[str(wheel)])
    (script,) = installed.entry_points
    assert (script.group, script.name, script.value) == ("console_scripts", "dcgan-jax", "dcgan_jax.cli:program")
    assert script.load() is program

    def module():
        runpy.run_module("dcgan_jax", run_name="__main__", alter_sys=True)

    for argv, code in ((["--help"], 0), (["export", "--help"], 0), (["train", "--steps", "0"], 2), (["trian"], 2)):
        assert run_as_process(monkeypatch, lambda: sys.exit(program()), "dcgan-jax", *argv) == code
        expected = capsys.readouterr()
        assert run_as_process(monkeypatch, module, "dcgan_jax", *argv) == code
        out, err = capsys.readouterr()
        # The usage is wrapped by the length of the name.
        assert out.replace("python -m dcgan_jax", "dcgan-jax").split() == expected.out.split()
        assert err == expected.err


def test_installed_script_prints_version(wheel, tmp_path):
    done = subprocess.run(
        [wheel / "bin" / "dcgan-jax", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    (installed,) = importlib.metadata.distributions(name="dcgan-jax", path=[str(wheel)])
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dcgan-jax {installed.version}\n", "")


def test_train_py_is_the_train_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / "train.py")
    assert run_as_process(monkeypatch, lambda: runpy.run_path(path, run_name="__main__"), path, "--steps", "0") == 2
    assert capsys.readouterr() == ("", "error: --steps must be between 1 and 2147483647, got 0\n")


def test_slow_device_forecast_names_quicker_runs():
    """First samples within half an hour."""
    config = TrainConfig()
    lines = forecast(config, 9_990, 5.0)  # five seconds a step of 256
    assert "13 h 52 min" in lines[0]
    batch_size, steps, every = map(
        int, re.search(r"`batch_size=(\d+)` `steps=(\d+)` `sample_every=(\d+)`", lines[1]).groups()
    )
    assert steps * 5.0 * batch_size / 256 <= 30 * 60
    assert every <= steps
    TrainConfig(batch_size=batch_size, steps=steps, sample_every=every)
    assert len(forecast(config, 9_990, 0.01)) == 1


def test_durations_are_formatted_for_people():
    assert [format_duration(s) for s in (9, 75, 3_600 * 13 + 61)] == ["9 s", "1 min 15 s", "13 h 01 min"]
