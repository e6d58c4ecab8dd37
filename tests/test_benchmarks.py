import json
import subprocess
import sys

import jax
import pytest
from conftest import ROOT

from dcgan_jax import init_state

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import quality, rates, scaling  # noqa: E402
from benchmarks.scaling import REDUCED_BYTES, model_table, predict  # noqa: E402
from benchmarks.step_time import main, minimum_multiply_adds, table  # noqa: E402


def test_the_fewest_multiply_adds_count_no_zeros():
    """One axis of each of the discriminator's layers counted by hand: outputs x taps that meet a pixel."""
    met = [14 * 5 - 3, 7 * 5 - 3, 4 * 5 - 4, 4 * 5 - 6]  # 28 -> 14, 14 -> 7, 7 -> 4, 4 -> 4
    channels = [(1, 64), (64, 128), (128, 256), (256, 512)]
    layers = [n * n * c_in * c_out for n, (c_in, c_out) in zip(met, channels, strict=True)]
    d = sum(layers) + 8192
    g = 100 * 12544 + 9 * 512 * (49 * 256 + 196 * 64) + 784 * 25 * (64 * 32 + 32)
    assert minimum_multiply_adds() == 2 * (3 * d - layers[0]) + 2 * d + 4 * g - 100 * 12544
    assert minimum_multiply_adds() == pytest.approx(980e6, rel=0.01)


@pytest.mark.parametrize(
    ("flags", "message"),
    [("--batch-size 0", "between 1 and 60000"), ("--rounds 0", "at least 1"), ("--against pytorch", "invalid choice")],
)
def test_bad_flags_are_told(flags, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["step_time", *flags.split()])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    assert message in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_told_before_anything_is_timed(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.step_time.missing_packages", lambda _: ["torch"])
    monkeypatch.setattr(sys, "argv", ["step_time", "--against", "torch"])
    with pytest.raises(SystemExit):
        main()
    assert "torch not installed: pip install '.[bench]'" in capsys.readouterr().err


def test_the_documented_tables_are_those_of_the_recorded_runs():
    for batch_size, pages in ((64, ["README.md", "docs/performance.md"]), (256, ["docs/performance.md"])):
        result = json.loads((ROOT / "benchmarks" / "results" / f"step_time_{batch_size}.json").read_text())
        assert all(table(result) in (ROOT / page).read_text() for page in pages)


def test_the_documented_overhead_of_sharing_is_that_of_the_recorded_run():
    result = json.loads((ROOT / "benchmarks" / "results" / "scaling.json").read_text())
    assert list(result["ways"]) == ["one device", "2 devices", "4 devices", "8 devices", "2 processes", "4 processes"]
    assert scaling.table(result) in (ROOT / "docs" / "scaling.md").read_text()


def test_the_documented_quality_is_that_of_the_recorded_runs():
    page = (ROOT / "docs" / "results.md").read_text()
    assert quality.table() in page
    assert rates.table() in page
    for name, _, _ in quality.results():
        assert f"images/quality-{name}.png" in page
        assert (ROOT / "docs" / "images" / f"quality-{name}.png").exists()


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path):
    flags = ["--batch-size", "2", "--rounds", "2", "--json", str(tmp_path / "result.json")]
    command = [sys.executable, "-m", "benchmarks.step_time", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert table(result) + "\n" == done.stdout
    assert len(result["systems"]["dcgan-jax"]["seconds_per_step"]["all"]) == 2
    assert 0 < result["share_of_gemm_peak"]["median"] < 1


def test_the_model_of_scaling_is_its_formula_and_its_documented_table():
    """By hand: 64 devices, 4,096 images, at 1 TFLOP/s, 1 GB/s and a microsecond."""
    compute, exchange = predict(4096, 64, 1e12, 1e9, 1e-6)
    assert compute == pytest.approx(64 * 2.48e9 / 1e12)
    assert exchange == pytest.approx(2 * 63 / 64 * 4 * (2_368_705 + 4_311_553) / 1e9 + 10 * 6e-6)
    assert predict(256, 1, 1e12, 1e9, 1e-6)[1] == 0
    assert model_table() in (ROOT / "docs" / "scaling.md").read_text()


def test_the_exchanged_bytes_are_those_of_all_parameters():
    shapes = jax.eval_shape(lambda: init_state(jax.random.key(0)))
    params = (shapes.generator.params, shapes.discriminator.params)
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)) == REDUCED_BYTES
