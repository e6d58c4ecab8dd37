"""Random input: it works, or is one line and exit code 2; no traceback, and no byte of the files is changed.

Each test prints the seed and the number of inputs; together they are more than 10,000.
"""

import dataclasses
import functools
import io
import itertools
import json
import shutil
import struct
import sys
import warnings
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import latest_valid_step, restore_checkpoint, run_cli
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from dcgan_jax import TrainConfig, load_dataset
from dcgan_jax.data import DatasetError, load_data
from dcgan_jax.data.idx import parse_idx
from dcgan_jax.evaluation.classifier import load_classifier
from dcgan_jax.training.checkpoint import CheckpointError, save_checkpoint
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.history import best_evaluation, figures, read_history
from dcgan_jax.training.metrics_file import truncate_metrics
from dcgan_jax.training.record import RunRecord, from_json

SEED = 20261124
pytestmark = pytest.mark.slow


@pytest.fixture
def fuzz(capsys, request):
    """A decorator: try a number of inputs of a strategy, the same ones each time, and print how many they were."""
    tried = []

    def times(examples):
        quiet = settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)

        def decorate(test):
            @functools.wraps(test)
            def counted(*args, **kwargs):
                test(*args, **kwargs)
                tried.append(1)

            return lambda **strategies: seed(SEED)(quiet(given(**strategies)(counted)))()

        return decorate

    yield times
    with capsys.disabled():
        print(f"\n{request.node.name}: {len(tried)} inputs, seed {SEED}")


def everything(folder):
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


FIELDS = [field.name for field in dataclasses.fields(TrainConfig)]
FOUND = [field.name for field in dataclasses.fields(RunRecord)]
FLAGS = ["--" + name.replace("_", "-") for name in FIELDS]
VALUES = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["0", "1", "2", "-1", "64", "60000", "60001", "2147483648", "1e3", "1.5", "NaN", "inf", "", " "]),
    st.sampled_from(["mnist", "tutorial", "article", "float32", "bfloat16", "runs", "..", "/proc/x", "a/b/c", "file"]),
    st.text(max_size=20).filter(lambda text: "\0" not in text),
)
# --data-dir and the data sets that are downloaded are left out: without a network each takes seconds to fail.
ARGUMENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([flag for flag in FLAGS if flag != "--data-dir"]), VALUES).map(list),
        st.sampled_from(["--resume", "--no-compilation-cache", "--help", "--steps", "-x", "--"]).map(
            lambda flag: [flag]
        ),
        VALUES.map(lambda value: [value]),
    ),
    max_size=6,
).map(lambda parts: [word for part in parts for word in part])


def run(arguments, capsys):
    """Run ``dcgan-jax``: its exit code and the lines on standard error."""
    code = run_cli(*arguments)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, err.splitlines(keepends=True)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    # Without what takes most of a dry run's time and depends on no input: the table of layers, and the unpacking of the
    # embedded archives.
    monkeypatch.setattr("dcgan_jax.cli.train.create_state", lambda config: (None, {}))
    monkeypatch.setattr("dcgan_jax.cli.train.model_summary", lambda state: "")
    monkeypatch.setattr("dcgan_jax.training.setup.load_dataset", functools.cache(load_dataset))
    monkeypatch.setattr("dcgan_jax.training.setup.load_classifier", functools.cache(load_classifier))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    return tmp_path


def assert_works_or_one_line(code, lines):
    assert code in (0, 2)
    if code == 2:
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        assert lines[0].endswith("\n")


def test_command_lines(fuzz, workplace, capsys):
    before = everything(workplace)

    @fuzz(2500)
    def check(arguments):
        assume("fashion_mnist" not in arguments and "kmnist" not in arguments)
        assert_works_or_one_line(*run(["train", "--dry-run", *arguments], capsys))
        assert everything(workplace) == before

    check(arguments=ARGUMENTS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def test_config_files(fuzz, finished, workplace, capsys):
    folder = shutil.copytree(finished[0], workplace / "run")
    whole = json.loads((folder / "config.json").read_text())

    @fuzz(1500)
    def check(changed, found, missing, extra, cut):
        assume(changed.get("dataset") not in ("fashion_mnist", "kmnist"))
        config = {k: v for k, v in {**whole["config"], **changed, **extra}.items() if k not in missing}
        record = {k: v for k, v in {**whole["record"], **found}.items() if k not in missing}
        text = json.dumps({**whole, "config": config, "record": record})[:cut]
        (folder / "config.json").write_text(text)
        try:
            from_json(text)
        except ConfigError as error:
            assert "\n" not in str(error)
        before = everything(workplace)
        assert_works_or_one_line(*run(["train", "--dry-run", "--resume", "--workdir", "run", "--steps", "12"], capsys))
        assert everything(workplace) == before

    check(
        changed=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
        found=st.dictionaries(st.sampled_from(FOUND), JSON, max_size=2),
        missing=st.sets(st.sampled_from(FIELDS + FOUND), max_size=1),
        extra=st.dictionaries(st.text(max_size=9), JSON, max_size=1),
        cut=st.none() | st.integers(0, 300),
    )


ROW = st.dictionaries(st.sampled_from(["step", "evaluation", "samples", "scores", "fid", "x"]), JSON, max_size=4)
NUMBERS = st.integers(-(10**400), 10**400) | st.floats() | st.integers(0, 9) | st.none() | st.text(max_size=3)
EVALUATION = st.builds(
    lambda step, samples, fid: {
        "step": step,
        "evaluation": {"samples": samples, "scores": {"fid": fid}, "floor": {"fid": 1.0}},
    },
    *(NUMBERS, st.just(5) | NUMBERS, NUMBERS),
)


def test_rows_of_metrics(fuzz, tmp_path):
    """Rows up to a step are kept, whatever else the file holds, and the best evaluation is found among them."""
    path = tmp_path / "metrics.jsonl"

    @fuzz(1500)
    def check(good, lines, cut, last):
        rows = [json.dumps({"step": step}) for step in good]
        content = b"".join(line + b"\n" for line in [*(row.encode() for row in rows), *lines])
        path.write_bytes(content[: len(content) - cut])
        figures(read_history(tmp_path))  # of any content
        truncate_metrics(path, last)
        kept = path.read_text().splitlines()
        whole = path.read_bytes()
        assert whole in (b"", content[: len(content) - cut]) or whole.endswith(b"\n")
        if cut == 0:
            assert kept[: sum(step <= last for step in good)] == [json.dumps({"step": s}) for s in good if s <= last]
        assert all(json.loads(line)["step"] <= last for line in kept)
        best = best_evaluation(sum(figures(read_history(tmp_path)).values(), []), range(10))
        assert best is None or best in range(10)
        truncate_metrics(path, last)
        assert path.read_bytes() == whole

    check(
        good=st.lists(st.integers(0, 20), max_size=4),
        lines=st.lists(
            st.binary(max_size=30) | (ROW | EVALUATION | JSON).map(lambda value: json.dumps(value).encode()), max_size=4
        ),
        cut=st.just(0) | st.integers(0, 20),
        last=st.integers(0, 20),
    )


def gzip_of(content):
    compressor = zlib.compressobj(1, wbits=31)
    return compressor.compress(content) + compressor.flush()


def test_archives(fuzz, tmp_path):
    rows = struct.pack(">4I", 0x803, 5, 4, 3) + bytes(range(60))
    whole = gzip_of(rows)

    @fuzz(2200)
    def check(flips, cut, header, inside):
        content = bytearray(rows if inside else whole)
        for position, mask in flips:
            content[position % len(content)] ^= mask
        if header is not None:
            content[: len(header)] = header
        archive = bytes(content[:cut])
        try:
            images = parse_idx(gzip_of(archive) if inside else archive, tmp_path / "archive.gz", 3)
        except DatasetError as error:
            assert "\n" not in str(error)
            assert "archive.gz" in str(error)
        else:
            assert images.ndim == 3
            assert images.dtype == "uint8"

    check(
        flips=st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), max_size=3),
        cut=st.none() | st.integers(0, len(whole)),
        header=st.none() | st.binary(max_size=20),
        inside=st.booleans(),
    )


def test_arrays_of_images(fuzz, workplace, capsys, monkeypatch):
    """An ``.npy`` for ``evaluate``, damaged; what passes the checks is not scored, which takes seconds."""
    monkeypatch.setattr("dcgan_jax.evaluation.scoring.evaluate_bytes", lambda images: sys.exit(0))
    np.save(workplace / "whole.npy", np.arange(130 * 784, dtype=np.uint8).reshape(130, 28, 28))
    whole = (workplace / "whole.npy").read_bytes()

    @fuzz(1000)
    def check(flips, cut, header):
        content = bytearray(whole)
        for position, mask in flips:
            content[position] ^= mask
        if header is not None:
            content[: len(header)] = header
        (workplace / "images.npy").write_bytes(content[:cut])
        before = everything(workplace)
        assert_works_or_one_line(*run(["evaluate", "images.npy"], capsys))
        assert everything(workplace) == before

    check(
        flips=st.lists(st.tuples(st.integers(0, 130), st.integers(1, 255)), max_size=3),
        cut=st.none() | st.integers(0, len(whole)),
        header=st.none() | st.binary(max_size=20),
    )


def test_checkpoints(fuzz, small_state, tmp_path):
    saved = tmp_path / "saved"
    for step in (1, 2):
        save_checkpoint(saved, small_state.replace(step=small_state.step + step), jax.random.key(0), {})
    names = sorted(str(p.relative_to(saved)) for p in saved.rglob("*") if p.is_file())
    folder = tmp_path / "checkpoints"

    @fuzz(1300)
    def check(damages):
        shutil.copytree(saved, folder, dirs_exist_ok=True)
        damaged = set()
        for name, kind, data in damages:
            path = folder / name
            if not path.exists():
                continue
            before = path.read_bytes()
            n = sum(data) % (len(before) + 1)
            after = {
                "flip": before[:n] + bytes([before[n] ^ 1]) + before[n + 1 :] if n < len(before) else before,
                "cut": before[:n],
                "write": data,
            }
            if kind == "delete":
                path.unlink()
            else:
                path.write_bytes(after[kind])
        for name in names:
            if not (folder / name).exists() or (folder / name).read_bytes() != (saved / name).read_bytes():
                damaged.add(int(name.split("/")[0]))
        before = everything(folder)
        try:
            step, _ = latest_valid_step(folder)
        except CheckpointError as error:
            assert "\n" not in str(error)
            assert damaged
        else:
            assert step == max({1, 2} - damaged)
            restored = restore_checkpoint(folder / str(step), small_state).state
            assert restored.step == step
        assert everything(folder) == before
        shutil.rmtree(folder)

    kinds = st.sampled_from(["flip", "cut", "delete", "write"])
    check(damages=st.lists(st.tuples(st.sampled_from(names), kinds, st.binary(max_size=40)), min_size=1, max_size=4))


def encoded(mode, suffix, size):
    content = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(content, suffix)
    return content.getvalue()


def deep(pixels, **options):
    """A TIFF of these values, of one page or of each of several."""
    content, (first, *others) = io.BytesIO(), [Image.fromarray(page) for page in pixels]
    first.save(content, "tiff", **({"save_all": True, "append_images": others} if others else {}), **options)
    return content.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


RAMP = np.linspace(0, 1, 3 * 9 * 8).reshape(3, 9, 8)
DEEP = [
    *(deep((RAMP[:1] * high).astype(np.uint16)) for high in (1, 40, 255, 1400, 4095, 65535)),
    *(deep((RAMP[:1] * high + low).astype(np.float32)) for low, high in ((0, 1), (-1, 2), (0, 40), (0, 300), (-9, 9))),
    *(deep((RAMP * 255).astype(np.uint8), **turned(orientation)) for orientation in (1, 3, 6, 8)),
    deep((RAMP * 70000).astype(np.int32)),
    deep((RAMP > 0.9).astype(np.uint8)),
]
PICTURES = [
    encoded(mode, suffix, size)
    for suffix, modes in (
        ("png", "1 L P RGB RGBA"),
        ("jpeg", "L RGB CMYK"),
        ("webp", "RGB"),
        ("bmp", "RGB"),
        ("tiff", "L"),
    )
    for mode in modes.split()
    for size in ((9, 5), (40, 60))
] + DEEP
CONTENTS = st.one_of(
    st.sampled_from(PICTURES),
    st.tuples(st.sampled_from(PICTURES), st.integers(0, 3000)).map(lambda each: each[0][: each[1]]),
    st.tuples(st.sampled_from(PICTURES), st.integers(0, 300), st.binary(min_size=1, max_size=9)).map(
        lambda each: each[0][: each[1]] + each[2] + each[0][each[1] + len(each[2]) :]
    ),
    st.binary(max_size=40),
)
NAMES = st.tuples(
    st.sampled_from(
        ["", "a/", "b c/", "한글/", "a/deep/", ".hidden/", "x.png/", "train/", "testA/", "images/", "00001/"]
    ),
    st.integers(0, 99).map(str),
    st.sampled_from([".png", ".jpg", ".JPEG", ".webp", ".bmp", ".tif", ".txt", "", ".gif", ".heic", ".jfif", ".tga"]),
).map("".join)
LISTS = st.dictionaries(
    st.sampled_from(["dataset.json", "metadata.csv", "metadata.jsonl", "a/metadata.csv"]),
    st.one_of(
        st.dictionaries(NAMES, st.integers(0, 3) | st.sampled_from(["owl", "", None])).flatmap(
            lambda labels: st.sampled_from(
                [
                    json.dumps({"labels": [*labels.items()]}),
                    json.dumps({"labels": labels}),
                    "\n".join(["file_name,label", *(f"{name},{label}" for name, label in labels.items())]),
                    "\n".join(json.dumps({"file_name": name, "label": label}) for name, label in labels.items()),
                ]
            )
        ),
        st.text(max_size=20),
    ).map(lambda text: text.encode(errors="replace")),
    max_size=2,
)


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_folders_of_pictures(zipped, fuzz, tmp_path, monkeypatch):
    """Good, cut, damaged and misnamed pictures: images and notes, or one line, and the same twice."""
    monkeypatch.setattr("dcgan_jax.data.cache.platformdirs.user_cache_path", lambda _: tmp_path / "cache")
    numbers = itertools.count()

    @fuzz(400)
    def try_one(files, lists, size, channels, frames, values):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        for name, content in {**files, **lists}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        path = Path(shutil.make_archive(str(folder), "zip", folder)) if zipped else folder
        results = []
        for _ in range(2):
            try:
                dataset = load_data(path, image_size=size, channels=channels, frames=frames, range=values)
            except DatasetError as error:
                assert "\n" not in str(error)
                results.append(str(error))
                continue
            n, height, width, depth = dataset.images.shape
            assert dataset.images.dtype == np.uint8
            assert size in (None, (height, width))
            assert channels in (None, depth)
            assert 0 < n <= len(files) * (1 if frames == "first" else 3)
            assert dataset.images.min() < dataset.images.max()
            assert all("\n" not in note for note in dataset.notes)
            assert dataset.labels is None or (len(dataset.labels) == n and dataset.labels.max() < len(dataset.classes))
            results.append((dataset.digest(), dataset.notes))
        assert results[0] == results[1]
        shutil.rmtree(folder)

    try_one(
        files=st.dictionaries(NAMES, CONTENTS, max_size=12),
        size=st.sampled_from([None, (8, 8), (12, 4)]),
        channels=st.sampled_from([None, 1, 3]),
        lists=st.just({}) | LISTS,
        frames=st.sampled_from(["first", "all"]),
        values=st.sampled_from([None, None, (0, 40), (-1, 1), (0, 65535)]),
    )


ARRAYS = st.tuples(
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 8, 16, 28, 64]), max_size=5).filter(lambda shape: np.prod(shape) < 1e5),
    st.sampled_from(["u1", "i1", "u2", "i4", "i8", "f2", "f4", "f8", "?", "c8", "U3", "M8[s]", "V4"]),
    st.sampled_from([(0, 1), (-1, 1), (0, 255), (0, 65535), (-7, 3), (0, 1e30), (0, 16), (0, 1400), (0, 0.1)]),
    st.booleans(),
)
LAYOUTS = st.none() | st.permutations("NHWC").map("".join) | st.permutations("NHW").map("".join)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays(suffix, fuzz, tmp_path):
    """Arrays of any shape, type and range, whole or cut: images, or one line."""
    path = tmp_path / f"a{suffix}"

    @fuzz(400)
    def try_one(array, cut, labels, flips, layout, values):
        shape, dtype, (low, high), spoiled = array
        pixels = np.random.default_rng(0).uniform(low, high, shape)
        if spoiled and pixels.size:
            pixels.flat[0] = np.nan
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = pixels.astype("f8" if dtype in ("M8[s]", "V4", "U3") else dtype)
        pixels = pixels.astype(dtype) if dtype == "U3" else pixels
        np.save(path, pixels) if suffix == ".npy" else np.savez(path, images=pixels, labels=np.arange(labels))
        content = bytearray(path.read_bytes()[:cut])
        for position, mask in flips:
            content[position % len(content)] ^= mask
        path.write_bytes(content)
        try:
            dataset = load_data(path, layout=layout, range=values)
        except DatasetError as error:
            assert "\n" not in str(error)
            assert str(path) in str(error)
            return
        assert dataset.images.min() < dataset.images.max() > (60 if values is None else 0)
        assert dataset.images.dtype == np.uint8
        assert dataset.images.ndim == 4
        assert dataset.images.shape[-1] in (1, 3)

    try_one(
        array=ARRAYS,
        cut=st.sampled_from([None, None, None, 10, 100, 130, -1]),
        labels=st.sampled_from([0, 1, 2, 8]),
        flips=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), max_size=3) | st.just([]),
        layout=LAYOUTS,
        values=st.sampled_from([None, None, (0, 16), (-7, 3)]),
    )
