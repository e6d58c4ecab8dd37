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


def archive(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path.with_suffix(".npz"), array)


@pytest.mark.parametrize("put", [save, archive], ids=["npy", "npz"])
@pytest.mark.parametrize("before", ["", "k49-", "my set_"])
def test_words_that_all_names_share_do_not_count(before, put, folder, load):
    for split, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        put(folder / f"{before}{split}-imgs.npy", GREY[rows, ..., None])
        put(folder / f"{before}{split}-labels.npy", np.arange(6)[rows])
    for split, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        dataset = load(split)
        np.testing.assert_array_equal(dataset.images[..., 0], GREY[rows])
        assert dataset.classes == tuple(map(str, np.arange(6)[rows]))


def test_two_sets_of_arrays_are_asked_about(folder):
    for version, rows in (("v4", slice(0, 4)), ("v6", slice(0, 6))):
        save(folder / f"set_{version}_data.npy", COLOURS[rows])
        save(folder / f"set_{version}_labels.npy", np.arange(6)[rows])
    with pytest.raises(DatasetError, match="choose one with `images=set_v4_data`"):
        load_data(folder)
    assert load_data(folder, images="set_v4_data").labels.tolist() == [0, 1, 2, 3]


def test_npz_of_one_image_each_are_stacked(folder, load):
    for i, image in enumerate(COLOURS):
        archive(folder / "ab"[i % 2] / f"{i}.npz", image)
    dataset = load()
    np.testing.assert_array_equal(dataset.images, COLOURS[[0, 2, 4, 1, 3, 5]])
    assert dataset.classes == ("a", "b")


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


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("trainX", "trainY", "testX", "testY"),
        ("train_x", "train_y", "test_x", "test_y"),
        ("train/X", "train/y", "test/X", "test/y"),
        ("train_data", "train_labels", "test_data", "test_labels"),
    ],
    ids=" ".join,
)
def test_usual_names_are_known_in_any_case_and_order(names, folder, load):
    labels = np.arange(6) % 2
    for name, array in zip(names, (COLOURS, np.eye(2)[labels], COLOURS[:2], labels[:2]), strict=True):
        save(folder / f"{name}.npy", array)
    dataset = load()
    np.testing.assert_array_equal(dataset.images, COLOURS)
    assert dataset.labels.tolist() == labels.tolist()
    assert load("test").labels.tolist() == [0, 1]
    np.testing.assert_array_equal(load("test").images, COLOURS[:2])


@pytest.mark.parametrize("names", [("X", "Y"), ("data", "labels"), ("x", "y", "ids")], ids=" ".join)
def test_files_of_one_set_are_images_and_labels(names, folder):
    for name, array in zip(names, (COLOURS, np.arange(6) % 2, np.arange(6)), strict=False):
        save(folder / f"{name}.npy", array)
    assert load_data(folder).labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize("labels", [np.arange(30) % 3, np.eye(3)[np.arange(30) % 3]], ids=["numbers", "one-hot"])
def test_only_array_of_images_has_the_others_beside(labels, folder, load):
    """As faces.npy and faces_target.npy: labels are named or, in rows, to be chosen."""
    for name, array in (("faces", RANDOM.integers(0, 256, (30, 8, 8), np.uint8)), ("faces_target", labels)):
        np.save(folder / f"{name}.npy", array)
    chosen = {"images": "faces", "labels": "faces_target"} if labels.ndim == 2 else {}
    dataset = load(**chosen)
    assert dataset.labels.tolist() == [0, 1, 2] * 10
    if chosen:
        (note,) = load().notes
        assert note.startswith("arrays that are not used: faces_target (")


@pytest.mark.parametrize("name", ["X", "anything", "raw/0", "x_test"])
@pytest.mark.parametrize("array", [COLOURS, GREY, RANDOM.integers(0, 256, (30, 784), np.uint8)])
def test_single_file_is_read_as_if_alone(name, array, folder, load, tmp_path):
    save(folder / f"{name}.npy", array)
    np.save(tmp_path / "alone.npy", array)
    dataset, alone = load(), load_data(tmp_path / "alone.npy")
    np.testing.assert_array_equal(dataset.images, alone.images)
    assert (dataset.labels, dataset.notes) == (None, alone.notes)


@pytest.mark.parametrize("lengths", [(2, 2, 2), (3, 2, 4)], ids=str)
@pytest.mark.parametrize("images", [GREY, COLOURS, COLOURS.transpose(0, 3, 1, 2)], ids=["grey", "colours", "planes"])
def test_files_of_several_images_are_sets(lengths, images, folder, load):
    """Their names are the classes; also those of letters, which are usual names elsewhere."""
    for name, length in zip("axy", lengths, strict=True):
        save(folder / f"{name}.npy", images[:length])
    dataset = load()
    expected = GREY[..., None] if images is GREY else COLOURS
    np.testing.assert_array_equal(dataset.images, np.concatenate([expected[:length] for length in lengths]))
    assert dataset.labels.tolist() == np.repeat([0, 1, 2], lengths).tolist()
    assert dataset.classes == ("a", "x", "y")
    assert "each of 3 files taken as a set of images, and its name as their class: a, x, y" in dataset.notes
    with pytest.raises(NoSplitError):
        load("test")


@pytest.mark.parametrize("lengths", [(50, 50), (40, 50), (3, 90)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_rows_of_pixels_are_sets(lengths, channels, folder):
    """As Quick, Draw! keeps its drawings."""
    images = RANDOM.integers(0, 256, (90, 16 * 16 * channels), np.uint8)
    for name, length in zip(("cat", "owl"), lengths, strict=True):
        save(folder / f"{name}.npy", images[:length])
    dataset = load_data(folder)
    assert dataset.images.shape[:3] == (sum(lengths), 16, 16)
    assert np.bincount(dataset.labels).tolist() == list(lengths)


@pytest.mark.parametrize("files", [["cat/images", "dog/images"], ["cat/0", "cat/1", "dog/0"]], ids=" ".join)
def test_files_of_equal_names_are_all_read(files, folder, load):
    for i, file in enumerate(files):
        save(folder / f"{file}.npy", COLOURS[2 * i : 2 * i + 2])
    dataset = load()
    np.testing.assert_array_equal(dataset.images, COLOURS[: 2 * len(files)])
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == np.repeat([file[0] == "d" for file in files], 2).tolist()
    assert f"each of {len(files)} files taken as a set of images" in dataset.notes


def test_class_named_like_a_split_keeps_its_name(folder):
    for name in ("cat", "steam_train"):
        save(folder / f"{name}.npy", COLOURS)
    assert load_data(folder).classes == ("cat", "steam_train")


def test_sets_belong_to_the_split_in_their_names(folder):
    for i, name in enumerate(("cat_train", "owl_train", "cat_test", "owl_test")):
        save(folder / f"{name}.npy", GREY[i : i + 2])
    np.testing.assert_array_equal(load_data(folder).images[..., 0], GREY[[0, 1, 1, 2]])
    np.testing.assert_array_equal(load_data(folder, "test").images[..., 0], GREY[[2, 3, 3, 4]])
    assert load_data(folder).classes == load_data(folder, "test").classes == ("cat", "owl")


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        ((4, 16, 16), "each file, of shape [4, 16, 16], taken as one image; `layout=NHW` says otherwise"),
        ((200, 256), "each file, of shape [200, 256], taken as one image, and not as rows of pixels"),
        ((16, 20), None),
    ],
)
def test_doubt_about_images_and_sets_is_said(shape, note, folder):
    for i in range(3):
        save(folder / f"{i}.npy", RANDOM.integers(0, 256, shape, np.uint8))
    dataset = load_data(folder)
    assert len(dataset.images) == 3
    assert (note in dataset.notes) if note else not any("each file" in each for each in dataset.notes)
    if len(shape) == 3:
        assert load_data(folder, layout="NHW").images.shape == (12, 16, 16, 1)


def test_file_in_a_folder_is_not_copied_to_memory(folder, monkeypatch):
    """It may be larger than the most that is read of a file at once."""
    monkeypatch.setattr("dcgan_jax.data.members._LARGEST_FILE", 100)
    for name in ("x_train", "x_test"):
        save(folder / f"{name}.npy", COLOURS)
    np.testing.assert_array_equal(load_data(folder, stream=True).images, COLOURS)
    assert load_data(folder, stream=True).images.filename == (folder / "x_train.npy")


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


@pytest.mark.parametrize("folders", [("mnist_images", "mnist_images"), ("images", "labels")], ids=" ".join)
def test_labels_of_idx_in_their_folder_or_another(folders, folder, load):
    for place, name, array in zip(folders, ("images-idx3", "labels-idx1"), (GREY, GREY[:, 0, 0]), strict=True):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / f"train-{name}-ubyte").write_bytes(idx(array))
    assert len(load().labels) == 6


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
        ([GREY, GREY[:5, :7]], r"1.npy is uint8 \[5, 7, 8\], and 0.npy uint8 \[6, 8, 8\]: they must be of one shape"),
        ([COLOURS, COLOURS[:2] / 255], r"1.npy is float64 \[2, 8, 8, 3\], and 0.npy uint8"),
        ([COLOURS.transpose(1, 2, 3, 0)] * 2, r"0.npy has the shape \[8, 8, 3, 6\]: no single image, nor a set"),
        ([np.array([None])], "0.npy holds Python objects"),
        ([GREY, np.array([None])], "1.npy holds Python objects"),
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
