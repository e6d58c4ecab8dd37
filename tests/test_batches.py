"""CIFAR's batches, as its authors wrote them, and pickles, whose programs are never run."""

import gzip
import pickle
import shutil

import numpy as np
import pytest
from containers import python2_pickle
from helpers import one_error_line, run_cli

from dcgan_jax.data import DatasetError, NoSplitError, load_data

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.integers(0, 256, (6, 3072), np.uint8)
IMAGES = ROWS.reshape(6, 3, 32, 32).transpose(0, 2, 3, 1)
LABELS = [9, 0, 9, 0, 9, 0]
NAMES = [f"bird {i}" for i in range(10)]


def binary(path, rows, *labels):
    path.write_bytes(np.concatenate((*(np.uint8(each)[:, None] for each in labels), rows), 1).tobytes())


def pickled(path, protocol=2, **values):
    path.write_bytes(pickle.dumps({key.encode(): value for key, value in values.items()}, protocol))


def write_cifar10(folder, form):
    for name, rows in (("data_batch_1", slice(0, 2)), ("data_batch_2", slice(2, 5)), ("test_batch", slice(5, 6))):
        if form == "binary":
            binary(folder / f"{name}.bin", ROWS[rows], LABELS[rows])
        else:
            pickled(folder / name, data=ROWS[rows], labels=LABELS[rows])
    if form == "binary":
        (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    else:
        pickled(folder / "batches.meta", label_names=NAMES)


@pytest.mark.parametrize("form", ["binary", "pickled"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar.gz"])
def test_cifar10_is_read_as_it_is_published(form, packed, folder, tmp_path):
    write_cifar10(folder, form)
    path = shutil.make_archive(str(tmp_path / "z"), "gztar", folder) if packed else folder
    dataset = load_data(path)
    np.testing.assert_array_equal(dataset.images, IMAGES[:5])
    assert dataset.labels.tolist() == [1, 0, 1, 0, 1]
    assert dataset.classes == ("bird 0", "bird 9")
    np.testing.assert_array_equal(load_data(path, "test").images, IMAGES[5:])


@pytest.mark.parametrize("form", ["binary", "pickled"])
def test_cifar100_has_fine_and_coarse_classes(form, folder):
    coarse = [1, 1, 1, 0, 0, 0]
    for name in ("train", "test"):
        if form == "binary":
            binary(folder / f"{name}.bin", ROWS, coarse, LABELS)
        else:
            pickled(folder / name, data=ROWS, coarse_labels=coarse, fine_labels=LABELS)
    pickled(folder / "meta", fine_label_names=NAMES, coarse_label_names=["a", "b"])
    dataset = load_data(folder)
    assert dataset.classes == ("bird 0", "bird 9")
    assert "classes are those of fine_labels; `labels=coarse_labels` takes coarse_labels" in dataset.notes
    assert load_data(folder, labels="coarse_labels").labels.tolist() == coarse


@pytest.mark.parametrize("form", ["binary", "pickled"])
def test_single_batch_is_read(form, folder):
    write_cifar10(folder, form)
    path = folder / f"data_batch_2{'.bin' if form == 'binary' else ''}"
    dataset = load_data(path)
    np.testing.assert_array_equal(dataset.images, IMAGES[2:5])
    assert dataset.classes == ("bird 0", "bird 9")
    with pytest.raises(NoSplitError):
        load_data(path, "test")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [IMAGES, np.asfortranarray(IMAGES), IMAGES / 255, IMAGES.astype(">u2")],
    ids=["C", "F", "floats", "swapped"],
)
def test_arrays_of_every_protocol_are_read(protocol, array, tmp_path):
    tree = {"images": array, "labels": np.array(LABELS), "one": np.float64(1), "name": "birds"}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree, protocol))
    dataset = load_data(tmp_path / "a.pkl")
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.labels.tolist() == [1, 0] * 3


def test_pairs_are_splits(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(((IMAGES, LABELS), (IMAGES[:2], LABELS[:2]))))
    assert load_data(tmp_path / "a.pkl").labels.tolist() == [1, 0] * 3
    test = load_data(tmp_path / "a.pkl", "test")
    np.testing.assert_array_equal(test.images, IMAGES[:2])
    assert test.labels.tolist() == [1, 0]


def test_rows_by_class_are_labels(tmp_path):
    """As in the pickles of mini-ImageNet."""
    rows = {"n02": [0, 3, 4, 5], "n01": [1, 2, *range(6, len(IMAGES))]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"image_data": IMAGES, "class_dict": rows}))
    dataset = load_data(tmp_path / "a.pkl")
    assert dataset.classes == ("n01", "n02")
    assert dataset.labels.tolist() == [1, 0, 0, 1, 1, 1, *[0] * (len(IMAGES) - 6)]


def test_gzipped_pickle_of_mnist_has_three_splits(tmp_path):
    """As deeplearning.net and Nielsen's book distribute it: pickled by Python 2, the second pair for validation."""
    rows = RANDOM.integers(0, 256, (48, 784)) / np.float32(256)
    pairs = tuple((rows[i::3], np.array([5, 0, 4, 4] * 4)) for i in range(3))
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(python2_pickle(pairs)))
    for split, i in (("train", 0), ("test", 2)):
        dataset = load_data(tmp_path / "mnist.pkl.gz", split)
        np.testing.assert_array_equal(dataset.images, np.rint(rows[i::3] * 255).astype(np.uint8).reshape(16, 28, 28, 1))
        assert dataset.labels.tolist() == [2, 0, 1, 1] * 4
        assert dataset.classes == ("0", "4", "5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(pickle.dumps(IMAGES))[:-9], r"cannot read .*a.pkl.gz \(Compressed file ended"),
        (b"\x1f\x8bno gzip", r"cannot read .*a.pkl.gz \("),
        (gzip.compress(bytes(10**6)), r"the arrays of .*a.pkl.gz take 0.0 GiB of memory"),
    ],
    ids=["cut off", "damaged", "large"],
)
def test_unusable_gzipped_pickle_is_one_line(content, message, tmp_path, monkeypatch):
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 500_000)
    (tmp_path / "a.pkl.gz").write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        load_data(tmp_path / "a.pkl.gz")
    assert "\n" not in str(error.value)


LISTS = {
    "images": list(IMAGES) + list(IMAGES),
    "images and labels": (list(IMAGES), LABELS),
    "images and labels by name": {"images": list(IMAGES), "labels": LABELS},
    "nested lists by name": {"images": IMAGES.tolist(), "labels": LABELS},
    "samples": list(zip(IMAGES, LABELS, strict=True)),
    "samples of NumPy's labels": list(zip(IMAGES, np.array(LABELS), strict=True)),
    "samples of words": [(image, NAMES[label]) for image, label in zip(IMAGES, LABELS, strict=True)],
    "splits": ((list(IMAGES), LABELS), (list(IMAGES[:2]), LABELS[:2])),
}


@pytest.mark.parametrize("tree", LISTS.values(), ids=LISTS.keys())
def test_lists_of_images_are_stacked(tree, tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree))
    dataset = load_data(tmp_path / "a.pkl")
    np.testing.assert_array_equal(dataset.images[:6], IMAGES)
    if dataset.labels is not None:
        assert dataset.labels.tolist() == [1, 0] * 3
    assert (dataset.labels is None) == (tree is LISTS["images"])


OTHERS = {
    "several shapes": ([IMAGES[0], IMAGES[0, 4:]] * 3, "a list of 6 arrays of 2 shapes"),
    "several shapes by name": (
        {"images": [IMAGES[0], IMAGES[0, 4:]], "labels": [0, 1], "c": 1, "d": None},
        "a dictionary of images, a list of 2 arrays of 2 shapes; labels, a list of 2 ints; c, a value of type int; ...",
    ),
    "dictionaries": ([{"image": 1}] * 4, "a list of 4 dicts"),
    "labels": (np.arange(9), "an array [9]"),
    "nothing": ([], "a list of 0 items"),
    "a number": (5, "a value of type int"),
}


@pytest.mark.parametrize(("tree", "what"), OTHERS.values(), ids=OTHERS.keys())
def test_pickle_without_images_says_what_it_holds(tree, what, tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree))
    with pytest.raises(DatasetError) as error:
        load_data(tmp_path / "a.pkl")
    assert f"a.pkl holds {what}, and no images: save them as an array [N, H, W, C]" in str(error.value)


def test_images_of_two_types_are_not_stacked(tmp_path):
    """Their white is not the same."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([*IMAGES, *(IMAGES / 255)]))
    with pytest.raises(DatasetError):
        load_data(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "others",
    [["cifar-100/train", "cifar-100/test", "cifar-100/meta"], ["data_batch_1.bin"], ["copy/data_batch_1"]],
    ids=["another set", "another form", "a copy"],
)
def test_batches_of_several_sets_are_refused(others, folder):
    write_cifar10(folder, "pickled")
    for name in others:
        (folder / name).parent.mkdir(exist_ok=True)
        pickled(folder / name, data=ROWS, fine_labels=LABELS)
    with pytest.raises(
        DatasetError, match="several data sets, such as .* and .*data_batch_1.*: give the folder or"
    ) as error:
        load_data(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [32, 16])
def test_downsampled_imagenet_is_read(side, folder):
    """Its labels begin with 1, and it has a mean of all images."""
    images = IMAGES[:, :side, :side]
    rows = images.transpose(0, 3, 1, 2).reshape(6, -1)
    for name, some in (
        ("train_data_batch_1", slice(0, 2)),
        ("train_data_batch_2", slice(2, 5)),
        ("val_data", slice(5, 6)),
    ):
        pickled(folder / name, data=rows[some], labels=[label + 1 for label in LABELS[some]], mean=rows.mean(0))
    dataset = load_data(folder)
    np.testing.assert_array_equal(dataset.images, images[:5])
    assert dataset.classes == ("1", "10")
    np.testing.assert_array_equal(load_data(folder, "test").images, images[5:])


class Code:
    """Touches a file when it is unpickled by what trusts it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_pickle_is_never_run(protocol, folder, tmp_path, capsys):
    content = pickle.dumps({"data": ROWS, "labels": Code(tmp_path / "marker")}, protocol)
    for path in (tmp_path / "a.pkl", folder / "data_batch_1"):
        path.write_bytes(content)
    for path in (tmp_path / "a.pkl", folder):
        assert run_cli("train", "--dataset", path, "--dry-run") == 2
        assert "open, which could run code: not loaded" in one_error_line(capsys)
    assert not (tmp_path / "marker").exists()
    pickle.loads(content)["labels"].close()
    assert (tmp_path / "marker").exists()  # the marker is one


@pytest.mark.parametrize(
    "value",
    [np.array([None]), np.zeros(3, "M8[s]"), complex(1), range(3), type, np.load],
    ids=["object array", "dates", "complex", "range", "type", "function"],
)
def test_other_objects_are_refused(value, tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"images": IMAGES, "other": value}, 4))
    with pytest.raises(DatasetError, match="cannot read .*a.pkl") as error:
        load_data(tmp_path / "a.pkl")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", ["binary", "pickled"])
@pytest.mark.parametrize("end", [0, 1, 100, -1])
def test_truncated_batch_is_one_line(form, end, folder):
    write_cifar10(folder, form)
    path = folder / f"data_batch_2{'.bin' if form == 'binary' else ''}"
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DatasetError, match="cannot read .*data_batch_2") as error:
        load_data(folder)
    assert "\n" not in str(error.value)


def test_labels_of_another_length_are_refused(folder):
    pickled(folder / "data_batch_1", data=ROWS, labels=LABELS[:3])
    with pytest.raises(DatasetError, match=r"labels in .* has labels of shape \[3\] for 6 images"):
        load_data(folder)
