"""A search over ways to train the tutorial's two networks: cheapest first, by successive halving.

    python -m benchmarks.search --steps 250                       # every setting of the table, 250 steps each
    python -m benchmarks.search --only no-dropout --steps 1000    # the ones that are worth more
    python -m benchmarks.search --only no-dropout --seed 1 --steps 1000
    python -m benchmarks.search --report                          # the table

Stop it in any way and start it again: a run resumes from its checkpoint, and a longer run starts from a shorter one.
At steps 250, 500 and 1,000 the run keeps 5,000 samples of up to three sets of weights: the last, the average with a
ramp, and that average with statistics of batch normalisation taken anew. Each is scored in the features of each
extractor, and the scores of a run are one JSON file, benchmarks/results/search/<name>-<seed>.json.
"""

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import markdown_table, write_arrays, write_json
from benchmarks.search_settings import SETTINGS

RESULTS = Path(__file__).parent / "results" / "search"
POINTS = (250, 500, 1000, 2000, 3000)  # at which samples are kept
WEIGHTS = ("last", "average", "recomputed")
_WEIGHTS_AT = {250: ("average", "recomputed")}  # of the first point; all three at later ones
SAMPLES = 5_000
EXTRACTORS = ("own", "strided", "autoencoder")  # the third is for a final table only
_CHECKPOINT_EVERY = 50


def train(name: str, seed: int, steps: int, directory: Path) -> None:
    """Train up to ``steps`` steps, from the newest checkpoint, and keep samples at each of `POINTS` and at the end."""
    import jax

    from benchmarks.search_step import create_state, search_step
    from dcgan_jax import load_dataset

    setting = SETTINGS[name]
    directory.mkdir(parents=True, exist_ok=True)
    init_key, run_key, evaluation_key = jax.random.split(jax.random.key(seed, impl="threefry2x32"), 3)
    state = create_state(setting, init_key)
    checkpoint = directory / "checkpoint.npz"
    rows: list[dict[str, float]] = []
    if setting.branch and not checkpoint.exists():
        other, step = setting.branch
        train(other, seed, step, directory.with_name(f"{other}-{seed}"))
        os.link(directory.with_name(f"{other}-{seed}") / f"{step}.npz", checkpoint)
    if checkpoint.exists():
        state, rows = _restore(checkpoint, state)
    done = len(rows)
    dataset = jax.device_put(load_dataset())
    began, first = time.perf_counter(), done
    while done < steps:
        state, metrics = search_step(
            state,
            dataset,
            run_key,
            setting=setting,
            batch_size=setting.batch_size(done),
            penalised=bool(setting.r1 or setting.r2) and done % setting.penalty_every == 0,
        )
        rows.append({key: float(value) for key, value in metrics.items()})
        done += 1
        if not np.isfinite(list(rows[-1].values())).all():
            raise FloatingPointError(f"{name}, step {done}: {rows[-1]}")
        if done in POINTS or done == steps:
            _keep_samples(directory, done, state, evaluation_key)
        if done % _CHECKPOINT_EVERY == 0 or done in POINTS or done == steps:
            _save(checkpoint, state, rows)
            if done in POINTS:  # a branch may start here
                (directory / f"{done}.npz").unlink(missing_ok=True)
                os.link(checkpoint, directory / f"{done}.npz")
            seconds = (time.perf_counter() - began) / (done - first)
            recent = {key: np.mean([row[key] for row in rows[-_CHECKPOINT_EVERY:]]) for key in rows[-1]}
            told = ", ".join(f"{key} {value:.3f}" for key, value in recent.items())
            print(f"{name}-{seed}, step {done}: {told}, {seconds:.2f} s a step", flush=True)


def _keep_samples(directory: Path, step: int, state: Any, key: Any) -> None:
    """Write uint8 samples of each set of weights, all of the same noise."""
    import jax

    from benchmarks.search_step import with_recomputed_statistics
    from dcgan_jax.sampling import sample_in_batches

    for weights in _WEIGHTS_AT.get(step, WEIGHTS):
        network = state.gan.generator if weights == "last" else state.averaged()
        if weights == "recomputed":
            network = with_recomputed_statistics(network, jax.random.key(0))
        images = sample_in_batches(state.gan.replace(generator=network), key, SAMPLES)
        images = {"images": np.rint(images * 255).astype(np.uint8)}
        write_arrays(directory / f"{step}-{weights}.npz", images, compress=True)


def _save(path: Path, state: Any, rows: list[dict[str, float]]) -> None:
    """Write the state's leaves and the metrics so far, in one move."""
    import jax

    leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    metrics = {f"metric_{key}": np.array([row[key] for row in rows]) for key in rows[-1]}
    write_arrays(path, {**leaves, **metrics})


def _restore(path: Path, state: Any) -> tuple[Any, list[dict[str, float]]]:
    """What `_save` wrote, in the shape of ``state``."""
    import jax
    import jax.numpy as jnp

    with np.load(path, allow_pickle=False) as arrays:
        leaves, structure = jax.tree.flatten(state)
        saved = [jnp.asarray(arrays[f"leaf_{i}"]) for i in range(len(leaves))]
        metrics = {name.removeprefix("metric_"): arrays[name] for name in arrays.files if name.startswith("metric_")}
    rows = [dict(zip(metrics, map(float, values), strict=True)) for values in zip(*metrics.values(), strict=True)]
    return jax.tree.unflatten(structure, saved), rows


def score(name: str, seed: int, directory: Path) -> None:
    """Score the samples that a run has kept and that have no scores yet, and write the run's result."""
    setting = SETTINGS[name]
    path = RESULTS / f"{name}-{seed}.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    rows = {(row["step"], row["weights"]): row for row in result.get("scores", [])}
    for step, weights in _kept(directory):
        row = rows.setdefault((step, weights), {"step": step, "weights": weights})
        missing = [extractor for extractor in EXTRACTORS if extractor not in row]
        if missing:
            with np.load(directory / f"{step}-{weights}.npz", allow_pickle=False) as arrays:
                images = arrays["images"]
            row.update({extractor: figures(extractor, images) for extractor in missing})
            told = ", ".join(f"{extractor} FID {row[extractor]['fid']:.2f}" for extractor in EXTRACTORS)
            print(f"{name}-{seed}, step {step}, {weights} weights: {told}", flush=True)
    result = {
        "name": name,
        "seed": seed,
        "predicted": setting.predicted,
        "differences": setting.differences(),
        "samples": SAMPLES,
        "scores": [rows[at] for at in sorted(rows, key=lambda at: (at[0], WEIGHTS.index(at[1])))],
        "losses": _losses(directory),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(path, result)


def figures(extractor: str, images: np.ndarray) -> dict[str, Any]:
    """What images [N, 28, 28, 1] score against MNIST's test images in one extractor's features.

    FID of the features as they are and standardised, KID, precision and recall; of a classifier also the digits'
    shares, and their KL divergence from the uniform histogram in nats.
    """
    from benchmarks.extractors import load_extractor
    from benchmarks.scores import distances, overlap

    real, real_radii, standardise = _real(extractor)
    logits, features = load_extractor(extractor)(images)
    result: dict[str, Any] = distances(features, real)
    result["fid_standardised"] = distances(standardise(features), standardise(real), kid=False)["fid"]
    result.update(overlap(features, real, real_radii))
    if logits is not None:
        shares = np.bincount(logits.argmax(-1), minlength=10) / len(logits)
        result["digits"] = shares.tolist()
        result["digit_kl"] = float(np.sum(shares * np.log(np.maximum(shares, 1e-12) * 10)))
    return result


@functools.cache
def _real(extractor: str) -> Any:
    """Features of the test images, their radii, and the scale that the training images set."""
    from benchmarks.extractors import load_extractor, mnist_test_features
    from benchmarks.scores import radii, standardising
    from dcgan_jax import load_dataset

    real = mnist_test_features(extractor)
    return real, radii(real), standardising(load_extractor(extractor)(load_dataset()[:20_000])[1])


def _kept(directory: Path) -> Iterator[tuple[int, str]]:
    """Steps and weights whose samples are there, in order."""
    for path in sorted(directory.glob("*-*.npz")):
        step, weights = path.stem.split("-")
        yield int(step), weights


def _losses(directory: Path) -> list[dict[str, float]]:
    """Means of the metrics over each 50 steps."""
    with np.load(directory / "checkpoint.npz", allow_pickle=False) as arrays:
        metrics = {n.removeprefix("metric_"): arrays[n] for n in arrays.files if n.startswith("metric_")}
    means = {key: values[: len(values) // 50 * 50].reshape(-1, 50).mean(1) for key, values in metrics.items()}
    rows = zip(*means.values(), strict=True)
    return [{"step": 50 * i, **dict(zip(means, map(float, row), strict=True))} for i, row in enumerate(rows, start=1)]


def table(seeds: tuple[int, ...] = (0, 1, 2)) -> str:
    """A row a run: what was predicted, and what it gave at each step, by the better of its weights in own FID."""
    header = (
        *("setting, seed", "predicted", "step: weights", "FID own / strided / autoencoder"),
        *("recall own / strided", "precision own", "digits' KL own / strided"),
    )
    lines = []
    for name, setting in SETTINGS.items():
        for seed in seeds:
            path = RESULTS / f"{name}-{seed}.json"
            if not path.exists():
                continue
            rows = json.loads(path.read_text())["scores"]
            for i, step in enumerate(sorted({row["step"] for row in rows})):
                row = min((r for r in rows if r["step"] == step), key=lambda r: r["own"]["fid"])
                own, strided, code = (row[extractor] for extractor in EXTRACTORS)
                cells = (
                    *(("", "") if i else (f"{name}, {seed}", setting.predicted)),
                    f"{step}: {row['weights']}",
                    f"{own['fid']:.1f} / {strided['fid']:.1f} / {code['fid']:.2f}",
                    f"{own['recall']:.3f} / {strided['recall']:.3f}",
                    f"{own['precision']:.3f}",
                    f"{own['digit_kl']:.3f} / {strided['digit_kl']:.3f}",
                )
                lines.append(cells)
    return markdown_table(header, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Train and score, setting by setting.")
    parser.add_argument("--only", choices=list(SETTINGS), nargs="+", default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=250, help="the length of each run (default: 250)")
    parser.add_argument("--directory", type=Path, default=Path("runs") / "search", help="where the runs are kept")
    parser.add_argument("--train-only", action="store_true", help="keep the samples, and leave scoring to a later call")
    parser.add_argument("--report", action="store_true", help="only print the table of what is there")
    args = parser.parse_args()
    if args.report:
        print(table())
        return 0
    for name in args.only:
        directory = args.directory.absolute() / f"{name}-{args.seed}"
        train(name, args.seed, args.steps, directory)
        if not args.train_only:
            score(name, args.seed, directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
