"""Damaged files of every container: images, or one line; never another exception, and nothing is written.

LMDB maps its file into memory and is not robust to damaged pages: of its files only the ends are damaged here, and the
pictures in them.
"""

import io
import shutil

import numpy as np
import pytest
from containers import KINDS, write
from PIL import Image

from dcgan_jax.data import DatasetError, load_data

SEED = 20261130
CONTAINERS = [
    *("images.parquet", "train-{000..003}.tar", "images.h5", "train_32x32.mat", "cifar-10-binary.tar.gz"),
    *("cifar-10-python.tar.gz", "images.pkl", "train.csv", "fer2013.csv", "images.npz", "arrays"),
    "church_outdoor_train_lmdb",
]
MANY = pytest.param(100, marks=pytest.mark.slow)


def damaged(content, random, kinds):
    """The bytes, damaged in one of these ways."""
    content = bytearray(content)
    a, b = sorted(random.integers(0, len(content) + 1, 2))
    match random.choice(kinds):
        case "cut":
            del content[a:]
        case "flip":
            # Half of the time where headers are.
            end = random.choice([min(256, len(content)), len(content)])
            for place in random.integers(0, end, random.integers(1, 9)):
                content[place] ^= 1 << random.integers(0, 8)
        case "swap":
            content[:] = content[b:] + content[a:b] + content[:a]
        case "zero":
            content[a:b] = bytes(b - a)
        case "remove":
            del content[a : a + random.integers(1, 64)]
        case "repeat":
            content[a:a] = content[a : a + 64]
    return bytes(content)


def everything(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def little_memory(monkeypatch):
    """No damaged size is believed."""
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 2**28)


@pytest.mark.usefixtures("data_cache", "little_memory")
@pytest.mark.parametrize("examples", [10, MANY])
@pytest.mark.parametrize("name", CONTAINERS)
def test_damaged_file_is_read_or_is_one_line(name, examples, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    path = write(name, whole)
    (tmp_path / "changed").mkdir()
    kinds = ["cut"] if name.endswith("lmdb") else ["cut", "flip", "swap", "zero", "remove", "repeat"]
    for i in range(examples):
        random = np.random.default_rng([SEED, examples, i])
        shutil.rmtree(tmp_path / "changed")
        changed = shutil.copytree(whole, tmp_path / "changed") / path.relative_to(whole)
        files = [file for file in sorted((tmp_path / "changed").rglob("*")) if file.is_file()]
        file = files[random.integers(len(files))]
        file.write_bytes(damaged(file.read_bytes(), random, kinds))
        before = everything(tmp_path / "changed")
        try:
            dataset = load_data(changed)
        except DatasetError as error:
            assert "\n" not in str(error), (i, str(error))
            assert len(str(error)) < 1000, (i, str(error))
        except BaseException as error:
            raise AssertionError(f"example {i} of {name}: {error!r}") from error
        else:
            assert dataset.images.dtype == np.uint8
            assert dataset.images.ndim == 4
            assert dataset.labels is None or len(dataset.labels) == len(dataset.images)
            assert all("\n" not in note for note in dataset.notes)
        assert everything(tmp_path / "changed") == before


@pytest.mark.usefixtures("data_cache", "little_memory")
@pytest.mark.parametrize("examples", [5, MANY])
def test_damaged_pictures_of_lmdb_are_left_out(examples, tmp_path):
    library = pytest.importorskip("lmdb", reason="the extra lmdb is not installed")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    for i in range(examples):
        random = np.random.default_rng([SEED, i])
        environment = library.open(str(tmp_path / str(i)), map_size=2**24)
        with environment, environment.begin(write=True) as writer:
            for n, image in enumerate(pixels):
                Image.fromarray(image).save(content := io.BytesIO(), "png")
                value = content.getvalue()
                value = value if n else damaged(value, random, ["cut", "flip", "swap", "zero", "remove", "repeat"])
                writer.put(f"{KINDS[n % 2]}/{n:02}".encode(), value)
        assert len(load_data(tmp_path / str(i)).images) in (29, 30)
