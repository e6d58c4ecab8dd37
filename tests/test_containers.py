"""Each row of the table of containers in docs/data.md: its command reads what the form's own library writes."""

import re
import shlex
import shutil
import tarfile

import numpy as np
import pytest
from containers import GREY, IMAGES, LABELS, WRITERS, in_order, stl10, write
from helpers import ROOT
from PIL import Image

from dcgan_jax.data import Dataset, DatasetError, load_data

pytestmark = pytest.mark.usefixtures("data_cache")
SECTION = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").split("## Containers\n")[1].split("\n## ")[0]
COMMANDS = re.findall(r"^\|[^|]*\| `dcgan-jax train --dataset ([^`]*)`", SECTION, re.MULTILINE)


def test_each_row_has_a_file_and_each_file_a_row():
    assert [shlex.split(command)[0] for command in COMMANDS] == list(WRITERS)
    assert len(COMMANDS) == len(re.findall(r"^\| (?!container)", SECTION, re.MULTILINE))


@pytest.mark.parametrize("name", WRITERS)
def test_row_of_the_table_is_read(name, tmp_path):
    large = name.startswith("stl10")  # 96x96: each pixel three times
    dataset = load_data(write(name, tmp_path), image_size=(96, 96) if large else None)
    dataset = dataset._replace(images=dataset.images[:, ::3, ::3]) if large else dataset
    grey = dataset.images.shape[-1] == 1
    labels = None if name in ("images.npy", "church_outdoor_train_lmdb") else LABELS
    for found, expected in zip(in_order(dataset), in_order(Dataset(GREY if grey else IMAGES, labels)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_stl10_has_splits_and_names(tmp_path):
    path = tmp_path / "stl10_binary"
    path.mkdir()
    stl10(path)
    for name in ("X", "y"):
        shutil.copy(path / f"train_{name}.bin", path / f"test_{name}.bin")
    (path / "unlabeled_X.bin").touch()
    dataset = load_data(path, "test", image_size=(96, 96))
    assert dataset.classes == ("kite", "owl")
    np.testing.assert_array_equal(dataset.images, IMAGES.repeat(3, 1).repeat(3, 2))
    assert "not used: unlabeled_X.bin, which has no classes" in dataset.notes
    (path / "test_X.bin").write_bytes(bytes(1000))
    with pytest.raises(DatasetError, match="test_X.bin has 1,000 bytes, which are no images of 96x96x3"):
        load_data(path, "test")
    (path / "test_X.bin").unlink()
    with pytest.raises(DatasetError, match="has no split test: test_X.bin is missing"):
        load_data(path, "test")


def add_pictures(folder, count):
    folder.mkdir(exist_ok=True)
    for i in range(count):
        Image.fromarray(IMAGES[i % 8]).save(folder / f"p{i}.png")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train.csv", "x_train.npy"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_pictures_beside_a_container(packed, name, tmp_path):
    """A few are left out, with a note; of many the user is asked."""
    folder = tmp_path / "set"
    folder.mkdir()
    np.save(folder / name, IMAGES) if name == "x_train.npy" else write(name, folder)

    def path():
        return shutil.make_archive(str(tmp_path / "z"), "zip", folder) if packed else folder

    expected = load_data(path())
    add_pictures(folder, 3)
    dataset = load_data(path())
    assert dataset.digest() == expected.digest()
    assert any(note.startswith(f"left out 3 pictures beside {name}: p0.png, ") for note in dataset.notes)
    add_pictures(folder / "images", 16)
    with pytest.raises(DatasetError, match=f"holds 19 pictures, such as .*, and {name}: .*give"):
        load_data(path())


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_few_pictures_beside_what_is_read_by_itself(name, tmp_path):
    """Neither is taken."""
    add_pictures(tmp_path, 2)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DatasetError, match=f"holds 2 pictures, .*, and {name}: give .*{name}, or move it away"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["x_lmdb/data.mdb", "x_lmdb/lock.mdb"],
        ["train.p"],
        ["a.npz"],
        ["k49-train-imgs.npz", "k49-train-labels.npz"],
        ["b/1.mat"],
        ["1.PKL"],
    ],
)
def test_what_is_read_by_itself_is_named_in_a_folder(names, tmp_path):
    for name in (*names, "classmap.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("index,char\n0,x\n")
    names = [name for name in names if "lock" not in name]
    which = "which is" if len(names) == 1 else "each of which is"
    with pytest.raises(
        DatasetError, match=f"{tmp_path} holds {', '.join(names)}, {which} read by itself: give .*{names[0]}$"
    ):
        load_data(tmp_path)
    path = shutil.make_archive(str(tmp_path.with_name("packed")), "zip", tmp_path)
    with pytest.raises(DatasetError, match=f"read by itself: unpack it, and give {names[0]}"):
        load_data(path)


def test_annotations_beside_pictures_are_no_container(tmp_path):
    """A table of names and classes, and arrays named as the pictures."""
    add_pictures(tmp_path, 8)
    (tmp_path / "train.csv").write_text("id,breed\n" + "".join(f"p{i},owl\n" for i in range(8)))
    np.save(tmp_path / "p0.npy", IMAGES[0])
    np.testing.assert_array_equal(load_data(tmp_path).images, IMAGES)


def test_archive_beside_its_unpacked_folder(tmp_path):
    """As torchvision leaves CIFAR-10: the folder is read."""
    path = write("cifar-10-python.tar.gz", tmp_path)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "cifar-10-batches-py", filter="data")
    dataset = load_data(tmp_path)
    assert dataset.digest() == load_data(path).digest()
    assert "left out 1 archive beside unpacked files: cifar-10-python.tar.gz" in dataset.notes
