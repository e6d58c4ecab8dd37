"""What helps where pictures are few: settings of augmentation, and weights to start from, on 100 to 1,000 of a folder.

    python -m benchmarks.few_pictures PICTURES --pictures 300 --size 32 --steps 3000 --minutes 60
    python -m benchmarks.few_pictures PICTURES --settings none adaptive adaptive@runs/0001
    python -m benchmarks.few_pictures PICTURES --peer-python VENV/bin/python --only-peer
    python -m benchmarks.few_pictures --report

Each setting trains by the project's own command with the preset ``recommended``, one after the other, for so many steps
or minutes. A setting is what ``--augment`` takes, or that and, after an @, a run to start from. The peer is
`benchmarks.peers.lightweight` in a Python of its own, for as many minutes.

Of all pictures in the folder, in an order that is always the same, the first are trained on, so that 300 are the 100
and others; the last are the reference that images are compared with in the features of ``--features perceptual``; and
as many before them, which nobody is trained on either, are the floor. The distances are those to the nearest picture
that was trained on. What is done is kept: the program goes on where it was stopped. Grids are of the first 36 images of
a fixed seed, none chosen.
"""

import argparse
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import RESULTS, ROOT, machine, markdown_table, write_json
from dcgan_jax import averaged, load_run, save_grid
from dcgan_jax.data import load_data
from dcgan_jax.evaluation.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from dcgan_jax.evaluation.images import draw_bytes
from dcgan_jax.evaluation.nearest import nearest_images
from dcgan_jax.evaluation.perceptual_scoring import (
    PerceptualFeatures,
    perceptual_features,
    perceptual_floor,
    score_perceptually,
)
from dcgan_jax.evaluation.results import PerceptualScores
from dcgan_jax.prng import seed_key
from dcgan_jax.training.checkpoint import checkpoint_steps

SETTINGS = ("none", "translation,color,cutout", "adaptive")
PEER = "lightweight-gan"
_GRID = 36
_DISTANCES = ("features", "pixels")
_SUFFIXES = {".png", ".jpg", ".jpeg"}


class Setting(NamedTuple):
    """An augmentation, as ``--augment`` takes it, and a run to start from, or None."""

    augment: str
    init_from: str | None = None

    def flags(self) -> list[str]:
        """Of the command."""
        return ["--augment", self.augment, *(["--init-from", self.init_from] if self.init_from else [])]

    def title(self) -> str:
        """In tables: the run's path is not in it."""
        return f"`{self.augment}`" + (", from the weights of another run" if self.init_from else "")

    def name(self) -> str:
        """In paths and results: no path is in it."""
        return re.sub(r"[^a-z0-9]+", "-", self.augment) + ("-from-run" if self.init_from else "")


class Job(NamedTuple):
    """What one training run is of.

    Attributes:
      pictures: how many it is trained on.
      size: of its images, in pixels.
      steps, minutes: where it ends, whichever comes first.
      batch_size: real images a step.
    """

    pictures: int
    size: int
    steps: int
    minutes: float
    batch_size: int

    def key(self, name: str) -> str:
        """Of its row in the results, and of its folder."""
        return f"{self.pictures}-{self.size}px-{name}"


class Parts(NamedTuple):
    """Files of a folder: those that are trained on, those of the floor, and the reference; none is in two."""

    train: list[Path]
    floor: list[Path]
    reference: list[Path]


class Real(NamedTuple):
    """What is computed once of the pictures that nobody is trained on, in one size."""

    network: EfficientNetLite
    features: PerceptualFeatures
    held_out: np.ndarray
    floor: PerceptualScores


def parse_setting(text: str) -> Setting:
    """``AUGMENT`` or ``AUGMENT@RUN``."""
    augment, _, run = text.partition("@")
    return Setting(augment, str(Path(run).absolute()) if run else None)


def split(files: list[Path], pictures: int, held_out: int) -> Parts:
    """Parts of the files in a random order that is always the same; fewer pictures are among more of them.

    Raises:
      ValueError: if there are too few files.
    """
    if len(files) < pictures + 2 * held_out:
        raise ValueError(
            f"{len(files):,} pictures are too few for {pictures:,} to train on, and {held_out:,} each for the "
            "reference and the floor: take fewer (--pictures, --held-out)"
        )
    mixed = [files[i] for i in np.random.RandomState(0).permutation(len(files))]
    return Parts(mixed[:pictures], mixed[-2 * held_out : -held_out], mixed[-held_out:])


def find_pictures(folder: Path) -> list[Path]:
    """The PNGs and JPEGs below a folder, in one order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


def copied(files: list[Path], folder: Path) -> Path:
    """A folder with copies of these files, which have numbers for names; it is there at once, and whole."""
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for i, file in enumerate(files):
            shutil.copyfile(file, partial / f"{i:06}{file.suffix.lower()}")
        partial.rename(folder)
    return folder


def train(job: Job, setting: Setting, pictures: Path, run_dir: Path, row: dict[str, Any], more: list[str]) -> None:
    """Train by the command until ``job`` ends, and add to the row's ``seconds``, from the start of the process on."""
    if (run_dir / "config.json").exists():
        flags = ["--resume"]
    else:
        flags = [
            "--preset",
            "recommended",
            "--dataset",
            str(pictures),
            "--image-size",
            str(job.size),
            "--channels",
            "3",
        ]
        flags += ["--batch-size", str(job.batch_size), *setting.flags(), *more]
    command = [sys.executable, "train.py", *flags, "--steps", str(job.steps), "--workdir", str(run_dir)]
    began, left = time.perf_counter(), 60 * job.minutes - row["seconds"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        if process.wait(max(left, 1.0)):
            raise RuntimeError(f"{shlex.join(command)} ended with exit code {process.returncode}")
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # it saves, and ends
            process.wait()
        row["seconds"] += time.perf_counter() - began


def train_peer(job: Job, python: str, pictures: Path, folder: Path, row: dict[str, Any], count: int) -> np.ndarray:
    """Let the peer train for the job's minutes, and draw: uint8 [count, size, size, 3]."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = ["--size", job.size, "--minutes", job.minutes, "--steps", job.steps, "--draw", count]
    command = [python, "-m", "benchmarks.peers.lightweight", pictures, folder, *limits]
    if not (folder / "done.json").exists():
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    row |= json.loads((folder / "done.json").read_text())
    return np.load(folder / "images.npy")


def draw(run_dir: Path, count: int) -> np.ndarray:
    """Images of a run's generator, averaged where it has an average: uint8 [count, H, W, C]."""
    state = load_run(run_dir).state
    return draw_bytes(state if state.ema is None else averaged(state), seed_key(0), count, None)


def read_real(floor: Path, reference: Path, size: int) -> Real:
    """The pictures of two folders in a size, and what is computed of them."""
    pool, held_out = read(floor, size), read(reference, size)
    network = load_efficientnet_lite()
    features = perceptual_features(pool, held_out, network)
    return Real(network, features, held_out, perceptual_floor(len(pool), features))


def read(folder: Path, size: int) -> np.ndarray:
    """The pictures of a folder, as the command reads them: uint8 [N, size, size, 3]."""
    return load_data(folder, image_size=(size, size), channels=3, labels=False).images


def score(images: np.ndarray, trained_on: np.ndarray, real: Real) -> dict[str, Any]:
    """The scores of images, uint8 [N, size, size, 3], and of the floor; distances to the nearest training picture."""
    evaluation = score_perceptually(images, real.features, real.floor).to_json()
    for part in ("scores", "floor"):
        del evaluation[part]["nearest"]  # that to the floor's pictures
    queries, nearest = np.concatenate([images, real.held_out]), {}
    for name, network in zip(_DISTANCES, (real.network, None), strict=True):
        distances = nearest_images(queries, trained_on, network)[1]
        fakes, held_out = distances[: len(images)], distances[len(images) :]
        nearest[name] = {"fakes": float(np.median(fakes)), "held_out": float(np.median(held_out))}
    return {"evaluation": evaluation, "nearest": nearest}


def is_finished(row: dict[str, Any], job: Job, step: int) -> bool:
    """Whether training has come to the job's end, by steps or by time."""
    return step >= job.steps or row["seconds"] >= 60 * job.minutes


def last_step(run_dir: Path) -> int:
    """The step of a run's newest checkpoint, 0 before there is one."""
    return max(checkpoint_steps(run_dir / "checkpoints"), default=0)


def table(result: dict[str, Any]) -> str:
    """A row for each training run that is done, in the order of pictures and size."""
    rows = []
    for row in sorted(result["rows"].values(), key=lambda row: (row["size"], row["pictures"])):
        if "evaluation" not in row:
            continue
        scores, floor = row["evaluation"]["scores"], row["evaluation"]["floor"]
        cells = [_beside(scores.get(name), floor.get(name)) for name in ("kid_x1000", "fid", "recall")]
        cells += [_beside(row["nearest"][name]["fakes"], row["nearest"][name]["held_out"]) for name in _DISTANCES]
        what = f"{row['pictures']:,}", f"{row['size']}x{row['size']}", row["title"]
        rows.append([*what, f"{row['steps']:,}", f"{row['seconds'] / 60:.1f}", *cells])
    header = ("pictures", "size", "setting", "steps", "minutes", "KID times 1,000", "FID", "recall")
    return markdown_table((*header, "nearest training picture, features", "pixels"), rows)


def _beside(value: float | None, real: float | None) -> str:
    """A score, and in brackets that of real images; empty where there is none."""
    return "" if value is None or real is None else f"{value:.3g} ({real:.3g})"


def run(args: argparse.Namespace, parts: Parts, more: list[str]) -> None:
    """Train, draw and score what is not done yet; the results are written after each."""
    data, count = args.work / "data", args.held_out
    folders = [copied(part, data / f"{name}-{len(part)}") for name, part in parts._asdict().items()]
    job = Job(args.pictures, args.size, args.steps, args.minutes, args.batch_size)
    settings = [] if args.only_peer else [parse_setting(text) for text in args.settings]
    names = [setting.name() for setting in settings] + ([PEER] if args.peer_python else [])
    result = json.loads(args.json.read_text()) if args.json.exists() else {"machine": machine(), "rows": {}}
    real: Real | None = None
    for i, name in enumerate(names):
        key, setting = job.key(name), settings[i] if i < len(settings) else None
        row = {"title": PEER if setting is None else setting.title(), "seconds": 0.0, **job._asdict()}
        row = result["rows"].setdefault(key, row)
        if "evaluation" in row:
            continue
        folder, images = args.work / key, None
        if setting is None:
            images = train_peer(job, args.peer_python, folders[0], folder, row, count)
        else:
            while not is_finished(row, job, last_step(folder)):
                try:
                    train(job, setting, folders[0], folder, row, more)
                finally:
                    write_json(args.json, result)
            row["steps"], images = last_step(folder), draw(folder, count)
        save_grid(args.work / f"{key}.png", images[:_GRID], columns=6)
        real = real or read_real(folders[1], folders[2], args.size)
        row |= score(images, read(folders[0], args.size), real)
        write_json(args.json, result)
        print(table(result), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of pictures, PNGs and JPEGs, in any folders below it")
    parser.add_argument("--pictures", type=int, default=300, help="to train on (default: 300)")
    parser.add_argument("--held-out", type=int, default=2000, help="for the reference, and as many for the floor")
    parser.add_argument("--size", type=int, default=32, help="of the images (default: 32)")
    parser.add_argument("--steps", type=int, default=3000, help="of each setting, at most (default: 3000)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each setting, at most (default: 60)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--settings", nargs="+", default=SETTINGS, metavar="SETTING", help="AUGMENT or AUGMENT@RUN")
    parser.add_argument("--train-flags", default="", help="more flags for each run, such as '--mirror --ema 0.99'")
    parser.add_argument("--peer-python", help="a Python with lightweight-gan, to train it too")
    parser.add_argument("--only-peer", action="store_true", help="train the peer alone")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "few_pictures", help="runs, pictures, grids")
    parser.add_argument("--json", type=Path, default=RESULTS / "few_pictures.json", help="everything measured")
    parser.add_argument("--report", action="store_true", help="only print the table of what is done")
    args = parser.parse_args()
    if not args.report:
        if args.folder is None or not args.folder.is_dir():
            parser.error(f"there is no folder {args.folder}: name one with pictures")
        if min(args.pictures, args.held_out - 3, args.size, args.steps, args.minutes, args.batch_size) <= 0:
            parser.error("all numbers must be above 0, and --held-out at least 4")
        if args.only_peer and not args.peer_python:
            parser.error("--only-peer needs --peer-python")
        args.work = args.work.absolute()
        try:
            parts = split(find_pictures(args.folder), args.pictures, args.held_out)
        except ValueError as error:
            parser.error(str(error))
        run(args, parts, shlex.split(args.train_flags))
    print(table(json.loads(args.json.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
