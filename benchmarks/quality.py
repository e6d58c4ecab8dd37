"""Quality of the digits, setting by setting: one run after the other, all scored by the same evaluator.

    python -m benchmarks.quality                  # all runs without a result; hours on a CPU
    python -m benchmarks.quality --only keras3    # one of them
    python -m benchmarks.quality --report         # tables and pictures from the results

An interrupted benchmark continues when it is started again: each run resumes from its checkpoint in
``runs/quality/<name>``, and a run with a result in ``benchmarks/results/quality`` is done.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import common
from benchmarks.common import ROOT, machine, markdown_table, write_json

RESULTS = common.RESULTS / "quality"
PICTURES = ROOT / "docs" / "images"


class Setting(NamedTuple):
    """One run: its title, its flags beside the common ones, its steps, its program, the decay of its moving average."""

    title: str
    flags: tuple[str, ...] = ()
    steps: int = 1000
    program: str = "train"
    ema: float = 0.999


RUNS = {
    "tutorial-0": Setting("tutorial, seed 0", ("--seed", "0")),
    "training-fakes": Setting("tutorial, D's fakes in training mode", ("--fakes", "training")),
    "keras": Setting("the Keras program as in its repository", program="keras"),
    "keras3": Setting("tutorial, epsilon inside the root", ("--preset", "keras3")),
    "upstream": Setting("upstream", ("--preset", "upstream")),
    "article": Setting("article", ("--preset", "article")),
    "article-1": Setting("article, seed 1, average 0.99", ("--preset", "article", "--seed", "1"), ema=0.99),
    "tutorial-1": Setting("tutorial, seed 1", ("--seed", "1")),
    "tutorial-2": Setting("tutorial, seed 2", ("--seed", "2")),
    "article-long": Setting("article, 3,000 steps", ("--preset", "article"), steps=3000),
}
_BATCH_SIZE = 64
_POINTS = 4  # of a run's curve


def _train(name: str, setting: Setting, folder: Path) -> dict[str, Any]:
    """Train with ``train.py``, then score the last and the averaged weights at each point of the curve."""
    from dcgan_jax import averaged, evaluate, load_run
    from dcgan_jax.training.checkpoint import checkpoint_steps

    every = setting.steps // _POINTS
    new = ["--batch-size", _BATCH_SIZE, "--ema", setting.ema, "--checkpoint-every", every, "--keep-checkpoints", 1000]
    flags = ["--resume"] if (folder / "config.json").exists() else [*new, *setting.flags]
    command = ["train.py", "--steps", setting.steps, "--workdir", folder, "--sample-every", every, *flags]
    if setting.steps not in checkpoint_steps(folder / "checkpoints"):
        subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)

    curve, floor = [], None
    for step in range(every, setting.steps + 1, every):
        run = load_run(folder, step)
        for weights, state in (("last", run.state), ("average", averaged(run.state))):
            result = evaluate(state, run.keys["evaluation"])
            floor = result.floor._asdict()
            curve.append({"step": step, "weights": weights, **result.scores._asdict()})
            print(f"{name}, step {step}, {weights} weights: FID {result.scores.fid:.2f}", flush=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    flags = [str(flag) for flag in (*new, *setting.flags)]
    return {"flags": flags, "curve": curve, "floor": floor, "losses": [row for row in rows if "d_loss" in row]}


def _keras(name: str, setting: Setting, folder: Path) -> dict[str, Any]:
    """Train the Keras program, and score its images."""
    from dcgan_jax import evaluate_images

    every = setting.steps // _POINTS
    flags = ["--steps", setting.steps, "--batch-size", _BATCH_SIZE, "--draw-every", every, *setting.flags]
    command = [sys.executable, "-m", "benchmarks.peers.keras_published", folder, *flags]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    curve, floor = [], None
    for step in range(every, setting.steps + 1, every):
        result = evaluate_images(np.load(folder / f"{step}.npy"))
        floor = result.floor._asdict()
        curve.append({"step": step, "weights": "last", **result.scores._asdict()})
        print(f"{name}, step {step}: FID {result.scores.fid:.2f}", flush=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    every_tenth = [row for row in rows if row["step"] == 1 or row["step"] % 10 == 0]
    return {"flags": [str(flag) for flag in flags], "curve": curve, "floor": floor, "losses": every_tenth}


def _draw(name: str, setting: Setting, folder: Path, curve: list[dict[str, Any]]) -> None:
    """The picture of a run: fifty images of its last step, with the weights that have the lower FID."""
    from dcgan_jax import averaged, load_run, save_grid
    from dcgan_jax.sampling import sample_in_batches

    if setting.program == "keras":
        images = np.load(folder / f"{setting.steps}.npy")[:50]
    else:
        run = load_run(folder, setting.steps)
        best = min((row for row in curve if row["step"] == setting.steps), key=lambda row: row["fid"])
        state = averaged(run.state) if best["weights"] == "average" else run.state
        images = sample_in_batches(state, run.keys["fakes"], 50)
    save_grid(PICTURES / f"quality-{name}.png", images, columns=10)


def results() -> Iterator[tuple[str, Setting, dict[str, Any]]]:
    """The runs with a result, in the order of `RUNS`."""
    for name, setting in RUNS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            yield name, setting, json.loads(path.read_text())


def table() -> str:
    """A row for each run's end, the averaged weights in one of their own, and the floor."""

    def row(title: str, weights: str, s: dict[str, Any]) -> list[str]:
        missing = " ".join(map(str, s["missing_digits"])) or "none"
        two, three = (f"{s['fid']:.2f}", f"{s['kid']:.2f}"), (f"{s['precision']:.3f}", f"{s['recall']:.3f}")
        digits = f"{s['digit_kl']:.3f}, {missing}"
        return [title, weights, *two, *three, f"{s['mnist_score']:.2f}", digits, f"{s['nearest']:.2f}"]

    rows, floor = [], None
    for _, setting, result in results():
        floor = result["floor"]
        rows += [row(setting.title, s["weights"], s) for s in result["curve"] if s["step"] == setting.steps]
    if floor:
        rows.append(row("real images (the floor)", "", floor))
    scores = ("FID", "KID", "precision", "recall", "MNIST score", "digits: KL, missing", "nearest")
    return markdown_table(("run", "weights", *scores), rows)


def _report() -> None:
    """Print the table, and draw the curves of the runs and of the long one."""
    print(table())
    runs = [(setting, result) for _, setting, result in results()]
    _curves("quality-curves", [run for run in runs if run[0].steps <= 1000])
    _curves("quality-curves-long", [run for run in runs if run[0].steps > 1000])


def _curves(name: str, runs: list[tuple[Setting, dict[str, Any]]]) -> None:
    """FID and losses by step, as one picture."""
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
            axis.plot(values[9:, 0], smooth, color=color, label=setting.title)
    fid.set(xlabel="step", ylabel="FID", yscale="log", title="FID of 10,000 images (dashed: averaged weights)")
    fid.set(yticks=(50, 100, 200, 400, 800), yticklabels=(50, 100, 200, 400, 800))
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
        path, setting = RESULTS / f"{name}.json", RUNS[name]
        if path.exists():
            continue
        folder = (args.folder / name).absolute()
        result = (_keras if setting.program == "keras" else _train)(name, setting, folder)
        _draw(name, setting, folder, result["curve"])
        write_json(path, {"title": setting.title, "machine": machine(), **result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
