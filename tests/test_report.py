"""`report`: what a page on runs holds, what it refuses, and that writing it changes no run."""

import argparse
import base64
import dataclasses
import io
import json
import math
import os
import re
import shlex

import numpy as np
import pytest
from helpers import all_files, assert_same_bits, evaluation_row, one_error_line, run_cli, run_files, write_run
from PIL import Image
from programs.small_recipe import init

from dcgan_jax import TrainConfig, load_run
from dcgan_jax.cli.flags import add_config_flags
from dcgan_jax.data import DatasetError
from dcgan_jax.evaluation.classifier import SHA256
from dcgan_jax.report import charts, page, read_source, tables
from dcgan_jax.report.render import ReportError
from dcgan_jax.training.record import RunRecord

# Of MNIST, which the runs here name, no images are loaded: `test_report_nearest` is about them.
pytestmark = pytest.mark.usefixtures("without_images")
HOSTILE = '<img src=x onerror="document.title=1">'
FAILED = {"step": 400, "weights": "last", "evaluation": None}


@pytest.fixture
def without_images(monkeypatch):
    def load(*_):
        raise DatasetError("no images")

    monkeypatch.setattr("dcgan_jax.report.nearest.load_images", load)


def embedded(path):
    """The data of a page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())[1])


def report(*arguments):
    assert run_cli("report", *arguments) == 0
    out = arguments[-1] if "--out" in arguments else arguments[0] / "report.html"
    return embedded(out)


def test_report_holds_the_run(tmp_path, capsys):
    run_dir = write_run(tmp_path / "run", evaluations=[evaluation_row(250, 9.0), evaluation_row(500, 8.0)])
    data = report(run_dir)
    assert capsys.readouterr().out == f"a report of {run_dir}, in {run_dir / 'report.html'}\n"
    titles = [chart["title"] for chart in data["charts"]]
    assert titles == ["Losses", "Accuracies", "FID", "FID by a second classifier"]
    fid = data["charts"][2]["lines"][0]
    assert (fid["x"], fid["y"], fid["floor"]) == ([250, 500], [9.0, 8.0], 1.5)
    assert [table["title"] for table in data["tables"]] == [
        "Last evaluation",
        "Collapse detector",
        "Config",
        "Environment",
    ]
    assert data["tables"][0]["rows"][0] == ["FID (lower is better)", "8", "1.5"]
    assert ["jax", "0.10.2"] in data["tables"][3]["rows"]
    assert [step for step, _ in data["pictures"][0]["grids"]] == [0, 1, 500]
    assert dict(data["runs"][0]["facts"])["Best FID"] == "8 at step 500, of 10,000 images"


def test_runs_in_any_state_have_a_report(tmp_path):
    """Being written, never evaluated, not scored, by class, in colour, without a checkpoint."""
    classes = TrainConfig(conditional=True, dataset="cats"), RunRecord((64, 64, 3), ("a", "b"))
    runs = {
        "half": write_run(tmp_path / "half", tail='{"step": 510, "d_lo'),
        "empty": write_run(tmp_path / "empty", rows=0, grids=(), checkpoint=False),
        "failed": write_run(tmp_path / "failed", evaluations=[FAILED]),
        "failed later": write_run(tmp_path / "later", evaluations=[evaluation_row(200, 9.0), FAILED]),
        "classes": write_run(tmp_path / "classes", *classes),
    }
    data = {name: report(run_dir) for name, run_dir in runs.items()}
    assert data["half"]["charts"][0]["lines"][0]["x"][-1] == 500
    assert data["empty"]["charts"] == []
    assert data["failed"]["tables"][0]["about"] == "the evaluation at step 400 failed: the images could not be scored."
    assert "could not be scored. 10,000 images at step 200" in data["failed later"]["tables"][0]["about"]
    assert dict(data["classes"]["runs"][0]["facts"])["Data"] == "cats, 64x64 colour, by class"
    assert len(data["classes"]["pictures"][0]["grids"]) == 3
    assert dict(data["half"]["runs"][0]["facts"])["Data"] == "mnist, 28x28 grey"


@pytest.mark.parametrize(
    ("loss", "of_losses", "of_accuracies"),
    [
        (None, "ln 2", "of real and generated images"),
        ("hinge", "a loss of 2", "of real and generated images"),
        ("relativistic", "of pairs", "Of pairs"),
        ("wasserstein", "no minimum", "of real and generated images"),
    ],
)
def test_charts_explain_the_losses_of_the_run(loss, of_losses, of_accuracies, tmp_path):
    data = report(write_run(tmp_path / "run", TrainConfig(loss=loss)))
    assert of_losses in data["charts"][0]["about"]
    assert of_accuracies in data["charts"][1]["about"]


def test_run_of_a_recipe_is_described_by_it(tmp_path):
    """Its file has to be named again by each command; of its losses nothing is known."""
    run_dir = write_run(tmp_path / "run", record=RunRecord(recipe="own file.py:init", recipe_digest="0" * 64))
    data = report(run_dir)
    assert [chart["about"] for chart in data["charts"]] == ["", ""]
    assert all(each["command"].endswith(" --recipe 'own file.py'") for each in data["runs"][0]["commands"])
    assert dict(data["runs"][0]["facts"])["Recipe"] == "own file.py:init, 256 images a step"
    other = write_run(tmp_path / "other", record=RunRecord(recipe="__main__:<lambda>", recipe_digest="0" * 64))
    commands = report(other)["runs"][0]["commands"]
    assert all(each["command"].endswith(" --recipe FILE.py") for each in commands)


def test_library_takes_paths_as_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    page.write_report([read_source("run")], "mine.html")
    assert embedded(tmp_path / "mine.html")["runs"][0]["name"] == "run"


def test_several_runs_share_charts(tmp_path):
    one, two = (write_run(tmp_path / name, evaluations=[evaluation_row(500, 8.0)]) for name in "ab")
    data = report(one, two, one, "--out", tmp_path / "both.html")
    assert [run["name"] for run in data["runs"]] == [str(one), str(two)]
    assert [chart["title"] for chart in data["charts"]][:2] == ["Discriminator loss", "Generator loss"]
    assert all([line["label"] for line in chart["lines"]] == ["a", "b"] for chart in data["charts"])
    same = write_run(tmp_path / "c" / "a")
    data = report(one, same, "--out", tmp_path / "both.html")
    assert [line["label"] for line in data["charts"][0]["lines"]] == [str(one), str(same)]


def test_timing_is_that_of_all_sessions(tmp_path):
    """A row that is being written, and what a row lacks, are left out."""
    run_dir = write_run(tmp_path / "run")
    rows = [
        {"seconds": 60.0, "peak_memory_bytes": 2**31, "steps_per_second": 9},
        {"seconds": 15.0, "peak_memory_bytes": 2**30},
    ]
    last = {"steps_per_second": 1.25, "compile_seconds": None, "peak_memory_bytes": "much"}
    (run_dir / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, last]) + '{"seconds": 7')
    (table,) = (table for table in report(run_dir)["tables"] if table["title"] == "Timing")
    assert table["rows"] == [
        ["Sessions", "3"],
        ["Time in all", "1 min 15 s"],
        ["Steps a second, last session", "1.25"],
        ["Memory, at most", "2.00 GiB"],
    ]


@pytest.mark.parametrize("changes", [{"samples": 500}, {"features": "other"}])
def test_other_fids_have_their_own_chart(changes, tmp_path):
    one = write_run(tmp_path / "a", evaluations=[evaluation_row(500, 8.0)])
    two = write_run(tmp_path / "b", evaluations=[evaluation_row(500, 8.0, **changes)])
    data = report(one, two, "--out", tmp_path / "both.html")
    fids = [chart for chart in data["charts"] if chart["title"].startswith("FID: ")]
    assert sorted(line["label"] for chart in fids for line in chart["lines"]) == ["a", "b"]
    assert len(fids) == 2
    assert all("comparable within a chart only" in chart["about"] for chart in fids)


@pytest.mark.parametrize(
    ("config", "record"), [({"dataset": "kmnist"}, {}), ({"dataset": "mnist"}, {"image_shape": (32, 32, 1)})]
)
def test_scores_of_other_images_are_apart(config, record, tmp_path):
    """The axis says of which; whether a run draws by class makes no difference to what its images are compared with."""
    rows = [evaluation_row(500, 8.0, features=None)]
    for row in rows:
        for part in ("scores", "floor"):
            row["evaluation"][part] = {"swd_mean": 0.5}
    by_class = write_run(tmp_path / "b", TrainConfig(conditional=True), evaluations=rows)
    other = write_run(tmp_path / "c", TrainConfig(**config), RunRecord(**record), evaluations=rows)
    runs = [write_run(tmp_path / "a", evaluations=rows), by_class, other]
    data = report(*runs, "--out", tmp_path / "all.html")
    scores = {chart["title"]: chart for chart in data["charts"] if "Wasserstein" in chart["title"]}
    size = "32x32" if record else "28x28"
    kind = "Sliced Wasserstein distance: 10,000 images by their pixels"
    assert {title: [line["label"] for line in chart["lines"]] for title, chart in scores.items()} == {
        f"{kind}, of mnist, 28x28 grey": ["a", "b"],
        f"{kind}, of {config['dataset']}, {size} grey": ["c"],
    }
    assert all("comparable within a chart only" in chart["about"] for chart in scores.values())
    (last,) = (table for table in data["tables"] if table["title"] == "Last evaluation")
    assert f"c: 10,000 images by their pixels, of {config['dataset']}, {size} grey at step 500" in last["about"]


def test_unnamed_features_are_the_packages_own(tmp_path):
    """So that runs of earlier revisions are compared with those of later ones."""
    one = write_run(tmp_path / "a", evaluations=[evaluation_row(500, 8.0)])
    two = write_run(tmp_path / "b", evaluations=[evaluation_row(500, 8.0, features=SHA256)])
    data = report(one, two, "--out", tmp_path / "both.html")
    (fid,) = (chart for chart in data["charts"] if chart["title"] == "FID")
    assert len(fid["lines"]) == 2


def test_texts_of_a_run_stay_texts(tmp_path):
    """A name, a data set, classes or a version that look like markup end no element, and come back as they were."""
    run_dir = tmp_path / HOSTILE.replace("/", "")
    config, record = TrainConfig(dataset="</script><b>", conditional=True), RunRecord(classes=(HOSTILE, "]]>"))
    write_run(run_dir, config, record, evaluations=[evaluation_row(500, 8.0, features="<!--<script>")])
    description = run_dir / "checkpoints" / "500" / "run.json"
    description.write_text(json.dumps({"step": 500, "environment": {HOSTILE: "</title>\ud800"}}))
    data = report(run_dir)
    text = (run_dir / "report.html").read_text()
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert "</b>" not in text
    assert data["runs"][0]["name"] == str(run_dir)
    rows = {row[0]: row[1] for table in data["tables"] for row in table["rows"]}
    assert rows["classes"] == f"{HOSTILE}, ]]>"
    assert rows[HOSTILE] == "</title>\ud800"


def test_long_runs_fit(tmp_path):
    """A page of 100,000 rows and 3,000 grids has at most 5,000,000 bytes, and keeps the first and the last of each."""
    run_dir = write_run(tmp_path / "run", rows=100_000, grids=(0,))
    for step in range(1, 3001):
        os.link(run_dir / "samples" / "000000.png", run_dir / "samples" / f"{step:06d}.png")
    data = report(run_dir)
    assert (run_dir / "report.html").stat().st_size <= page.MAX_BYTES
    losses = data["charts"][0]["lines"][0]
    assert (losses["x"][0], losses["x"][-1]) == (10, 1_000_000)
    assert 1_000 < len(losses["x"]) <= 2_001
    grids = data["pictures"][0]["grids"]
    assert (grids[0][0], grids[-1][0]) == (0, 3000)
    assert len(grids) + data["pictures"][0]["left_out"] == 3001


@pytest.mark.parametrize(
    ("sizes", "max_bytes", "chosen"),
    [
        ([30] * 5, 10**6, [0, 1, 2, 3, 4]),
        ([30] * 5, 3 * 60, [0, 2, 4]),
        ([30] * 5, 60, [4]),
        ([30] * 5, 59, []),
        ([30, 3000, 30], 10**3, [0, 2]),
        ([], 10**6, []),
        ([3] * 1000, 10**6, [0, 333, 666, 999]),
    ],
)
def test_grids_are_left_out_evenly(sizes, max_bytes, chosen):
    """A grid of 30 bytes has 40 in base64, and 20 for its step."""
    assert page.choose_grids(sizes, max_bytes, most=4 if len(sizes) > 5 else 60) == chosen


def test_page_over_the_limit_is_refused(tmp_path):
    source = read_source(write_run(tmp_path / "run"))
    with pytest.raises(ReportError, match=r"^a report of 3 runs would be over 70,000 bytes: name fewer runs$"):
        page.report_page([source] * 3, 70_000)


def test_thinned_curves_keep_extremes():
    """And are as few rows as asked for, but for a few of the edges."""
    values = np.random.default_rng(0).random((2, 10_000))
    values[0, 1234], values[1, 4321] = 9, -9
    chosen = charts.choose_rows(values, 500)
    assert {0, 1234, 4321, 9_999} <= set(chosen)
    assert len(chosen) <= 500 + 2
    assert charts.choose_rows(values[:, :500], 500) == list(range(500))


def test_running_mean_is_the_mean_of_what_there_is():
    values = np.array([1.0, 2.0, math.nan, 4.0, 8.0])
    np.testing.assert_allclose(charts.running_mean(values, 3), [1.5, 1.5, 3.0, 6.0, 6.0])
    assert np.isnan(charts.running_mean(np.full(3, math.nan), 3)).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dataset": "my pictures", "mirror": True, "channels": 3, "image_size": "32x64", "conditional": True},
        {"dataset": "a.npy", "range": "-1,1", "stream": False, "stop_on_collapse": True},
        {"preset": "recommended", "ema": 0.99, "eval_every": 5, "stop_at_fid": 4.5, "seed": 0, "batch_size": 8},
    ],
)
def test_command_repeats_the_config(options, tmp_path, monkeypatch):
    """In any shell: `train` reads from it the config that the run had, but for its directory."""
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(**options)
    source = read_source(write_run(tmp_path / "a run's", config))
    resume, repeat = (shlex.split(each["command"]) for each in tables.commands(source)[:2])
    assert resume == ["python", "-m", "dcgan_jax", "train", "--workdir", str(tmp_path / "a run's"), "--resume"]
    assert repeat[:4] == resume[:4]
    parser = argparse.ArgumentParser()
    add_config_flags(parser)
    assert TrainConfig(**vars(parser.parse_args(repeat[4:]))) == config


@pytest.mark.parametrize("command", ["report", "plot"])
def test_run_of_two_names_is_one(command, tmp_path, capsys):
    run_dir = write_run(tmp_path / "run")
    (tmp_path / "latest").symlink_to(run_dir)
    out = tmp_path / ("a.html" if command == "report" else "a.svg")
    assert run_cli(command, run_dir, tmp_path / "latest", "--out", out) == 0
    assert "latest" not in capsys.readouterr().out


def test_finished_run_is_resumed_with_more_steps(tmp_path):
    source = read_source(write_run(tmp_path / "run", TrainConfig(steps=500)))
    assert tables.commands(source)[0]["command"].endswith(" --resume --steps 1000")


def test_only_reports_are_replaced(tmp_path, capsys):
    run_dir = write_run(tmp_path / "run")
    report(run_dir)
    report(run_dir)
    for name, content in (("mine.html", "<!doctype html><title>mine</title>"), ("empty.html", "")):
        (tmp_path / name).write_text(content)
        capsys.readouterr()
        assert run_cli("report", run_dir, "--out", tmp_path / name) == 2
        assert one_error_line(capsys).endswith(f"{name} exists and is not a report: choose another --out\n")
        assert (tmp_path / name).read_text() == content
    (tmp_path / "folder.html").mkdir()
    assert run_cli("report", run_dir, "--out", tmp_path / "folder.html") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no run in nothing: it does not exist"),
        (["."], "there is no run in .: it holds no readable config.json"),
        (["run", "nothing"], "there is no run in nothing: it does not exist"),
        (["run", "--out", "a.htm"], "--out must end in .html, got a.htm"),
        (["run", "--out", "nowhere/a.html"], "the directory nowhere of --out does not exist"),
        (["run", "--out", "https://host/a.html"], "--out must be a local path, not a URL"),
        (["r\nn"], "file names must be printable text"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    before = all_files(tmp_path)
    assert run_cli("report", *arguments) == 2
    assert message in one_error_line(capsys)
    assert all_files(tmp_path) == before


def test_report_every_keeps_the_bits(small_flags, tmp_path, monkeypatch, capsys):
    """Every two steps and at the end; a report that cannot be written is a warning each time, and nothing else."""
    monkeypatch.chdir(tmp_path)
    runs = {}
    flags = ["--steps", 3, *small_flags, "--report-every"]
    write, steps = page.report_page, []
    monkeypatch.setattr(
        page, "report_page", lambda sources, **how: steps.append((sources[0].step, how)) or write(sources, **how)
    )
    assert run_cli("train", "--workdir", "whole", *flags, 2) == 0
    assert steps == [(2, {"nearest": False}), (3, {"nearest": True})]
    assert embedded(tmp_path / "whole" / "report.html")["runs"][0]["facts"][0] == ["Step", "3 of 3"]
    capsys.readouterr()

    def fail(sources, **_):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(page, "report_page", fail)
    assert run_cli("train", "--workdir", "failing", *flags, 2) == 0
    assert capsys.readouterr().err == "warning: the report in failing was not written (a mistake)\n" * 2
    for name in ("whole", "failing"):
        files = run_files(tmp_path / name)
        runs[name] = {
            n: content
            for n, content in files.items()
            if n not in ("report.html", "timing.jsonl", "models.txt", "config.json")
        }
    assert runs["whole"] == runs["failing"]
    whole, failing = (load_run(name, init=init).state for name in ("whole", "failing"))
    assert_same_bits(whole, failing)


def test_report_every_must_be_positive(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli("train", "--report-every", 0) == 2
    assert one_error_line(capsys) == "error: --report-every must be at least 1, got 0\n"


def test_wheel_has_the_static_files(wheel):
    static = wheel / "dcgan_jax" / "report" / "static"
    assert {"page.html", "page.css", "report.js", "uPlot.iife.min.js", "uPlot.LICENSE"} <= set(os.listdir(static))


def test_pictures_are_those_of_the_run(tmp_path):
    run_dir = write_run(tmp_path / "run")
    (_, content) = report(run_dir)["pictures"][0]["grids"][-1]
    with Image.open(io.BytesIO(base64.b64decode(content))) as ours, Image.open(run_dir / "samples/000500.png") as png:
        assert ours.tobytes() == png.tobytes()
    assert dataclasses.replace(read_source(run_dir).config, workdir=None) == TrainConfig()
