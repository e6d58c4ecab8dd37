"""Damaged files of every container: images, or one line; never another exception, and nothing is written.

LMDB maps its file into memory and is not robust to damaged pages: of its files only the ends are damaged here, and the
pictures in them.
"""

import gzip
import io
import shutil
import tarfile

import numpy as np
import pytest
from containers import GREY, IMAGES, KINDS, LABELS, python2_pickle, savemat, write
from PIL import Image

from dcgan_jax.data import DatasetError, load_data

SEED = 20261130
CONTAINERS = [
    *("images.parquet", "train-{000..003}.tar", "images.h5", "train_32x32.mat", "cifar-10-binary.tar.gz"),
    *("cifar-10-python.tar.gz", "images.pkl", "train.csv", "fer2013.csv", "images.npz", "arrays"),
    "church_outdoor_train_lmdb",
]


def deep(i):
    """A picture of 16 bits, for which both splits are read."""
    Image.fromarray(GREY[i, ..., 0] * np.uint16(16)).save(content := io.BytesIO(), "png")
    return content.getvalue()


def tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def tars_of_classes(path):
    for i, kind in enumerate(KINDS):
        tar(path / f"{kind}.tar", {f"{kind}_{j}.png": deep(j) for j in range(i, 8, 2)})


def tars_of_splits(path):
    for split, rows in (("train", range(6)), ("test", range(6, 8))):
        tar(path / f"{split}.tar", {f"{KINDS[i % 2]}/{i}.png": deep(i) for i in rows})


def samples_of_splits(path):
    for split, rows in (("train-000", range(6)), ("test-000", range(6, 8))):
        members = {f"{i}.png": deep(i) for i in rows} | {f"{i}.json": b'{"label": "007"}' for i in rows}
        tar(path / f"{split}.tar", members)


def beside(path):
    """Parquet files of splits in partitions, with a logo and a tar beside them."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    import pyarrow

    for split, kind, rows in (("train", 7, range(4)), ("train", 8, range(4)), ("test", 7, range(2))):
        (path / split / f"label={kind}").mkdir(parents=True)
        table = pyarrow.table({"image": [{"bytes": deep(i)} for i in rows], "id": list(rows)})
        parquet.write_table(table, path / split / f"label={kind}" / "0.parquet")
    tar(path / "code.tar", {"a.py": b"pass"})
    (path / "logo.png").write_bytes(deep(0))


def lists(path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    import pyarrow

    for split in ("train", "test"):
        pixels = pyarrow.array((GREY[..., 0] * 16.0).tolist())
        labels = pyarrow.array([b"owl", b"kite"] * 4)
        path.mkdir(exist_ok=True)
        parquet.write_table(pyarrow.table({"pixels": pixels, "target": labels}), path / f"{split}.parquet")


def gzipped(path):
    np.save(content := io.BytesIO(), IMAGES)
    path.write_bytes(gzip.compress(content.getvalue()))


def nielsen(path):
    rows = np.repeat(GREY.reshape(8, -1), 2, 0) / np.float32(256)
    pairs = tuple((rows, np.repeat(LABELS, 2)) for _ in range(3))
    path.write_bytes(gzip.compress(python2_pickle(pairs)))


def matlab73(path):
    labels = np.array([KINDS[i] for i in LABELS], object)
    savemat(path, {"images": IMAGES, "labels": labels, "class_names": np.array(KINDS)})


def structs(path):
    scipy = pytest.importorskip("scipy.io", reason="the extra matlab is not installed")
    split = {"images": GREY.reshape(8, -1).repeat(2, 0), "labels": LABELS.repeat(2)[:, None]}
    scipy.savemat(path, {"dataset": {"train": split, "test": split, "about": "digits"}}, do_compression=True)


def columns_of_pixels(path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    import pyarrow

    columns = {f"pixel{i}": column for i, column in enumerate(GREY[:, :8, :8].reshape(8, -1).T)}
    parquet.write_table(pyarrow.table({**columns, "label": LABELS}), path)


def arrow(path):
    """A stream and a file of Arrow, with strings, whose offsets may be damaged."""
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    names = pyarrow.array([KINDS[i % 2] for i in LABELS])
    table = pyarrow.table({"image": [deep(i) for i in range(8)], "label": names})
    path.mkdir()
    for name, writer in (("train.arrow", pyarrow.ipc.new_stream), ("test.feather", pyarrow.ipc.new_file)):
        with writer(str(path / name), table.schema) as file:
            file.write_table(table, max_chunksize=3)


def attributes(path):
    with pytest.importorskip("h5py", reason="the extra hdf5 is not installed").File(path, "w") as file:
        file["images"], file["labels"] = IMAGES, LABELS
        file["labels"].attrs["classes"] = list(KINDS)
        file.attrs["class_names"] = np.array(KINDS, "S")


FORMS = {
    "classes of tars": tars_of_classes,
    "splits of tars": tars_of_splits,
    "samples": samples_of_splits,
    "repository with tars": beside,
    "lists": lists,
    "images.npy.gz": gzipped,
    "mnist.pkl.gz": nielsen,
    "text.mat": matlab73,
    "structs.mat": structs,
    "pixels.parquet": columns_of_pixels,
    "attributes.h5": attributes,
    "arrow": arrow,
}
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
@pytest.mark.parametrize("name", [*CONTAINERS, *FORMS])
def test_damaged_file_is_read_or_is_one_line(name, examples, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    path = whole / name
    FORMS[name](path) if name in FORMS else write(name, whole)
    load_data(path)
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
            dataset = load_data(changed, str(random.choice(["train", "train", "test"])))
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
