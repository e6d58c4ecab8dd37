"""Folders, zips and tars of NumPy's files and of idx files."""

import gzip
import shutil
import struct

import numpy as np
import pytest

from dcgan_jax.data import DatasetError, NoSplitError, load_data

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 8, 8), np.uint8)
GREY[0, 0, :2] = 0, 255
COLOURS = RANDOM.integers(0, 256, (6, 8, 8, 3), np.uint8)


@pytest.fixture(params=["folder", "zip", "tar", "gztar"])
def load(request, folder, tmp_path):
    """`load_data` of the folder, or of an archive of it."""

    def load(*arguments, **options):
        path = folder if request.param == "folder" else shutil.make_archive(str(tmp_path / "z"), request.param, folder)
        return load_data(path, *arguments, **options)

    return load


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


@pytest.mark.parametrize(
    "images", [GREY, COLOURS, GREY / 255, COLOURS.transpose(0, 3, 1, 2)], ids=["grey", "colours", "unit", "planes"]
)
def test_files_of_one_image_are_stacked(images, folder, load):
    for i, image in enumerate(images):
        save(folder / f"{i}.npy", image)
    expected = COLOURS if images.ndim == 4 else GREY[..., None]
    np.testing.assert_array_equal(load().images, expected)


def test_folders_of_them_are_classes(folder, load):
    for i, image in enumerate(COLOURS):
        save(folder / "ab"[i % 2] / f"{i}.npy", image)
    dataset = load()
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.notes == ("2 classes, one for each folder: a, b",)
    np.testing.assert_array_equal(dataset.images, COLOURS[[0, 2, 4, 1, 3, 5]])


def test_usual_names_are_those_of_one_data_set(folder, load):
    for name, array in (("x_train", COLOURS), ("y_train", np.arange(6) % 2), ("x_test", COLOURS[:2])):
        save(folder / f"{name}.npy", array)
    assert load().labels.tolist() == [0, 1] * 3
    np.testing.assert_array_equal(load("test").images, COLOURS[:2])


def idx(array):
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files_are_told_by_their_names(end, folder, load):
    """As torchvision keeps MNIST."""
    pack = gzip.compress if end else bytes
    for name, array in (
        ("raw/train-images-idx3-ubyte", GREY),
        ("raw/train-labels-idx1-ubyte", np.arange(6, dtype=np.uint8) % 2),
        ("raw/t10k-images-idx3-ubyte", GREY[:2]),
    ):
        (folder / "raw").mkdir(exist_ok=True)
        (folder / f"{name}{end}").write_bytes(pack(idx(array)))
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))  # both are there
    np.testing.assert_array_equal(load().images[..., 0], GREY)
    assert load().labels.tolist() == [0, 1] * 3
    np.testing.assert_array_equal(load("test").images[..., 0], GREY[:2])


def test_several_sets_of_idx_files_are_asked_about(folder, load):
    """As EMNIST's archive holds."""
    for name in ("emnist-letters", "emnist-digits"):
        (folder / f"{name}-train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(GREY)))
    with pytest.raises(DatasetError, match="2 idx files of images, .*: choose one with `images=emnist-digits-train"):
        load()
    dataset = load(images="emnist-letters-train-images-idx3-ubyte.gz")
    assert any("`layout=NWH` turns them" in note for note in dataset.notes)
    with pytest.raises(NoSplitError):
        load("test")
    with pytest.raises(DatasetError, match="holds nothing named letters for `labels`"):
        load(images="emnist-letters-train-images-idx3-ubyte.gz", labels="letters")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([GREY[0], GREY[1, :7]], r"1.npy is uint8 \[7, 8\], and 0.npy uint8 \[8, 8\]: they must be of one shape"),
        ([GREY[0], GREY[1] / 255], r"1.npy is float64 \[8, 8\], and 0.npy uint8"),
        ([COLOURS, COLOURS], r"0.npy has the shape \[6, 8, 8, 3\]: no single image"),
        ([np.array([None])], "cannot read .*0.npy .Object arrays"),
    ],
)
def test_what_does_not_fit_together_is_refused(arrays, message, folder, load):
    for i, array in enumerate(arrays):
        np.save(folder / f"{i}.npy", array, allow_pickle=True)
    with pytest.raises(DatasetError, match=message):
        load()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_damaged_file_is_one_line(content, folder, load):
    for name in ("0.npy", "train-images-idx3-ubyte"):
        (folder / name).write_bytes(content)
        with pytest.raises(DatasetError) as error:
            load()
        assert name in str(error.value)
        assert "\n" not in str(error.value)
        (folder / name).unlink()
