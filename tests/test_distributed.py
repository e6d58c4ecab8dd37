"""Batches that several devices share: eight that are one CPU, and jobs of several processes."""

import json
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import (
    FLAGS,
    QUICK_COMPILATION,
    assert_same_run,
    finish,
    free_port,
    metric_rows,
    one_error_line,
    read_tensorboard,
    run_cli,
    run_program,
    scalars,
    small_gan,
    timing_rows,
    traced_steps,
    wait_for,
)

from dcgan_jax import TrainConfig, load_run
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.distributed import DevicesError, data_mesh, init_distributed
from dcgan_jax.training.loop import _place
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run import Run

# Programs that no other test runs are compiled quickly.
DEVICES = "--xla_force_host_platform_device_count=8"
EIGHT = {"XLA_FLAGS": f"{DEVICES} {QUICK_COMPILATION}"}
# Batch normalisation takes these away again, so their gradients are rounding alone, and RMSprop makes as large a
# step of rounding as of anything: they differ between any two programs, and change nothing that is learned.
CANCELLED = [f"generator/params/{layer}/bias" for layer in ("dense", "conv_1", "conv_2", "conv_3")]


@pytest.mark.parametrize("gan", ["narrow", pytest.param("tutorial", marks=pytest.mark.slow)])
def test_eight_devices_take_the_steps_of_one(gan):
    """Ten steps, in float64; the tutorial's GAN on eight devices takes more than 5 GB of memory."""
    loss_gaps, gaps, collectives, work = json.loads(run_program("eight_devices_float64.py", gan, **EIGHT))
    assert len(loss_gaps) == 20
    assert max(loss_gaps) < 1e-10
    assert {name: gap for name, gap in gaps.items() if gap > 1e-9}.keys() <= set(CANCELLED)
    # Gradients, statistics and metrics are summed over the devices; nothing of the batch leaves the device it is on.
    assert {kind for _, kind in collectives} == {"all-reduce"}
    assert 5 <= len(collectives) <= 20
    # Each device draws its own fakes alone: if all drew all of them, that would be more than a half.
    assert work < 1 / 3
    assert not any(f"f64[{n}," in shapes or "u8[" in shapes for shapes, _ in collectives for n in (8, 16))


@pytest.mark.slow
def test_float32_descent_on_eight_devices():
    """Losses to 1e-5 and each network, as one vector, to 1e-4, where an optimizer does not magnify rounding."""
    gaps = json.loads(run_program("eight_devices_float32.py", XLA_FLAGS=DEVICES))  # rounding as users have it
    for name, gap in gaps.items():
        losses, params = (" ".join(f"{value:.0e}" for value in gap[what]) for what in ("losses", "params"))
        print(f"{name}: losses by step {losses}; parameters of G and D after ten {params}")
    assert max(gaps["descent"]["losses"]) < 1e-5
    assert max(gaps["descent"]["params"]) < 1e-4


@pytest.fixture
def job(train_process, wheel, tmp_path):
    """Start a job of so many processes on this machine, as a cluster would; all are killed at the end.

    What process i prints is in ``<run directory>-<i>.txt``; ``sites`` names installations other than the wheel.
    """
    started = []

    def start(count, *flags, run_dir, sites=None, compilation=QUICK_COMPILATION):
        variables = {
            "JAX_PLATFORMS": "cpu",
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
            "JAX_NUM_PROCESSES": str(count),
            "XLA_FLAGS": compilation,
        }
        flags = ("--distributed", "--workdir", run_dir, *flags)
        for i in range(count):
            environment = {**variables, "JAX_PROCESS_ID": str(i), "PYTHONPATH": str((sites or {}).get(i, wheel))}
            with (tmp_path / f"{run_dir.name}-{i}.txt").open("w") as printed:
                options = {"stdout": printed, "stderr": subprocess.STDOUT}
                started.append(train_process(*flags, cwd=tmp_path, environment=environment, **options))
        return started[-count:]

    yield start
    for process in started:
        process.kill()
        process.wait()


def assert_same_losses(run_dir, other):
    """The rows of a run of one process; from step to step RMSprop multiplies what rounding has made different."""
    ours, theirs = metric_rows(run_dir), metric_rows(other)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, expected in zip(ours, theirs, strict=True):
        assert row["d_loss"] == pytest.approx(expected["d_loss"], rel=1e-5 if row["step"] == 1 else 0.1)
        assert row["g_loss"] == pytest.approx(expected["g_loss"], rel=1e-5 if row["step"] == 1 else 0.1)


@pytest.mark.slow
def test_two_processes_write_the_run_of_one(job, finished, tmp_path):
    """The primary process alone writes, logs, profiles and times; dispatches of several steps are cut alike on both."""
    run_dir = tmp_path / "run"
    logs = ["--tensorboard", "--profile", 2, "--steps-per-call", 3]
    processes = job(2, "--steps", 11, *FLAGS, *logs, run_dir=run_dir)
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    assert_same_losses(run_dir, finished[0])
    assert {p.relative_to(run_dir) for p in run_dir.rglob("*.png")} == {
        p.relative_to(finished[0]) for p in finished[0].rglob("*.png")
    }
    assert checkpoint_steps(run_dir / "checkpoints") == checkpoint_steps(finished[0] / "checkpoints")
    assert not list(run_dir.rglob("*process_1*"))
    scores = [(step, name) for step, name, _ in read_tensorboard(run_dir) if name != "samples"]
    assert sorted(scores) == sorted((step, name) for step, name, _ in scalars(run_dir))
    assert traced_steps(run_dir / "profile")[0] == [2, 3]
    assert [row["last_step"] for row in timing_rows(run_dir)] == [11]
    assert "profiled" not in (tmp_path / "run-1.txt").read_text()
    assert "on cpu, 2 devices" in (tmp_path / "run-0.txt").read_text()
    assert "[D loss" not in (tmp_path / "run-1.txt").read_text()
    # The checkpoint is one like any other: a single process reads it.
    assert int(load_run(run_dir).state.step) == 11


@pytest.mark.slow
def test_job_survives_sigterm_and_sigkill(job, train_process, tmp_path):
    """Two processes, one of which has SIGTERM; then four, one of which is killed; then one resumes to the end."""
    run_dir = tmp_path / "run"
    flags = ["--log-every", 3, "--sample-every", 5, "--checkpoint-every", 4, "--seed", 3, "--batch-size", 4]
    assert run_cli("train", "--steps", 60, *flags, "--workdir", tmp_path / "whole") == 0

    processes = job(2, "--steps", 60, *flags, run_dir=run_dir)
    wait_for(lambda: (run_dir / "checkpoints" / "8").exists())
    processes[1].send_signal(signal.SIGTERM)
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    saved = checkpoint_steps(run_dir / "checkpoints")[0]
    assert f"stopped and saved at step {saved}" in (tmp_path / "run-0.txt").read_text()

    processes = job(4, "--resume", run_dir=run_dir)
    wait_for(lambda: checkpoint_steps(run_dir / "checkpoints")[0] > saved + 4)
    processes[2].kill()
    assert all(process.wait(timeout=600) != 0 for process in processes)
    assert "error: the job failed" in (tmp_path / "run-0.txt").read_text()
    assert "Traceback" not in (tmp_path / "run-0.txt").read_text()

    killed_at = checkpoint_steps(run_dir / "checkpoints")[0]
    assert killed_at < 60
    code, out, err = finish(train_process("--resume", "--workdir", run_dir, cwd=tmp_path))
    assert code == 0, err
    assert "saved with devices 4, now 1" in out
    assert f"resuming from step {killed_at}" in out
    assert [row["step"] for row in metric_rows(run_dir)] == [row["step"] for row in metric_rows(tmp_path / "whole")]
    assert metric_rows(run_dir)[0]["d_loss"] == pytest.approx(metric_rows(tmp_path / "whole")[0]["d_loss"], rel=1e-5)
    print(
        f"saved at {saved} by SIGTERM, killed after {killed_at}; last rows",
        metric_rows(run_dir)[-1],
        metric_rows(tmp_path / "whole")[-1],
    )


def test_job_saves_at_a_batch_systems_signal(job, small_flags, tmp_path):
    """SLURM sends it to each process, and may do so again."""
    run_dir = tmp_path / "run"
    processes = job(2, "--steps", 100_000, *small_flags, run_dir=run_dir)
    wait_for(lambda: (run_dir / "checkpoints" / "4").exists())
    for process in (*processes, *processes):
        process.send_signal(signal.SIGUSR1)
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    saved = checkpoint_steps(run_dir / "checkpoints")[0]
    assert f"stopped and saved at step {saved}" in (tmp_path / "run-0.txt").read_text()


@pytest.mark.slow
def test_streamed_job_has_the_bits_of_one_in_memory(job, small_flags, tmp_path):
    """In calls of several steps; each process reads the rows of its own devices."""
    for name, flag in (("memory", "--no-stream"), ("streamed", "--stream")):
        flags = [*small_flags, "--steps", 11, "--steps-per-call", 3, flag]
        processes = job(2, *flags, run_dir=tmp_path / name, compilation="")  # as users compile
        assert [process.wait(timeout=600) for process in processes] == [0, 0]
    assert_same_run(tmp_path / "streamed", tmp_path / "memory", small_gan)


def test_failed_primary_ends_the_others(job, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").touch()
    processes = job(2, "--steps", 5, "--batch-size", 2, run_dir=tmp_path / "run")
    assert [process.wait(timeout=600) for process in processes] == [2, 2]
    assert "is not an empty directory" in (tmp_path / "run-0.txt").read_text()
    assert "error" not in (tmp_path / "run-1.txt").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--devices", 2], "--devices must be at most 1, those of this machine, got 2"),
        (["--devices", 0], "--devices must be between 1 and"),
    ],
)
def test_unavailable_devices_are_refused(flags, message, tmp_path, capsys):
    assert run_cli("train", *flags, "--workdir", tmp_path / "run") == 2
    assert message in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


# The variables of a SLURM job, and those of a process that srun has started in it.
SALLOC = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
TASK = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
JOB = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}
WITHOUT_SRUN = "this is a SLURM job, and srun has not started this process: start it with srun"


@pytest.mark.parametrize(
    ("flags", "environment", "start", "end"),
    [
        (
            ["--distributed"],
            {},
            "--distributed finds no job to join (coordinator_address should be defined",
            ": set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID",
        ),
        (["--distributed"], SALLOC, "--distributed finds no job to join (", f": {WITHOUT_SRUN}"),
        (
            ["--dry-run"],
            {"JAX_PLATFORMS": "nonsense"},
            "JAX finds no device (Unable to initialize backend 'nonsense'",
            "",
        ),
    ],
)
def test_no_job_and_no_device_are_one_line(flags, environment, start, end, train_process, tmp_path):
    process = train_process(*flags, "--workdir", tmp_path / "run", cwd=tmp_path, environment=environment)
    code, out, err = finish(process)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {start}")
    assert err.endswith(f"{end}\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({**SALLOC, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, WITHOUT_SRUN),  # the shell of sbatch
        (
            {**SALLOC, **TASK, "SLURM_STEP_NUM_TASKS": "1"},  # the shell of salloc, where it is a step
            "would wait for the 2 tasks of this SLURM job, and this process is the only one: start all of them with",
        ),
        ({**SALLOC, **TASK, "SLURM_STEP_NUM_TASKS": "2"}, "look whether srun has started all of its tasks"),
        ({**SALLOC, **TASK, **JOB, "SLURM_STEP_NUM_TASKS": "1"}, "whether they reach 10.0.0.1:1234"),
        ({**SALLOC, **JOB, "JAX_PROCESS_ID": ""}, ": set JAX_PROCESS_ID$"),
        (JOB, "start a process for each JAX_PROCESS_ID, and look whether they reach 10.0.0.1:1234"),
        ({**JOB, "JAX_NUM_PROCESSES": "two"}, "`distributed`: JAX_NUM_PROCESSES must be an integer, got 'two'"),
    ],
)
def test_what_starts_a_job_is_said(environment, message, monkeypatch):
    """Where JAX joins none: it would ask for its own variables whoever started the process."""

    def fail(**_):
        raise ValueError("no others")

    monkeypatch.setattr("jax.distributed.initialize", fail)
    for name in (*SALLOC, *TASK, *JOB, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DevicesError, match=message):
        init_distributed()


@pytest.mark.slow
def test_error_on_another_process_ends_the_job(job, damaged_wheel, tmp_path):
    """The second process has a damaged data set; nobody waits for the minutes that JAX would."""
    site, archive = damaged_wheel
    began = time.monotonic()
    processes = job(2, "--steps", 5, "--batch-size", 2, run_dir=tmp_path / "run", sites={1: site})
    assert processes[1].wait(timeout=600) == 2
    assert processes[0].wait(timeout=600) != 0
    assert time.monotonic() - began < 150
    assert f"error: the job failed ({archive} is damaged" in (tmp_path / "run-1.txt").read_text()


def test_other_images_on_another_process_are_refused(tmp_path, small_state):
    """Which loads its own and has not checked them, as the primary has."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8))
    config, record = TrainConfig(dataset=str(tmp_path / "a.npy")), RunRecord((8, 8, 1), data_digest="0" * 64)
    with pytest.raises(ConfigError, match="those that the run in run began with .* give all machines the same images"):
        _place(Run(config, small_state, {"run": jax.random.key(0)}, {}, record, Path("run")), data_mesh(None))


def test_batch_must_be_split_evenly(tmp_path):
    """Eight devices cannot share a batch of two, and two of them can; no batch of three images suits eight."""
    *lines, codes = run_program("uneven_batch.py", tmp_path / "run", **EIGHT).splitlines()
    message = "error: --batch-size must be a multiple of 8, the devices that share it, got 2"
    assert sum(line.startswith(message) for line in lines) == 2
    assert json.loads(codes) == [2, 0, 2, 2]
    assert lines[-1].endswith("run.npy, got 8: choose a smaller one, and at most 3 --devices")


@pytest.mark.slow
def test_explicit_axes_and_shard_map():
    """And under checkpoint, with small networks."""
    assert run_program("explicit_axes.py", **EIGHT).strip() == "done"
