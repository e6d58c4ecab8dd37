"""The measurement of a GPU keeps its time, its rows and its reasons; tried without one."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from helpers import ROOT
from jax import export
from xla_options import LITTLE_OPTIMISED, as_flags

from dcgan_jax import init_state, train_step

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import gpu, gpu_jobs, step_time  # noqa: E402
from benchmarks.systems import System  # noqa: E402


def job(name, measure=lambda deadline: {"figure": 1}, expected=0.0):
    return gpu.Job(name, name, expected, measure)


def run(jobs, path, seconds=60.0):
    gpu.run(jobs, {"rows": []}, path, time.monotonic() + seconds)
    return json.loads(path.read_text())


def wait(deadline):
    """A measurement that is ended by its deadline."""
    time.sleep(max(0.0, deadline - time.monotonic()))
    raise gpu_jobs.JobError("not done")


def fail(_):
    raise gpu_jobs.JobError("out of memory")


def test_the_most_important_rows_come_first():
    names = [each.name for each in gpu.plan(gpu_jobs.FULL)]
    assert names[:2] == ["dcgan-jax, tf32, batch 256", "torch-channels-last, tf32, batch 256"]
    assert len(names) == len(set(names)) == 5 * 3 * 4 + 2  # systems x precisions x batches, idle share and quality
    last = {batch: max(i for i, name in enumerate(names) if name.endswith(f"batch {batch}")) for batch in (256, 64)}
    assert last[256] < last[64]


def test_deadline_is_kept_and_the_rest_is_named(tmp_path):
    began = time.monotonic()
    jobs = [job("first"), job("long", expected=60.0), job("slow", wait), job("last")]
    result = run(jobs, tmp_path / "gpu.json", seconds=0.3)
    assert time.monotonic() - began < 5
    assert [row["name"] for row in result["rows"]] == ["first"]
    assert result["left_out"] == ["long", "slow", "last"]


def test_a_measurement_that_fails_is_a_row(tmp_path):
    jobs = [job("first", fail), job("second", lambda _: {}["a"]), job("third")]
    result = run(jobs, tmp_path / "gpu.json")
    reasons = [(row["name"], row.get("failed")) for row in result["rows"]]
    assert reasons == [("first", "out of memory"), ("second", "KeyError: 'a'"), ("third", None)]
    assert result["left_out"] == []


@pytest.mark.parametrize(
    ("system", "seconds", "message"),
    [
        (System("no_such_peer"), 60, "ModuleNotFoundError: No module named 'benchmarks.peers.no_such_peer'"),
        (System("no_such_peer", ("no_such_package",)), 60, "no_such_package not installed"),
        (System("this_project_loop"), 1, "not done after 1 s"),
    ],
)
def test_a_system_that_cannot_be_measured_says_why(system, seconds, message, monkeypatch):
    monkeypatch.setattr(gpu_jobs, "systems", lambda precision: {"peer": system})
    with pytest.raises(gpu_jobs.JobError) as failed:
        gpu_jobs.steps("peer", "tf32", 2, gpu_jobs.SMALL, time.monotonic() + seconds)
    assert str(failed.value) == message


def test_rows_are_there_when_it_is_killed(tmp_path):
    path = tmp_path / "gpu.json"
    code = (
        "import pathlib, sys, time\n"
        "from benchmarks import gpu\n"
        "first = gpu.Job('first', 'a', 0, lambda _: {'figure': 1})\n"
        "second = gpu.Job('second', 'b', 0, lambda _: time.sleep(60))\n"
        "gpu.run([first, second], {'rows': []}, pathlib.Path(sys.argv[1]), time.monotonic() + 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while "second" not in process.stderr.readline():
            assert process.poll() is None
        process.kill()
    assert process.returncode == -signal.SIGKILL
    result = json.loads(path.read_text())
    assert [row["name"] for row in result["rows"]] == ["first"]
    assert result["left_out"] == ["second"]


@pytest.mark.slow
def test_steps_are_measured(monkeypatch):
    """Ours with small numbers: rates of both ways to call the steps, and the peak of products."""
    monkeypatch.setenv("XLA_FLAGS", as_flags(LITTLE_OPTIMISED))
    row = gpu_jobs.steps("dcgan-jax", "float32", 2, gpu_jobs.SMALL, time.monotonic() + 300)
    assert (row["system"], row["precision"], row["batch_size"], row["device"]) == ("dcgan-jax", "float32", 2, "cpu")
    for rate in (row["steps_per_second"], row["one_by_one"]):
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
    assert 0 < gpu.share_of_peak(row, row["peak_flops"]) < 1
    assert "| 2 | float32 | dcgan-jax |" in gpu.table([row])


def test_float32_is_strict_in_every_product():
    """What the workers' variable sets holds for forward products and gradients alike, in the program for CUDA."""
    state = jax.eval_shape(lambda: init_state(jax.random.key(0)))
    images = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def products(precision):
        with jax.default_matmul_precision(precision):
            program = export.export(jax.jit(lambda *args: train_step(*args)), platforms=["cuda"])(state, images, key)
        lines = program.mlir_module().splitlines()
        return [line for line in lines if "stablehlo.convolution" in line or "stablehlo.dot_general" in line]

    assert [line.count("HIGHEST") for line in products("highest")] == [2] * len(products("default"))
    assert not any("HIGH" in line for line in products("default"))


def test_idle_share_by_hand():
    """Busy from 0 to 4 and from 6 to 10, whatever overlaps."""
    assert gpu_jobs.idle_share([(6, 10), (0, 4), (1, 2), (3, 4), (7, 9)]) == pytest.approx(0.2)
    assert gpu_jobs.idle_share([(5, 9)]) == 0


def test_a_gpu_is_busy_by_its_streams():
    """Not by what the profiler costs, nor by whole steps; and a device goes before the host."""
    event = SimpleNamespace(start_ns=3.0, duration_ns=2.0)
    names = ("Stream #7(Compute)", "CUPTI overhead", "Steps")
    lines = [SimpleNamespace(name=name, events=[event] * n) for n, name in enumerate(names, start=1)]
    planes = [SimpleNamespace(name=name, lines=lines) for name in ("/host:CPU", "/device:GPU:0")]
    assert gpu_jobs.busy(SimpleNamespace(planes=planes)) == [(3.0, 5.0)]
    planes[1] = SimpleNamespace(name="/device:GPU:0", lines=lines[1:])
    with pytest.raises(gpu_jobs.JobError, match="no operation in the trace's /device:GPU:0, which has the lines CUPTI"):
        gpu_jobs.busy(SimpleNamespace(planes=planes))


def test_share_of_peak_by_hand():
    row = {"batch_size": 256, "steps_per_second": {"median": 10.0}}
    assert gpu.share_of_peak(row, 2 * 256 * 10 * step_time.minimum_multiply_adds() * 4) == pytest.approx(0.25)


def saved_rows(path, **about):
    row = {"name": "dcgan-jax, tf32, batch 2", "kind": "dcgan-jax", "failed": "out of memory"}
    rows = [row, {**row, "name": "idle share", "kind": "idle share"}]
    del rows[0]["failed"]
    path.write_text(json.dumps({"machine": gpu.machine(), "small": True, "rows": rows, **about}))


def test_resume_measures_what_is_missing_or_failed(tmp_path, monkeypatch):
    saved_rows(tmp_path / "gpu.json")
    asked = []
    monkeypatch.setattr(gpu, "run", lambda jobs, result, path, deadline: asked.extend(each.name for each in jobs))
    monkeypatch.setattr(gpu, "report", lambda result: "")
    flags = ["--small", "--resume", "--only", "dcgan-jax", "idle", "--json", str(tmp_path / "gpu.json")]
    monkeypatch.setattr(sys, "argv", ["gpu", *flags])
    assert gpu.main() == 0
    assert "idle share" in asked and "dcgan-jax, tf32, batch 2" not in asked
    assert len(asked) == 3  # that, and the other two precisions


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--small --minutes 0", "--minutes must be more than 0, got 0.0"),
        ("--small --only tensorflow", "invalid choice: 'tensorflow'"),
        ("--small --json FILE", "gpu.json is there: --resume measures what it lacks"),
        ("--small --resume --json FILE", "is of another machine, of other versions or of --small"),
    ],
)
def test_bad_flags_are_refused_at_once(flags, message, tmp_path, monkeypatch, capsys):
    path = tmp_path / "gpu.json"
    saved_rows(path, machine={"processor": "another"})
    before = path.read_text()
    monkeypatch.setattr(sys, "argv", ["gpu", *flags.replace("FILE", str(path)).split()])
    with pytest.raises(SystemExit) as done:
        gpu.main()
    assert done.value.code == 2
    assert message in capsys.readouterr().err
    assert path.read_text() == before


@pytest.fixture
def own_python(monkeypatch):
    """Within a test the command `python` is that of the tests."""
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])


@pytest.mark.usefixtures("own_python")
def test_the_command_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    done = subprocess.run([ROOT / "benchmarks" / "gpu.sh"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "JAX computes on cpu, and this is for a GPU" in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("own_python")
def test_the_command_runs_with_small_numbers(tmp_path):
    """Ours and the idle share: the JSON has them, and the table is printed."""
    path = tmp_path / "gpu.json"
    command = [ROOT / "benchmarks" / "gpu.sh", "--small", "--only", "dcgan-jax", "idle", "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert {row["kind"] for row in result["rows"] if "failed" not in row} == {"dcgan-jax", "idle share"}
    assert done.stdout == gpu.report(result) + "\n"
