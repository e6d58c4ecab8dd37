"""Train on other kinds of pictures: clothes, Korean syllables, crops of photographs, and digits by class.

    python -m benchmarks.own_data --data-dir DIR     # Fashion-MNIST's archives in DIR/downloads/manual, or downloaded
    python -m benchmarks.own_data --only syllables
    python -m benchmarks.own_data --report           # the tables of what was measured

Each trains at batch size 64 with the preset ``recommended``, by the command line. An interrupted run resumes. Uncurated
samples are drawn to ``docs/images/own-<name>.png``, with a class per column for a conditional run.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.common import PICTURES, RESULTS, ROOT, machine, markdown_table, write_json
from dcgan_jax import averaged, load_run, save_grid
from dcgan_jax.prng import seed_key
from dcgan_jax.sampling import sample_in_batches
from dcgan_jax.training.evaluate_run import evaluate_run

_FONTS = Path("/usr/share/fonts/opentype/noto")  # Debian's fonts-noto-cjk
_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png", "rocket.jpg")


class Own(NamedTuple):
    """A set of pictures.

    Attributes:
      title: its title in tables.
      make: writes the pictures to a folder; None for a set that has a name.
      flags: flags of ``train.py``.
      steps: the length of the run.
    """

    title: str
    make: Callable[[Path], None] | None
    flags: tuple[str, ...] = ()
    steps: int = 1000


def make_syllables(folder: Path) -> None:
    """Write the 2,350 syllables of KS X 1001 in four fonts, white on black, as PNGs of 36x36 pixels."""
    fonts = [
        ImageFont.truetype(str(_FONTS / f"Noto{family}CJK-{weight}.ttc"), 30, index=1)  # the collection's Korean font
        for family in ("Sans", "Serif")
        for weight in ("Regular", "Bold")
    ]
    syllables = [bytes((row, cell)).decode("euc-kr") for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF)]
    for i, font in enumerate(fonts):
        for syllable in syllables:
            image = Image.new("L", (36, 36))
            ImageDraw.Draw(image).text((18, 18), syllable, fill=255, font=font, anchor="mm")
            image.save(folder / f"{syllable} {i}.png")


def make_crops(folder: Path) -> None:
    """Write 8,000 crops of six photographs, squares of 48 to 128 pixels at random places, as JPEGs."""
    from skimage import data  # pyright: ignore[reportMissingImports]  # extra: bench

    random = np.random.default_rng(0)
    photographs = [Image.open(Path(data.__file__).parent / name).convert("RGB") for name in _PHOTOGRAPHS]
    for i in range(8000):
        photograph = photographs[i % len(photographs)]
        side = int(random.integers(48, 129))
        left, top = (int(random.integers(size - side + 1)) for size in photograph.size)
        photograph.crop((left, top, left + side, top + side)).save(folder / f"{i:04}.jpg", quality=95)


SETS = {
    "fashion": Own("Fashion-MNIST", None, ("--dataset", "fashion_mnist")),
    "syllables": Own("Korean syllables in four fonts", make_syllables, ("--image-size", "32")),
    "crops": Own("crops of six photographs", make_crops, ("--image-size", "32", "--mirror")),
    "digits": Own("MNIST by class", None, ("--conditional",), 3000),
}


def _run(name: str, own: Own, folder: Path, data_dir: Path | None) -> None:
    """Make the pictures, train, draw samples, and write the scores."""
    run_dir, pictures, flags = folder / name, folder / f"{name}-pictures", list(own.flags)
    if own.make is not None:
        if not pictures.exists():
            partial = folder / f"{name}-partial"
            partial.mkdir(parents=True)
            own.make(partial)
            partial.rename(pictures)
        flags += ["--dataset", str(pictures)]
    elif data_dir is not None:
        flags += ["--data-dir", str(data_dir)]
    flags += ["--preset", "recommended", "--batch-size", "64"]
    if (run_dir / "config.json").exists():
        flags = ["--resume"]
    command = [sys.executable, "train.py", *flags, "--steps", str(own.steps), "--workdir", str(run_dir)]
    if not (run_dir / "checkpoints" / str(own.steps)).exists():
        subprocess.run(command, cwd=ROOT, check=True)
    run = load_run(run_dir, own.steps)
    run = run._replace(state=averaged(run.state))
    labels = None if run.state.classes is None else jnp.arange(50) % run.state.classes
    save_grid(PICTURES / f"own-{name}.png", sample_in_batches(run.state, seed_key(0), 50, labels), columns=10)
    evaluation = evaluate_run(run, None, None).to_json()
    result = {"machine": machine(), "title": own.title, "flags": own.flags, "steps": own.steps}
    write_json(RESULTS / "own_data" / f"{name}.json", {**result, "evaluation": evaluation})


def _recorded() -> Iterator[dict[str, Any]]:
    for name in SETS:
        path = RESULTS / "own_data" / f"{name}.json"
        if path.exists():
            yield json.loads(path.read_text())


def pixels_table() -> str:
    """A row for each set that is scored by pixels: its scores, and those of real images in brackets."""
    header = ("pictures", "steps", "SWD", "mean distance of two images", "distance to the nearest training image")
    rows = []
    for result in _recorded():
        both = [result["evaluation"][part] for part in ("scores", "floor")]
        if "swd_mean" in both[0]:
            cells = [f"{both[0][key]:.1f} ({both[1][key]:.1f})" for key in ("swd_mean", "diversity", "nearest")]
            rows.append((result["title"], f"{result['steps']:,}", *cells))
    return markdown_table(header, rows)


def digits_table() -> str:
    """Scores of the conditional run, of the one without classes from `benchmarks.quality`, and of real images."""
    header = ("digits", "FID", "FID by a second classifier", "precision", "recall", "drawn as asked")
    recorded = [result for result in _recorded() if "fid" in result["evaluation"]["scores"]]
    rows = [_digits(result["title"], result["evaluation"]["scores"]) for result in recorded]
    for result in recorded:
        curve = json.loads((RESULTS / "quality" / "recommended-0.json").read_text())["curve"]
        plain = next(row for row in curve if (row["step"], row["weights"]) == (result["steps"], "average"))
        rows += [_digits("without classes", plain), _digits("real images", result["evaluation"]["floor"])]
    return markdown_table(header, rows)


def _digits(title: str, scores: dict[str, Any]) -> tuple[str, ...]:
    asked = f"{100 * scores['as_asked']:.1f} %" if "as_asked" in scores else ""
    return (
        title,
        *(f"{scores[key]:.2f}" for key in ("fid", "second_fid")),
        *(f"{scores[key]:.3f}" for key in ("precision", "recall")),
        asked,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(SETS), nargs="+", default=list(SETS))
    parser.add_argument("--folder", type=Path, default=Path("runs") / "own", help="directory of pictures and runs")
    parser.add_argument("--data-dir", type=Path, help="as train.py's")
    parser.add_argument("--report", action="store_true", help="print the tables, run nothing")
    args = parser.parse_args()
    if args.report:
        print(pixels_table(), digits_table(), sep="\n\n")
        return
    (RESULTS / "own_data").mkdir(parents=True, exist_ok=True)
    for name in args.only:
        _run(name, SETS[name], args.folder.absolute(), args.data_dir)


if __name__ == "__main__":
    main()
