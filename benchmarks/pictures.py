"""Compare settings on pictures of a folder: runs of this project, and peers trained on the same pictures.

    python -m benchmarks.pictures FOLDER --pictures 300 --at 1000 3000 --settings "none=--augment none" adaptive=
    python -m benchmarks.pictures FOLDER --pictures 50000 --held-out 5000 --settings recommended= "r1=--r1 1"
    python -m benchmarks.pictures FOLDER --settings --pytorch VENV/bin/python --lightweight VENV/bin/python
    python -m benchmarks.pictures --report

A setting is a name and, after an equals sign, flags of ``train.py``; the preset ``recommended`` and batches of 64 are
the defaults. With ``--conditional`` the classes are the folders of the pictures. Each is scored at the steps of
``--at``. The peers are `benchmarks.peers.pytorch_dcgan`, for as many steps, and `benchmarks.peers.lightweight`, for
``--minutes``, each in its own Python environment.

The folder's pictures are put in a fixed random order. The first are the training set, so that one of 300 contains the
one of 100; the last are the reference for scores in the features of ``--features perceptual``; as many before them,
held out of training too, are the floor. For small training sets the distances to the nearest training picture are
measured too. Finished results are kept, and an interrupted program continues from them. Grids show the first 36 images
of a fixed seed, uncurated.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
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
from dcgan_jax.presets import FEW_PICTURES
from dcgan_jax.prng import seed_key
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.recipe import read_recipe

SETTINGS = ("none=--augment none", "translation=--augment translation,color,cutout", "adaptive=--augment adaptive")
LIGHTWEIGHT, PYTORCH = "lightweight-gan", "PyTorch's DCGAN recipe"
_GRID = 36
_DISTANCES = ("features", "pixels")
_SUFFIXES = {".png", ".jpg", ".jpeg"}


class Setting(NamedTuple):
    """A name, and flags of ``train.py``."""

    name: str
    flags: tuple[str, ...] = ()

    def recipe(self) -> list[str]:
        """``--recipe FILE`` if it is among the flags, as each resumption needs it again."""
        return [] if "--recipe" not in self.flags else ["--recipe", self.flags[self.flags.index("--recipe") + 1]]

    def by_class(self) -> bool:
        """Whether the classes of the pictures are learned, which are the names of their folders."""
        return "--conditional" in self.flags


class Job(NamedTuple):
    """The data of a training run.

    Attributes:
      pictures: the number of training pictures.
      size: the side of its images in pixels.
      batch_size: real images per step.
    """

    pictures: int
    size: int
    batch_size: int

    def key(self, name: str) -> str:
        """The name of a run's folder, and the prefix of its rows in the results."""
        return f"{self.pictures}-{self.size}px-{name}"


class Parts(NamedTuple):
    """Disjoint files of a folder: the training set, the floor and the reference."""

    train: list[Path]
    floor: list[Path]
    reference: list[Path]


class Real(NamedTuple):
    """What is computed once from the held-out pictures at one size."""

    network: EfficientNetLite
    features: PerceptualFeatures
    held_out: np.ndarray
    floor: PerceptualScores


def parse_setting(text: str) -> Setting:
    """Parse ``NAME=FLAGS``.

    Raises:
      ValueError: if there is no name of letters, digits and hyphens.
    """
    name, equals, flags = text.partition("=")
    if not equals or not name.replace("-", "").isalnum():
        raise ValueError(f"a setting is NAME=FLAGS, its name of letters, digits and hyphens, got {text!r}")
    return Setting(name, tuple(shlex.split(flags)))


def split(files: list[Path], pictures: int, held_out: int) -> Parts:
    """Split the files, in a fixed random order; a smaller training set is part of a larger one.

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
    """The PNGs and JPEGs below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


def copied(files: list[Path], folder: Path, by_class: bool = False) -> Path:
    """Copy these files to a folder, with numbers as names; the folder is created atomically.

    With ``by_class`` they lie in folders of the names of their own.
    """
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for i, file in enumerate(files):
            target = partial / (file.parent.name if by_class else "") / f"{i:06}{file.suffix.lower()}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
        partial.rename(folder)
    return folder


def train(job: Job, setting: Setting, pictures: Path, run_dir: Path, step: int) -> float:
    """Train with ``train.py`` up to a step, from the last checkpoint; returns the seconds taken, start-up included."""
    data = "--dataset", str(pictures), "--image-size", str(job.size), "--channels", "3"
    preset = [] if setting.recipe() else ["--preset", "recommended"]
    flags = [*preset, *data, "--batch-size", str(job.batch_size), *setting.flags]
    return train_to(step, run_dir, flags, setting.recipe())


def train_to(step: int, run_dir: Path, flags: list[str], recipe: list[str]) -> float:
    """Train up to a step, with ``flags`` at first and from the last checkpoint afterwards; returns the seconds taken.

    ``recipe`` is what each resumption needs again, as from `Setting.recipe`.
    """
    if last_step(run_dir) >= step:
        return 0.0
    if (run_dir / "config.json").exists():
        flags = ["--resume", *recipe]
    began = time.perf_counter()
    command = [sys.executable, "train.py", *flags, "--steps", str(step), "--workdir", str(run_dir)]
    subprocess.run(command, cwd=ROOT, check=True)
    return time.perf_counter() - began


def train_lightweight(
    job: Job, python: str, pictures: Path, folder: Path, minutes: float, count: int
) -> tuple[int, float, np.ndarray]:
    """Train lightweight-gan for ``minutes``; returns steps, seconds and images, uint8 [count, size, size, 3]."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = ["--size", job.size, "--minutes", minutes, "--draw", count]
    command = [python, "-m", "benchmarks.peers.lightweight", pictures, folder, *limits]
    if not (folder / "done.json").exists():
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    done = json.loads((folder / "done.json").read_text())
    return done["steps"], done["seconds"], np.load(folder / "images.npy")


def train_pytorch(job: Job, python: str, pictures: Path, folder: Path, at: list[int]) -> float:
    """Train up to the last step of ``at``, and write ``STEP.npy`` for each; returns the seconds taken."""
    folder.mkdir(parents=True, exist_ok=True)
    if all((folder / f"{step}.npy").exists() for step in at):
        return 0.0
    images = folder / "pictures.npy"
    if not images.exists():
        np.save(images, read(pictures, job.size))
    began = time.perf_counter()
    steps = ["--steps", max(at), "--draw-at", *at, "--batch-size", job.batch_size, "--images", images]
    command = [python, "-m", "benchmarks.peers.pytorch_dcgan", folder, *steps]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    return time.perf_counter() - began


def draw(run_dir: Path, setting: Setting, step: int, count: int) -> np.ndarray:
    """Images of a run's generator, of its moving average if it has one: uint8 [count, H, W, C].

    Those of a conditional run are of each class in turn.
    """
    recipe = setting.recipe()
    state = load_run(run_dir, step, init=read_recipe(recipe[1]) if recipe else None).state
    labels = None if state.classes is None else jnp.arange(count) % state.classes
    return draw_bytes(state if state.ema is None else averaged(state), seed_key(0), count, labels)


def read_real(floor: Path, reference: Path, size: int) -> Real:
    """Read the pictures of two folders at one size, and compute their features and floor."""
    pool, held_out = read(floor, size), read(reference, size)
    network = load_efficientnet_lite()
    features = perceptual_features(pool, held_out, network)
    return Real(network, features, held_out, perceptual_floor(len(pool), features))


def read(folder: Path, size: int) -> np.ndarray:
    """The pictures of a folder, as ``train.py`` reads them: uint8 [N, size, size, 3]."""
    return load_data(folder, image_size=(size, size), channels=3, labels=False).images


def score(images: np.ndarray, trained_on: np.ndarray | None, real: Real) -> dict[str, Any]:
    """The scores of images, uint8 [N, size, size, 3], and of the floor, and distances to ``trained_on`` if given."""
    evaluation = score_perceptually(images, real.features, real.floor).to_json()
    for part in ("scores", "floor"):
        del evaluation[part]["nearest"]  # the distance to the floor's pictures
    if trained_on is None:
        return {"evaluation": evaluation}
    queries, nearest = np.concatenate([images, real.held_out]), {}
    for name, network in zip(_DISTANCES, (real.network, None), strict=True):
        distances = nearest_images(queries, trained_on, network)[1]
        fakes, held_out = distances[: len(images)], distances[len(images) :]
        nearest[name] = {"fakes": float(np.median(fakes)), "held_out": float(np.median(held_out))}
    return {"evaluation": evaluation, "nearest": nearest}


def last_step(run_dir: Path) -> int:
    """The step of a run's newest checkpoint, 0 before there is one."""
    return max(checkpoint_steps(run_dir / "checkpoints"), default=0)


def table(result: dict[str, Any]) -> str:
    """A row for each training run and step, in the order of size, pictures, steps and KID."""
    rows = sorted(result["rows"].values(), key=lambda row: (row["size"], row["pictures"], row["steps"], _kid(row)))
    distances = [name for name in _DISTANCES if any("nearest" in row for row in rows)]
    cells = []
    for row in rows:
        scores, floor = row["evaluation"]["scores"], row["evaluation"]["floor"]
        what = f"{row['pictures']:,}", f"{row['size']}x{row['size']}", f"{row['steps']:,}", row["name"], row["flags"]
        values = [_beside(scores.get(name), floor.get(name)) for name in ("kid_x1000", "fid", "precision", "recall")]
        near = row.get("nearest", {})
        values += [_beside(near[name]["fakes"], near[name]["held_out"]) if near else "" for name in distances]
        cells.append([*what, *values])
    header = ["pictures", "size", "steps", "setting", "flags", "KID times 1,000", "FID", "precision", "recall"]
    return markdown_table([*header, *(f"nearest training picture, {name}" for name in distances)], cells)


def _kid(row: dict[str, Any]) -> float:
    return row["evaluation"]["scores"]["kid_x1000"]


def _beside(value: float | None, real: float | None) -> str:
    """A score, and in brackets that of real images; empty if either is None."""
    return "" if value is None or real is None else f"{value:.3g} ({real:.3g})"


def told(flags: tuple[str, ...]) -> str:
    """Flags as tables show them, with absolute paths reduced to their names."""
    return f"`{shlex.join(Path(each).name if each.startswith('/') else each for each in flags)}`" if flags else ""


def run(args: argparse.Namespace, settings: list[Setting], parts: Parts) -> None:
    """Train, draw and score what the results lack; they are written after each."""
    data, count = args.work / "data", args.held_out
    folders = [copied(part, data / f"{name}-{len(part)}") for name, part in parts._asdict().items()]
    job = Job(args.pictures, args.size, args.batch_size)
    result = json.loads(args.json.read_text()) if args.json.exists() else {"machine": machine(), "rows": {}}
    trained_on = read(folders[0], args.size) if args.pictures <= FEW_PICTURES else None
    real: Real | None = None

    def keep(name: str, flags: str, step: int, images: np.ndarray, seconds: float) -> None:
        nonlocal real
        key = f"{job.key(name)}-{step}"
        save_grid(args.work / f"{key}.png", images[:_GRID], columns=6)
        real = real or read_real(folders[1], folders[2], args.size)
        row = {"name": name, "flags": flags, "steps": step, "seconds": seconds, **job._asdict()}
        result["rows"][key] = row | score(images[:count], trained_on, real)
        write_json(args.json, result)
        print(table(result), flush=True)

    def left(name: str) -> list[int]:
        """The steps that are not scored yet."""
        return [step for step in sorted(args.at) if f"{job.key(name)}-{step}" not in result["rows"]]

    for setting in settings:
        folder, train_on = args.work / job.key(setting.name), folders[0]
        if setting.by_class():
            train_on = copied(parts.train, data / f"train-{len(parts.train)}-by-class", by_class=True)
        for step in left(setting.name):
            seconds = train(job, setting, train_on, folder, step)
            keep(setting.name, told(setting.flags), step, draw(folder, setting, step, count), seconds)
    if args.pytorch and (steps := left(PYTORCH)):
        folder = args.work / job.key("pytorch")
        seconds = train_pytorch(job, args.pytorch, folders[0], folder, args.at)
        for step in steps:
            keep(PYTORCH, "", step, np.load(folder / f"{step}.npy"), seconds)
    # Its number of steps depends on the minutes.
    if args.lightweight and not any(key.startswith(f"{job.key(LIGHTWEIGHT)}-") for key in result["rows"]):
        folder = args.work / job.key("lightweight")
        steps, seconds, images = train_lightweight(job, args.lightweight, folders[0], folder, args.minutes, count)
        keep(LIGHTWEIGHT, "", steps, images, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of pictures, PNGs and JPEGs, in any folders below it")
    parser.add_argument("--pictures", type=int, default=300, help="to train on (default: 300)")
    parser.add_argument("--held-out", type=int, default=2000, help="for the reference, and as many for the floor")
    parser.add_argument("--size", type=int, default=32, help="of the images (default: 32)")
    parser.add_argument("--at", type=int, nargs="+", default=[1000], help="steps that are scored (default: 1000)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--settings", nargs="*", default=SETTINGS, metavar="NAME=FLAGS", help="of train.py")
    parser.add_argument("--pytorch", metavar="PYTHON", help="one with PyTorch, to train that peer too")
    parser.add_argument("--lightweight", metavar="PYTHON", help="one with lightweight-gan, to train that peer too")
    parser.add_argument("--minutes", type=float, default=30.0, help="of lightweight-gan (default: 30)")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "pictures", help="runs, pictures, grids")
    parser.add_argument("--json", type=Path, default=RESULTS / "pictures.json", help="everything measured")
    parser.add_argument("--report", action="store_true", help="only print the table of what is done")
    args = parser.parse_args()
    if not args.report:
        if args.folder is None or not args.folder.is_dir():
            parser.error(f"there is no folder {args.folder}: name one with pictures")
        if min(args.pictures, args.held_out - 3, args.size, *args.at, args.minutes, args.batch_size) <= 0:
            parser.error("all numbers must be above 0, and --held-out at least 4")
        args.work = args.work.absolute()
        try:
            settings = [parse_setting(text) for text in args.settings]
            parts = split(find_pictures(args.folder), args.pictures, args.held_out)
        except ValueError as error:
            parser.error(str(error))
        run(args, settings, parts)
    print(table(json.loads(args.json.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
