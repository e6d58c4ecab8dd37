"""Quality of the digits by setting: one run after the other, all scored by the same evaluator.

    python -m benchmarks.quality                  # all runs; days on a CPU
    python -m benchmarks.quality --only keras3    # one of them
    python -m benchmarks.quality --report         # tables and pictures from the results

It can be stopped at any time and started again: each run resumes from its checkpoint in ``runs/quality/<name>``, and
scores are kept in ``benchmarks/results/quality``.
"""

import argparse
import functools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import common
from benchmarks.common import PICTURES, ROOT, machine, markdown_table, write_json
from benchmarks.extractors import load_extractor, mnist_test_features
from benchmarks.scores import distances
from dcgan_jax import averaged, evaluate_images, load_dataset, load_run, save_grid
from dcgan_jax.evaluation.images import DEFAULT_SAMPLES, choose, draw_bytes
from dcgan_jax.evaluation.results import Evaluation, Scores, present_names
from dcgan_jax.evaluation.scoring import evaluate_bytes
from dcgan_jax.images import as_bytes, labelled_grid, read_grid, save_png
from dcgan_jax.sampling import sample_in_batches, sample_labels
from dcgan_jax.state import GANState
from dcgan_jax.training.checkpoint import checkpoint_steps

RESULTS = common.RESULTS / "quality"


class Setting(NamedTuple):
    """One run.

    Attributes:
      title: its name in tables.
      group: the table it is in.
      flags: flags of its program, besides the steps.
      steps: the length of the run.
      points: the steps at which its images are scored; if empty, four evenly spaced ones.
      program: ``train.py``, or the module of another system, with the flags of `benchmarks.peers.program`.
      pictures: the points with a picture of fifty images; if empty, only the last one.
    """

    title: str
    group: str = "presets"
    flags: tuple[str, ...] = ()
    steps: int = 1000
    points: tuple[int, ...] = ()
    program: str = "train.py"
    pictures: tuple[int, ...] = ()

    def label(self) -> str:
        """Its name in pictures."""
        return self.title.replace("`", "")

    def scored(self) -> tuple[int, ...]:
        """The points at which images are scored."""
        return self.points or tuple(range(self.steps // 4, self.steps + 1, self.steps // 4))


def _preset(title: str, *flags: str, ema: str = "0.999", steps: int = 1000) -> Setting:
    return Setting(title, flags=("--batch-size", "64", "--ema", ema, *flags), steps=steps)


def _recommended(seed: int, steps: int = 1000, points: tuple[int, ...] = (), batch_size: int = 64) -> Setting:
    title = f"`recommended`, seed {seed}" + (f", batch {batch_size}" if batch_size != 64 else "")
    flags = ("--preset", "recommended", "--batch-size", str(batch_size), "--seed", str(seed))
    return Setting(title, "recommended", flags, steps, points, pictures=PICTURED if steps == 10_000 else ())


def _peer(title: str, module: str, *flags: str) -> Setting:
    points, flags = (250, 500, 1000, 2000, 3000), ("--batch-size", "64", *flags)
    return Setting(title, "peers", flags, 3000, points, f"benchmarks.peers.{module}", pictures=(1000, 3000))


LONG = (100, 250, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000)
PICTURED = (100, 1000, 3000, 10_000)
RUNS = {
    "tutorial-0": _preset("tutorial, seed 0", "--seed", "0"),
    "training-fakes": _preset("tutorial, D's fakes in training mode", "--fakes", "training"),
    "keras": Setting(
        "the Keras program as in its repository",
        flags=("--batch-size", "64"),
        program="benchmarks.peers.keras_published",
    ),
    "keras3": _preset("tutorial, epsilon inside the root", "--preset", "keras3"),
    "upstream": _preset("upstream", "--preset", "upstream"),
    "article": _preset("article", "--preset", "article"),
    "article-1": _preset("article, seed 1, average 0.99", "--preset", "article", "--seed", "1", ema="0.99"),
    "tutorial-1": _preset("tutorial, seed 1", "--seed", "1"),
    "tutorial-2": _preset("tutorial, seed 2", "--seed", "2"),
    "article-long": _preset("article, 3,000 steps", "--preset", "article", steps=3000),
    "recommended-0": _recommended(0, 10_000, LONG),
    "recommended-1": _recommended(1),
    "recommended-2": _recommended(2),
    "recommended-256": _recommended(0, batch_size=256),
    "tutorial-long": Setting(
        "`tutorial`, seed 0",
        "recommended",
        ("--batch-size", "64", "--ema", "0.999"),
        10_000,
        LONG,
        pictures=PICTURED,
    ),
    "keras-published": _peer("the Keras program as in its repository", "keras_published"),
    "keras-frozen": _peer("the Keras program, D frozen in G's update", "keras_published", "--freeze"),
    "pytorch": _peer("PyTorch's DCGAN recipe", "pytorch_dcgan"),
}
_FURTHER = ("autoencoder", "third")  # extractors, besides the two of the evaluation


def _run(name: str, setting: Setting, folder: Path) -> None:
    """Train up to each point, score the images there, and write the scores so far.

    The result has a row for each point and set of weights, with the FID in the features of each extractor, and the
    wall-clock seconds of training, which include any delay by other load on the machine.
    """
    path = RESULTS / f"{name}.json"
    result = json.loads(path.read_text()) if path.exists() else {"curve": [], "seconds": 0.0}
    missing = set(setting.scored()) - {row["step"] for row in result["curve"]}
    if missing and not folder.exists():  # a new run, perhaps on another machine, has other bits: drop all old rows
        result, missing = {"curve": [], "seconds": 0.0}, set(setting.scored())
    for step in sorted(missing):
        began = time.perf_counter()
        _train(setting, folder, step)
        result["seconds"] += time.perf_counter() - began
        for weights, scores, result["floor"] in _scored(setting, folder, step):
            result["curve"].append({"step": step, "weights": weights, **scores})
            told = ", ".join(f"{extractor} {fid:.2f}" for extractor, fid in scores["fids"].items())
            told = f"FID {scores['fid']:.2f}, strided {scores['second_fid']:.2f}, {told}"
            print(f"{name}, step {step}, {weights} weights: {told}", flush=True)
        if step in (setting.pictures or setting.scored()[-1:]):
            _draw(name, setting, folder, step, result["curve"])
        result["losses"] = _losses(setting, folder)
        write_json(path, {**result, "title": setting.title, "machine": machine(), "flags": setting.flags})


def _train(setting: Setting, folder: Path, steps: int) -> None:
    """Train up to ``steps`` in a process of its own, from the newest checkpoint."""
    if setting.program != "train.py":
        every = ["--draw-at", *map(str, setting.scored())]
        command = ["-m", setting.program, str(folder), "--steps", str(steps), *every, *setting.flags]
    elif steps in checkpoint_steps(folder / "checkpoints"):
        return
    else:
        flags = ("--resume",) if (folder / "config.json").exists() else (*setting.flags, "--keep-checkpoints", "1000")
        command = ["train.py", "--steps", str(steps), "--workdir", str(folder), *flags]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


def _scored(setting: Setting, folder: Path, step: int) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each set of weights, its scores, and those of real images."""
    if setting.program != "train.py":
        images = np.load(folder / f"{step}.npy")
        yield "last", *_in_all_features(images, evaluate_images(images))
        return
    run = load_run(folder, step)
    for weights, state in {"last": run.state, "average": averaged(run.state)}.items():
        yield weights, *score(state, run.keys["evaluation"])


def score(state: GANState, key: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scores of 10,000 samples, and of real images, each with ``fids`` by the further extractors.

    Their brightness is not checked: samples of an average over the first 100 steps may still be grey. A state with
    classes draws random digits, as in `dcgan_jax.evaluate`.
    """
    labels = sample_labels(state, key, DEFAULT_SAMPLES)
    images = draw_bytes(state, key, DEFAULT_SAMPLES, labels)
    return _in_all_features(images, evaluate_bytes(images, None if labels is None else np.asarray(labels)))


def _in_all_features(images: np.ndarray, evaluation: Evaluation[Scores]) -> tuple[dict[str, Any], dict[str, Any]]:
    ours, real = evaluation.scores._asdict(), evaluation.floor._asdict()
    ours["fids"] = {extractor: _fid(extractor, images) for extractor in _FURTHER}
    real["fids"] = {extractor: _real_fid(extractor, len(images)) for extractor in _FURTHER}
    return ours, real


def _fid(extractor: str, images: np.ndarray) -> float:
    features = load_extractor(extractor)(as_bytes(images))[1]
    return distances(features, mnist_test_features(extractor), kid=False)["fid"]


@functools.cache
def _real_fid(extractor: str, n: int) -> float:
    """The FID of ``n`` training images: the floor."""
    images = load_dataset()
    return _fid(extractor, images[choose(len(images), n)])


def _losses(setting: Setting, folder: Path) -> list[dict[str, Any]]:
    """The run's rows of losses, of the first and of every tenth step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "d_loss" in row and (row["step"] == 1 or row["step"] % 10 == 0)]


def _draw(name: str, setting: Setting, folder: Path, step: int, curve: list[dict[str, Any]]) -> None:
    """Draw fifty uncurated images of a step, with the weights that have the lower FID."""
    if setting.program != "train.py":
        images = np.load(folder / f"{step}.npy")[:50]
    else:
        run = load_run(folder, step)
        best = min((row for row in curve if row["step"] == step), key=lambda row: row["fid"])
        state = averaged(run.state) if best["weights"] == "average" else run.state
        images = sample_in_batches(state, run.keys["fakes"], 50)
    save_grid(PICTURES / f"{picture(name, setting, step)}.png", images, columns=10)


def picture(name: str, setting: Setting, step: int) -> str:
    """The name of a picture without its suffix: that of the run, and the step if the run has several."""
    return f"quality-{name}-{step}" if setting.pictures else f"quality-{name}"


def _draw_side_by_side(step: int = 3000) -> None:
    """Draw the first samples of each run that has a picture of ``step``, one row per run."""
    rows = {}
    for name, setting, result in results():
        if step in setting.pictures and any(row["step"] == step for row in result["curve"]):
            path = PICTURES / f"{picture(name, setting, step)}.png"
            rows[setting.label()] = first_digits(path)
    if rows:
        images = np.concatenate(list(rows.values()))
        save_png(PICTURES / "quality-peers.png", labelled_grid(images, 10, [""] * len(images), list(rows)))


def first_digits(path: Path) -> np.ndarray:
    """The first row of a picture that `_draw` has written: uint8 [10, 28, 28, 1]."""
    pixels = read_grid(path)[::4, ::4]  # each image pixel is 4x4 pixels, and images have margins of 2
    return np.stack([pixels[2:30, left : left + 28] for left in range(2, pixels.shape[1] - 28, 30)])


def results() -> Iterator[tuple[str, Setting, dict[str, Any]]]:
    """The runs with a result, in the order of `RUNS`."""
    for name, setting in RUNS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            result["curve"] = [present_names(row) for row in result["curve"]]
            yield name, setting, {**result, "floor": present_names(result["floor"])}


def table(group: str) -> str:
    """A row for the end of each run of a group and each set of weights, and the floor."""
    rows, floor = [], None
    for _, setting, result in results():
        if setting.group == group:
            floor = result["floor"]
            rows += [_row(setting.title, row) for row in result["curve"] if row["step"] == setting.steps]
    return markdown_table(_HEADER, [*rows, *([_row("real images (the floor)", floor)] if floor else [])])


def _row(title: str, s: dict[str, Any]) -> list[str]:
    missing = " ".join(s["missing"]) or "none"
    two, three = (f"{s['fid']:.2f}", f"{s['kid']:.2f}"), (f"{s['precision']:.3f}", f"{s['recall']:.3f}")
    digits = f"{s['class_kl']:.3f}, {missing}"
    return [title, s.get("weights", ""), *two, *three, f"{s['class_score']:.2f}", digits, f"{s['nearest']:.2f}"]


_HEADER = ("run", "weights", "FID", "KID", "precision", "recall", "MNIST score", "digits: KL, missing", "nearest")


def curves_table(group: str) -> str:
    """A row for each point of each run of a group, with the weights that have the lower FID, and the floor."""
    rows, floor = [], None
    for _, setting, result in results():
        if setting.group != group:
            continue
        floor = result["floor"]
        for step in setting.scored():
            best = min((row for row in result["curve"] if row["step"] == step), key=lambda row: row["fid"], default={})
            if best:
                rows.append([setting.title, f"{step:,}", best["weights"], *_figures(best, floor)])
    if floor:
        rows.append(["real images (the floor)", "", "", *_figures(floor, floor)])
    fids = (f"FID {extractor}" for extractor in ("own", "strided", *_FURTHER))
    header = ("run", "step", "weights", *fids, "precision", "recall", "digits: KL, largest gap", "nearest")
    return markdown_table(header, rows)


def _figures(s: dict[str, Any], floor: dict[str, Any]) -> list[str]:
    fids = [f"{fid:.2f}" for fid in (s["fid"], s["second_fid"], *s["fids"].values())]
    gap = max(abs(ours / real - 1) for ours, real in zip(s["shares"].values(), floor["shares"].values(), strict=True))
    digits = f"{s['class_kl']:.3f}, {100 * gap:.0f} %"
    return [*fids, f"{s['precision']:.3f}", f"{s['recall']:.3f}", digits, f"{s['nearest']:.2f}"]


def _report() -> None:
    """Print the tables, and draw the curves of the runs."""
    print(table("presets"), curves_table("recommended"), curves_table("peers"), sep="\n\n")
    runs = [(setting, result) for _, setting, result in results()]
    presets = [run for run in runs if run[0].group == "presets"]
    _curves("quality-curves", [run for run in presets if run[0].steps <= 1000])
    _curves("quality-curves-long", [run for run in presets if run[0].steps > 1000])
    others = [run for run in runs if run[0].group != "presets"]
    if others:
        _curves("quality-curves-recommended", others)
    _draw_side_by_side()


def _curves(name: str, runs: list[tuple[Setting, dict[str, Any]]]) -> None:
    """Draw FID and losses by step as one picture."""
    import matplotlib  # pyright: ignore[reportMissingImports]  # extra: bench

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    figure, (fid, d_loss, g_loss) = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for i, (setting, result) in enumerate(runs):
        color = f"C{i}"
        for weights, style in (("last", "-"), ("average", "--")):
            points = [(s["step"], s["fid"]) for s in result["curve"] if s["weights"] == weights]
            if points:
                fid.plot(*zip(*points, strict=True), style, color=color, marker="o", markersize=3)
        for axis, loss in ((d_loss, "d_loss"), (g_loss, "g_loss")):
            values = np.array([[row["step"], row[loss]] for row in result["losses"]])
            smooth = np.convolve(values[:, 1], np.ones(10) / 10, "valid")  # means over 100 steps
            axis.plot(values[9:, 0], smooth, color=color, label=setting.label())
    fid.set(xlabel="step", ylabel="FID", yscale="log", title="FID of 10,000 images (dashed: averaged weights)")
    lowest = min(score["fid"] for _, result in runs for score in result["curve"])
    ticks = [tick for tick in (1, 2, 5, 10, 25, 50, 100, 200, 400, 800) if tick > lowest / 2]
    fid.set(yticks=ticks, yticklabels=ticks)
    fid.minorticks_off()
    d_loss.set(xlabel="step", ylabel="nats", title="D's loss, mean of ten rows")
    g_loss.set(xlabel="step", ylabel="nats", title="G's loss, mean of ten rows")
    g_loss.legend(fontsize=8)
    figure.savefig(PICTURES / f"{name}.png", dpi=100)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description="Train and score, setting by setting.")
    parser.add_argument(
        "--only", choices=list(RUNS), nargs="+", default=list(RUNS), metavar="RUN", help=", ".join(RUNS)
    )
    parser.add_argument("--folder", type=Path, default=Path("runs") / "quality", help="directory of the runs")
    parser.add_argument("--report", action="store_true", help="only make tables and pictures of the results")
    args = parser.parse_args()
    if args.report:
        _report()
        return 0
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        _run(name, RUNS[name], (args.folder / name).absolute())
    return 0


if __name__ == "__main__":
    sys.exit(main())
