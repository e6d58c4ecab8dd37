"""What the benchmarks compute themselves is right."""

import json
import subprocess
import sys
import time

import jax
import pytest
from helpers import ROOT

from dcgan_jax import Discriminator, Generator, init_state, save_grid
from dcgan_jax.layers import conv2d

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import common, guard, minutes, modes, pictures, quality, roofline, scaling, step_time  # noqa: E402


def test_minimum_multiply_adds():
    """One axis of each of the discriminator's layers counted by hand: outputs x taps that meet a pixel."""
    met = [14 * 5 - 3, 7 * 5 - 3, 4 * 5 - 4, 4 * 5 - 6]  # 28 -> 14, 14 -> 7, 7 -> 4, 4 -> 4
    channels = [(1, 64), (64, 128), (128, 256), (256, 512)]
    layers = [n * n * c_in * c_out for n, (c_in, c_out) in zip(met, channels, strict=True)]
    d = sum(layers) + 8192
    g = 100 * 12544 + 9 * 512 * (49 * 256 + 196 * 64) + 784 * 25 * (64 * 32 + 32)
    assert step_time.minimum_multiply_adds() == 2 * (3 * d - layers[0]) + 2 * d + 4 * g - 100 * 12544
    assert step_time.minimum_multiply_adds() == pytest.approx(980e6, rel=0.01)


def test_summary_and_table_by_hand():
    assert common.summary([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert common.seconds_cell(common.summary([0.5, 1.25])) == "0.875 (0.5-1.25)"
    assert common.ratio_cell(common.summary([1.0, 1.5])) == "1.25 (1.00-1.50)"
    assert common.markdown_table(("a", "b"), [(1, "x"), (2, "y")]) == "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |"


@pytest.mark.parametrize(
    ("flags", "message"),
    [("--batch-size 0", "between 1 and 60000"), ("--rounds 0", "at least 1"), ("--against pytorch", "invalid choice")],
)
def test_bad_flags_are_reported(flags, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["step_time", *flags.split()])
    with pytest.raises(SystemExit) as done:
        step_time.main()
    assert done.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_peer_is_reported_first(monkeypatch, capsys):
    """A peer that is not installed is reported before anything is timed."""
    monkeypatch.setattr(step_time, "missing_packages", lambda _: ["torch"])
    monkeypatch.setattr(sys, "argv", ["step_time", "--against", "torch"])
    with pytest.raises(SystemExit):
        step_time.main()
    assert "torch not installed: pip install '.[bench]'" in capsys.readouterr().err


def test_first_digits_of_a_picture(mnist, tmp_path):
    save_grid(tmp_path / "grid.png", mnist[:50], columns=10)
    assert (quality.first_digits(tmp_path / "grid.png") == mnist[:10]).all()


def test_model_of_scaling_is_its_formula():
    """By hand: 64 devices, 4,096 images, at 1 TFLOP/s, 1 GB/s and a microsecond."""
    compute, exchange = scaling.predict(4096, 64, 1e12, 1e9, 1e-6)
    assert compute == pytest.approx(64 * 2.48e9 / 1e12)
    assert exchange == pytest.approx(2 * 63 / 64 * 4 * (2_368_705 + 4_311_553) / 1e9 + 10 * 6e-6)
    assert scaling.predict(256, 1, 1e12, 1e9, 1e-6)[1] == 0


def test_exchanged_bytes_are_all_parameters():
    shapes = jax.eval_shape(lambda: init_state(jax.random.key(0)))
    params = (shapes.generator.params, shapes.discriminator.params)
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)) == scaling.REDUCED_BYTES


def test_roofline_layers_by_hand():
    """A convolution with stride, an upsampling one as 3x3 on the small image with four phases, and a dense layer."""
    g, d = roofline.layers(Generator(), "G", 100), roofline.layers(Discriminator(), "D", 28, 28, 1)
    assert d[1] == ("D conv_2", 7 * 7 * 25 * 64 * 128, 14 * 14 * 64, 7 * 7 * 128, 25 * 64 * 128)
    assert g[1] == ("G conv_1", 7 * 7 * 9 * 256 * 4 * 128, 7 * 7 * 256, 14 * 14 * 128, 9 * 256 * 4 * 128)
    assert d[4] == ("D dense", 8192, 8192, 1, 8192)
    assert (len(g), len(d)) == (5, 5)


def test_roofline_counts_the_products_of_a_layer():
    """XLA counts the same FLOPs, forward and both gradients, where no padding is multiplied: it leaves that out."""
    x, kernel = jax.numpy.zeros((4, 1, 1, 6)), jax.numpy.zeros((1, 1, 6, 8))

    def passes(x, kernel):
        out, gradients = jax.vjp(lambda x, kernel: conv2d(x, kernel, plain=True), x, kernel)
        return out, gradients(out)

    flops = jax.jit(passes).lower(x, kernel).compile().cost_analysis()["flops"]
    assert flops == 3 * 2 * 4 * 6 * 8


def test_roofline_counts_a_step():
    """As many multiply-adds as `test_accelerators` finds in the exported program; that number is rounded to 10 M."""
    counted = sum(each.flops for each in roofline.products(7)) / 2 / 7
    assert counted == pytest.approx(scaling.MULTIPLY_ADDS, abs=5e6)


def test_roofline_by_hand():
    """A product takes the longer of computing and moving; a step the sum of them and of the optimizers."""
    product = roofline.Product("", "forward", flops=600, numbers=10)
    device = roofline.Device("", flops=100, bandwidth=5, width=4)
    assert product.seconds(device) == (6, 8)
    slow = roofline.Device("", flops=1, bandwidth=1e30, width=4)  # nothing but computing
    assert roofline.step_seconds(slow, 1)[0] == pytest.approx(sum(each.flops for each in roofline.products(1)))
    narrow = roofline.Device("", flops=1e30, bandwidth=1, width=1)  # nothing but moving
    moved = sum(each.numbers for each in roofline.products(1)) + 5 * scaling.REDUCED_BYTES
    assert roofline.step_seconds(narrow, 1) == (pytest.approx(moved), pytest.approx(moved))


def test_guard_interval_by_hand():
    """Equal ratios have no width; otherwise the median lies in the interval, and the interval within the range."""
    assert guard.ratio_interval([(2.0, 3.0), (4.0, 6.0)]) == (1.5, 1.5, 1.5)
    pairs = [(1.0, 1.0 + 0.1 * i) for i in range(9)]
    ratio = guard.ratio_interval(pairs)
    assert 1.0 <= ratio.low < ratio.median < ratio.high <= 1.8
    assert ratio.median == pytest.approx(1.4)
    assert guard.ratio_interval(pairs) == ratio


def test_guard_reports_what_is_surely_slower():
    """One slow turn of many is noise."""
    measured = {"step, s": [(1.0, 1.2)] * 5, "compiling, s": [(1.0, 1.0)] * 6 + [(1.0, 9.0)]}
    assert guard.slower(measured, 1.05) == ["step, s"]
    assert guard.slower(measured, 1.25) == []
    assert "| step, s | 1 | 1.2 | 1.200 (1.200-1.200) | 5 |" in guard.table(measured)


@pytest.mark.parametrize(
    ("flags", "message"),
    [("no-such-revision", "no revision 'no-such-revision'"), ("HEAD --turns 0", "--turns and --steps at least 1")],
)
def test_guard_refuses(flags, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["guard", *flags.split()])
    with pytest.raises(SystemExit) as done:
        guard.main()
    assert done.value.code == 2
    assert message in capsys.readouterr().err


def run_benchmark(tmp_path, name, *flags, timeout=600):
    """A benchmark in a process of its own: its JSON, and what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *flags, "--json", str(tmp_path / "result.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "result.json").read_text()), done.stdout


@pytest.mark.slow
def test_guard_runs(tmp_path):
    """A revision beside itself, on a batch of two: no quantity is three times as large."""
    flags = ["--batch-size", "2", "--turns", "1", "--steps", "2", "--threshold", "3"]
    result, printed = run_benchmark(tmp_path, "guard", "HEAD", *flags, timeout=900)
    assert result["commits"][0] == result["commits"][1]
    assert len(result["measured"]) == 5
    assert printed == guard.table(result["measured"]) + "\n"


@pytest.mark.slow
def test_step_time_runs(tmp_path):
    """The whole benchmark, on a batch of two."""
    result, printed = run_benchmark(tmp_path, "step_time", "--batch-size", "2", "--rounds", "2")
    assert step_time.report(result) + "\n" == printed
    assert len(result["systems"]["dcgan-jax"]["seconds_per_step"]["all"]) == 2
    assert 0 < result["share_of_gemm_peak"]["median"] < 1


@pytest.mark.slow
def test_loop_time_runs(tmp_path):
    """A block of bare steps before each block of the loop's, on a batch of two."""
    result, printed = run_benchmark(tmp_path, "loop_time", "--batch-size", "2", "--steps", "20")
    assert result["blocks"] == 1
    assert 0 < result["loop_seconds_per_step"]["median"] < 3 * result["bare_seconds_per_step"]["median"]
    assert printed.splitlines()[-1].startswith("batch 2, 1 blocks of 20 steps: ")  # after the lines of the run


_KEEPS_ONE_A_TENTH = """
import pathlib, sys, time
for step in range(1, 1000):
    time.sleep(0.1)
    (pathlib.Path(sys.argv[1]) / f"generator-{step}.npz").touch()
"""


def test_minutes_are_those_of_a_programs_own_turns(tmp_path, monkeypatch):
    """While it is stopped it keeps nothing, and its clock stands."""
    (tmp_path / "a").mkdir()

    def start(program, folder, every):
        return subprocess.Popen([sys.executable, "-c", _KEEPS_ONE_A_TENTH, str(folder)], start_new_session=True)

    monkeypatch.setattr(minutes, "_start", start)
    runner = minutes.Runner(minutes.PROGRAMS["pytorch"], tmp_path / "a", every=1)
    began = time.perf_counter()
    try:
        while len(runner.kept) < 2:
            runner.turn(0.2)
        first = dict(runner.kept)
        time.sleep(1.0)  # in which it would keep ten
        runner.turn(0.05)
        assert len(runner.kept) <= len(first) + 2
        while len(runner.kept) < len(first) + 4:
            runner.turn(0.2)
    finally:
        runner.close()
    assert runner.seconds <= time.perf_counter() - began - 1.0
    assert first.items() <= runner.kept.items()
    assert max(runner.kept.values()) <= runner.seconds


def test_program_that_ends_is_reported(tmp_path, monkeypatch):
    start = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(minutes, "_start", lambda *_: subprocess.Popen(start, start_new_session=True))
    runner = minutes.Runner(minutes.PROGRAMS["keras"], tmp_path, every=1)
    with pytest.raises(RuntimeError, match="the Keras program.*exit code 3"):
        runner.turn(10.0)
    runner.close()


def test_first_fid_below_a_limit_takes_few_scores():
    fids, scored = [90, 70, 40, 29, 20, 12, 9, 8], set()

    def fid_at(i):
        scored.add(i)
        return fids[i]

    assert [minutes.first_below(limit, len(fids), fid_at) for limit in (100, 30, 10, 8, 5)] == [0, 3, 6, 7, None]
    scored.clear()
    minutes.first_below(30, len(fids), fid_at)
    assert len(scored) <= 4


def test_minutes_table_by_hand():
    row = {"title": "a", "kept": {"50": 60.0, "100": 90.0}, "fids": {"50": 29.0, "100": 9.5}}
    empty = {"title": "b", "kept": {}, "fids": {}}
    header = "| program | steps | FID at the end | minutes to 100 | minutes to 30 | minutes to 10 | minutes to 5 |"
    rows = ["| a | 100 | 9.5 | 1.0 (step 50) | 1.0 (step 50) | 1.5 (step 100) |  |", "| b | 0 |  |  |  |  |  |"]
    table = minutes.table({"programs": {"a": row, "b": empty}})
    assert table == "\n".join([header, "|---|---|---|---|---|---|---|", *rows])


def test_pictures_are_split_without_overlap(tmp_path):
    """Fewer are among more; the reference and the floor do not depend on how many are trained on."""
    files = [tmp_path / f"{i}.png" for i in range(50)]
    few, more = (pictures.split(files, n, held_out=15) for n in (5, 20))
    assert few.train == more.train[:5]
    assert (few.floor, few.reference) == (more.floor, more.reference)
    assert sorted(more.train + more.floor + more.reference) == sorted(files)
    with pytest.raises(ValueError, match="50 pictures are too few for 21 to train on, and 15 each"):
        pictures.split(files, 21, held_out=15)


def test_pictures_are_copied_once(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / "some" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "some" / name).write_text(name)
    files = pictures.find_pictures(tmp_path / "some")
    assert [file.name for file in files] == ["a.png", "b.JPG"]
    for _ in range(2):
        copies = pictures.copied(files, tmp_path / "copies")
        assert {file.name: file.read_text() for file in copies.iterdir()} == {
            "000000.png": "a.png",
            "000001.jpg": "b.JPG",
        }
        files = []  # a second time nothing is copied


def test_pictures_of_classes_are_copied_by_class(tmp_path):
    files = [tmp_path / "some" / name for name in ("cat/1.png", "dog/1.png", "cat/2.png")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.parent.name)
    copies = pictures.copied(files, tmp_path / "copies", by_class=True)
    found = {file.relative_to(copies).as_posix(): file.read_text() for file in copies.rglob("*.png")}
    assert found == {"cat/000000.png": "cat", "dog/000001.png": "dog", "cat/000002.png": "cat"}
    assert pictures.parse_setting("by-class=--conditional").by_class()
    assert not pictures.parse_setting("plain=--mirror").by_class()


def test_settings_of_pictures_show_no_paths():
    setting = pictures.parse_setting("from-run=--augment adaptive,flip --init-from '/home/a b/run'")
    assert setting == pictures.Setting("from-run", ("--augment", "adaptive,flip", "--init-from", "/home/a b/run"))
    assert pictures.told(setting.flags) == "`--augment adaptive,flip --init-from run`"
    assert pictures.parse_setting("plain=") == pictures.Setting("plain")
    assert pictures.parse_setting("own=--recipe a.py --mirror").recipe() == ["--recipe", "a.py"]
    for text in ("adaptive", "=--mirror", "a/b="):
        with pytest.raises(ValueError, match="a setting is NAME=FLAGS"):
            pictures.parse_setting(text)


def test_table_of_pictures_by_hand():
    def row(name, steps, kid, **more):
        scores, floor = {"kid_x1000": kid, "recall": 0.5}, {"kid_x1000": 0.1, "recall": 0.75, "fid": 9.0}
        evaluation = {"evaluation": {"scores": scores, "floor": floor}}
        return {"pictures": 1000, "size": 32, "name": name, "flags": "", "steps": steps, **evaluation, **more}

    nearest = {"fakes": 1.0, "held_out": 2.0}
    rows = [row("a", 2000, 12.34), row("b", 2000, 3.0, nearest={"features": nearest, "pixels": nearest})]
    last = pictures.table({"rows": dict(enumerate(rows))}).splitlines()[2:]
    assert last == [
        "| 1,000 | 32x32 | 2,000 | b |  | 3 (0.1) |  |  | 0.5 (0.75) | 1 (2) | 1 (2) |",
        "| 1,000 | 32x32 | 2,000 | a |  | 12.3 (0.1) |  |  | 0.5 (0.75) |  |  |",
    ]


def test_table_of_modes_by_hand():
    floor = {"modes": 1000, "mode_kl": 0.0189, "confident": 0.97}
    rows = {
        f"some-1-{steps}": {
            "name": "some",
            "flags": "",
            "seed": 1,
            "steps": steps,
            "evaluation": {"scores": {"modes": found, "mode_kl": kl, "confident": 0.069}, "floor": floor},
        }
        for steps, found, kl in ((1000, 1000, 0.03), (300, 994, 0.4506))
    }
    assert modes.table({"rows": rows}).splitlines()[2:] == [
        "| some |  | 1 | 300 | 994 | 0.451 | 6.9 % |",
        "| some |  | 1 | 1,000 | 1,000 | 0.030 | 6.9 % |",
        "| real images |  |  |  | 1,000 | 0.019 | 97.0 % |",
    ]
