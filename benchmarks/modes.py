"""Count the modes of stacked MNIST that a run's images have, and their KL divergence from the real images' modes.

    python -m benchmarks.modes                                                    # recommended, three seeds
    python -m benchmarks.modes --settings "tutorial=--preset tutorial" --seeds 0
    python -m benchmarks.modes --report                                           # the table

A setting is a name and, after an equals sign, flags of ``train.py``. Each is trained at batch size 64 with each seed
and scored at the steps of ``--at``, as ``dcgan-jax evaluate`` does: 26,000 images by the average of the weights, or the
last ones where there is none, each channel read by the package's classifier. Finished results are kept, and an
interrupted program continues from them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, machine, markdown_table, write_json
from benchmarks.pictures import Setting, parse_setting, told, train_to
from dcgan_jax import averaged, load_run
from dcgan_jax.training.evaluate_run import evaluate_run
from dcgan_jax.training.recipe import read_recipe

SETTINGS = ("recommended=--preset recommended",)


def run(work: Path, path: Path, settings: list[Setting], seeds: list[int], at: list[int]) -> None:
    """Train and score what the results lack; they are written after each."""
    result = json.loads(path.read_text()) if path.exists() else {"machine": machine(), "rows": {}}
    for setting in settings:
        for seed in seeds:
            run_dir = work / f"{setting.name}-{seed}"
            for step in sorted(at):
                key = f"{run_dir.name}-{step}"
                if key in result["rows"]:
                    continue
                flags = ["--dataset", "stacked_mnist", "--batch-size", "64", "--seed", str(seed), *setting.flags]
                recipe = setting.recipe()
                train_to(step, run_dir, flags, recipe)
                trained = load_run(run_dir, step, init=read_recipe(recipe[1]) if recipe else None)
                if trained.state.ema is not None:
                    trained = trained._replace(state=averaged(trained.state))
                row = {"name": setting.name, "flags": told(setting.flags), "seed": seed, "steps": step}
                result["rows"][key] = row | {"evaluation": evaluate_run(trained).to_json()}
                write_json(path, result)
                print(table(result), flush=True)


def table(result: dict[str, Any]) -> str:
    """A row for each run and step, and one for real images."""
    rows = sorted(result["rows"].values(), key=lambda row: (row["name"], row["steps"], row["seed"]))
    header = ("setting", "flags", "seed", "steps", "modes, of 1,000", "KL, nats", "confident")
    what = [(row["name"], row["flags"], str(row["seed"]), f"{row['steps']:,}") for row in rows]
    cells = [(*each, *_scores(row["evaluation"]["scores"])) for each, row in zip(what, rows, strict=True)]
    real = [("real images", "", "", "", *_scores(rows[0]["evaluation"]["floor"]))] if rows else []
    return markdown_table(header, [*cells, *real])


def _scores(scores: dict[str, Any]) -> tuple[str, str, str]:
    return f"{scores['modes']:,}", f"{scores['mode_kl']:.3f}", f"{100 * scores['confident']:.1f} %"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=SETTINGS, metavar="NAME=FLAGS", help="of train.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--at", type=int, nargs="+", default=[300], help="steps that are scored (default: 300)")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "modes", help="the runs")
    parser.add_argument("--json", type=Path, default=RESULTS / "modes.json", help="everything measured")
    parser.add_argument("--report", action="store_true", help="only print the table of what is done")
    args = parser.parse_args()
    if not args.report:
        try:
            settings = [parse_setting(text) for text in args.settings]
        except ValueError as error:
            parser.error(str(error))
        if min(args.at) < 1:
            parser.error("--at must be above 0")
        run(args.work.absolute(), args.json, settings, args.seeds, args.at)
    print(table(json.loads(args.json.read_text())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
