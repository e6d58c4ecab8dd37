"""Folders for training and for testing beside each other, in folders, zips and tars."""

import shutil

import numpy as np
import pytest
from PIL import Image

from dcgan_jax.data import DatasetError, NoSplitError, load_data

pytestmark = pytest.mark.usefixtures("data_cache")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8)


def save(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[number]).save(path) if path.suffix == ".png" else np.save(path, IMAGES[number])


@pytest.fixture(params=["folder", "zip", "gztar"])
def pack(request, folder, tmp_path):
    """The folder, or an archive of it."""
    if request.param == "folder":
        return lambda: folder
    return lambda: shutil.make_archive(str(tmp_path / "z"), request.param, folder)


@pytest.mark.parametrize("suffix", [".png", ".npy"])
@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Training", "val"), ("a_train_HR", "a_valid_HR"), ("train2017", "val2017")]
)
def test_each_split_is_a_folder(train, test, suffix, folder, pack):
    for i, name in enumerate(("kite/1", "kite/2", "owl/3", "owl/4", "wren/5")):
        save(folder / "set" / train / f"{name}{suffix}", i)
    for i, name in enumerate(("owl/6", "wren/7"), 5):
        save(folder / "set" / test / f"{name}{suffix}", i)
    (folder / "README.txt").write_text("mine")
    path = pack()
    dataset = load_data(path)
    np.testing.assert_array_equal(dataset.images[..., 0], IMAGES[:5])
    assert dataset.classes == ("kite", "owl", "wren")
    assert f"the train split is the folder set/{train}" in dataset.notes
    held = load_data(path, "test")
    np.testing.assert_array_equal(held.images[..., 0], IMAGES[5:7])
    assert held.classes == ("owl", "wren")


def test_pictures_without_classes(folder, pack):
    for i, name in enumerate(("train/1", "train/2", "test/1", "validation/1")):
        save(folder / f"{name}.png", i)
    path = pack()
    np.testing.assert_array_equal(load_data(path).images[..., 0], IMAGES[:2])
    np.testing.assert_array_equal(load_data(path, "test").images[..., 0], IMAGES[2:3])
    assert load_data(path).labels is None
    assert "the train split is the folder train; not used: validation" in load_data(path).notes


def test_arrays_of_usual_names_in_each_folder(folder, pack):
    for split, rows in (("train", slice(0, 5)), ("test", slice(5, 8))):
        (folder / split).mkdir()
        np.save(folder / split / "images.npy", IMAGES[rows, :, :, None])
        np.save(folder / split / "labels.npy", np.arange(8)[rows])
    path = pack()
    for split, rows in (("train", slice(0, 5)), ("test", slice(5, 8))):
        dataset = load_data(path, split)
        np.testing.assert_array_equal(dataset.images[..., 0], IMAGES[rows])
        assert dataset.classes == tuple(map(str, np.arange(8)[rows]))


def test_lists_of_labels_in_each_folder(folder, pack):
    for i, name in enumerate(("train/1", "train/2", "test/1")):
        save(folder / f"{name}.png", i)
    (folder / "train" / "labels.csv").write_text("filename,label\n1.png,owl\n2.png,kite\n")
    (folder / "test" / "metadata.csv").write_text("file_name,label\n1.png,owl\n")
    path = pack()
    assert load_data(path).labels.tolist() == [1, 0]
    assert load_data(path, "test").classes == ("owl",)


def test_no_such_split(folder, pack):
    for i, name in enumerate(("train/1", "unlabeled/2")):
        save(folder / f"{name}.png", i)
    with pytest.raises(NoSplitError, match="has no split test: it has train, unlabeled"):
        load_data(pack(), "test")


@pytest.mark.parametrize(
    "names",
    [("trainA", "trainB", "testA", "testB"), ("train", "test", "dog"), ("test", "val"), ("steam_train", "blood_test")],
    ids=str,
)
def test_other_folders_of_splits_are_refused(names, folder, pack):
    for i, name in enumerate(names):
        save(folder / name / "1.png", i)
    with pytest.raises(DatasetError, match="are splits or parts of a data set, not classes: "):
        load_data(pack())


def test_picture_beside_the_splits_is_asked_about(folder, pack):
    for i, name in enumerate(("train/1", "test/1", "preview")):
        save(folder / f"{name}.png", i)
    with pytest.raises(DatasetError, match="the folders test, train in .* are splits or parts of a data set"):
        load_data(pack())
