"""HDF5 and MATLAB's files, as h5py and SciPy write them."""

import numpy as np
import pytest
from containers import savemat

from dcgan_jax.data import DatasetError, NoSplitError, load_data

h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
scipy_io = pytest.importorskip("scipy.io", reason="the extra matlab is not installed")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (7, 32, 32, 3), np.uint8)
LABELS = np.array([1, 10, 2, 1, 10, 2, 1])


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name.replace("__", "/"), data=array, compression="gzip")


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": IMAGES, "labels": LABELS},
        {"data__pictures": IMAGES, "data__kinds": LABELS},
        {"train__x": IMAGES, "train__y": LABELS, "test__x": IMAGES[:2], "test__y": LABELS[:2]},
        {"train_set_x": IMAGES, "train_set_y": LABELS, "list_classes": np.arange(3)},
        {"x_train": IMAGES / 255, "y_train": LABELS[:, None]},
    ],
    ids=" ".join,
)
def test_arrays_of_any_group_are_read(arrays, tmp_path):
    write(tmp_path / "a.h5", **arrays)
    dataset = load_data(tmp_path / "a.h5")
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.classes == ("1", "2", "10")
    if "test__x" in arrays:
        np.testing.assert_array_equal(load_data(tmp_path / "a.h5", "test").images, IMAGES[:2])


@pytest.mark.parametrize("names", [["cat", "ölfass", "dog"], np.array([b"cat", b"owl", b"dog"])], ids=["text", "bytes"])
@pytest.mark.parametrize("array", ["classes", "meta__class_names"])
def test_classes_have_the_names_that_the_file_gives(names, array, tmp_path):
    write(tmp_path / "a.h5", images=IMAGES, labels=np.arange(7) % 3, **{array: names})
    dataset = load_data(tmp_path / "a.h5")
    assert dataset.classes == tuple(map(str, np.asarray(names).astype(str)))
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["cat", "ölfass", "dog"], ("cat", "ölfass", "dog")),
        (np.array([b"cat", b"owl", b"dog"]), ("cat", "owl", "dog")),
        (["cat", "owl"], ()),
        ("cat", ()),
        (np.arange(3), None),
    ],
    ids=["text", "bytes", "too few", "one", "numbers"],
)
@pytest.mark.parametrize("place", ["", "set", "set/labels"])
@pytest.mark.parametrize("key", ["classes", "label_names", "labels"])
def test_attributes_name_classes(key, place, names, used, tmp_path):
    """Those of the file, or of the labels or their group; a note says if they do not fit."""
    write(tmp_path / "a.h5", set__images=IMAGES, set__labels=np.arange(7) % 3)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        (file[place] if place else file).attrs[key] = names
    dataset = load_data(tmp_path / "a.h5")
    assert dataset.classes == (used or ("0", "1", "2"))
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert bool(dataset.notes) == (used == ())
    assert all(note.startswith(f"arrays that are not used: the attribute {key} (") for note in dataset.notes)


def test_several_arrays_are_asked_about(tmp_path):
    write(tmp_path / "a.h5", a__b=IMAGES, c=IMAGES[::-1])
    with pytest.raises(DatasetError, match="holds the arrays a/b, c: .*, or choose one with `images=a/b`"):
        load_data(tmp_path / "a.h5")
    np.testing.assert_array_equal(load_data(tmp_path / "a.h5", images="c").images, IMAGES[::-1])


SAVE = {"5": scipy_io.savemat, "7.3": savemat}


@pytest.mark.parametrize("version", SAVE)
def test_house_numbers_of_svhn_are_digits(version, tmp_path):
    path = tmp_path / "train_32x32.mat"
    SAVE[version](path, {"X": IMAGES.transpose(1, 2, 3, 0), "y": LABELS[:, None]})
    dataset = load_data(path)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.classes == ("0", "1", "2")
    assert dataset.labels.tolist() == [1, 0, 2, 1, 0, 2, 1]
    assert "the class 10 taken as the digit 0, as SVHN has it" in dataset.notes


def test_other_files_that_one_refers_to_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(IMAGES.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", IMAGES.shape, "u1", external=[(str(tmp_path / "secret"), 0, IMAGES.size)])
    with pytest.raises(DatasetError, match="holds the arrays none"):
        load_data(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["a.h5", "a.mat"])
@pytest.mark.parametrize("end", [0, 5, 600, -100])
def test_truncated_file_is_one_line(name, end, tmp_path):
    path = tmp_path / name
    write(path, images=IMAGES) if name == "a.h5" else scipy_io.savemat(path, {"images": IMAGES})
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DatasetError, match="cannot read|holds the arrays none") as error:
        load_data(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("groups", [("cat", "owl"), ("", "")], ids=["groups", "no groups"])
@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., 0]], ids=["colours", "grey"])
def test_array_for_each_image_is_read(groups, images, tmp_path):
    """In natural order, with groups as classes."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(14):
            file[f"{groups[i // 12]}/image_{i}"] = images[i % 7]
    dataset = load_data(tmp_path / "a.h5")
    np.testing.assert_array_equal(dataset.images, np.tile(images.reshape(7, 32, 32, -1), (2, 1, 1, 1)))
    assert "each of 14 arrays taken as one image" in dataset.notes
    if groups[0]:
        assert (dataset.classes, dataset.labels.tolist()) == (groups, [0] * 12 + [1] * 2)
        assert "2 classes, one for each group: cat, owl" in dataset.notes
    else:
        assert dataset.labels is None
    with pytest.raises(NoSplitError):
        load_data(tmp_path / "a.h5", "test")


@pytest.mark.parametrize("place", ["group", "attribute", "none"])
def test_group_for_each_image_is_no_class(place, tmp_path):
    """Its labels are beside the images, or attributes of them."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(12):
            file[f"s{i}/image"] = IMAGES[i % 7]
            if place == "group":
                file[f"s{i}/label"] = "ba"[i % 2]
            elif place == "attribute":
                file[f"s{i}/image"].attrs["label"] = np.int32(i % 2)
    dataset = load_data(tmp_path / "a.h5")
    assert dataset.classes == {"group": ("a", "b"), "attribute": ("0", "1"), "none": ()}[place]
    if place != "none":
        assert dataset.labels.tolist() == [1, 0] * 6 if place == "group" else [0, 1] * 6


def test_array_per_image_is_in_the_split_of_its_group(tmp_path):
    write(tmp_path / "a.h5", **{f"{'test' if i < 3 else 'train'}__{i}": IMAGES[i % 7] for i in range(12)})
    np.testing.assert_array_equal(load_data(tmp_path / "a.h5", "test").images, IMAGES[:3])
    assert len(load_data(tmp_path / "a.h5").images) == 9


def test_arrays_of_several_shapes_are_counted(tmp_path):
    write(tmp_path / "a.h5", **{f"image_{i:02}": IMAGES[0, : 20 + i] for i in range(12)})
    with pytest.raises(DatasetError, match=r"holds 12 arrays, image_00, image_01, image_02, \.\.\.: name the images"):
        load_data(tmp_path / "a.h5")


def test_long_names_are_cut(tmp_path):
    """Damage may make a name of much of the file."""
    write(tmp_path / "a.h5", **{"a" * 9000: IMAGES, "b" * 9000: IMAGES})
    with pytest.raises(DatasetError, match="holds the arrays aaa") as error:
        load_data(tmp_path / "a.h5")
    assert len(str(error.value)) < 1000


NAMES = np.array(["cat", "dogs", "owl"])


@pytest.mark.parametrize("kind", ["characters", "cells"])
@pytest.mark.parametrize("named", [{}, {"labels": "labels"}], ids=["usual", "chosen"])
@pytest.mark.parametrize("version", SAVE)
def test_text_of_matlab_is_labels(version, kind, named, tmp_path):
    """Rows of characters are filled with spaces, which are no part of the text."""
    labels = NAMES[np.arange(7) % 3]
    SAVE[version](
        tmp_path / "a.mat", {"images": IMAGES, "labels": labels.astype(object) if kind == "cells" else labels}
    )
    dataset = load_data(tmp_path / "a.mat", **named)
    assert [dataset.classes[i] for i in dataset.labels] == labels.tolist()
    assert set(dataset.classes) == set(NAMES)
    assert dataset.notes == ()


@pytest.mark.parametrize("names", [NAMES, NAMES.astype(object), NAMES.astype(object)[:, None]], ids=["rows", "1", "2"])
@pytest.mark.parametrize("version", SAVE)
def test_text_of_matlab_names_classes(version, names, tmp_path):
    SAVE[version](tmp_path / "a.mat", {"images": IMAGES, "labels": np.arange(7) % 3, "class_names": names})
    dataset = load_data(tmp_path / "a.mat")
    assert (dataset.classes, dataset.notes) == (tuple(NAMES), ())


FROM_ONE = {  # labels, and the classes that the images have, of a, b, c
    "all classes": ([1, 2, 3, 1, 2, 3, 1], ("a", "b", "c")),
    "without the last": ([1, 2, 1, 1, 2, 2, 1], ("a", "b")),
    "from zero": ([0, 2, 1, 0, 2, 2, 1], ("a", "b", "c")),
}


@pytest.mark.parametrize("version", SAVE)
@pytest.mark.parametrize(("labels", "classes"), FROM_ONE.values(), ids=FROM_ONE.keys())
def test_names_of_classes_count_as_matlab_does(labels, classes, version, tmp_path):
    names = np.array(["a", "b", "c"], object)
    SAVE[version](tmp_path / "a.mat", {"images": IMAGES, "labels": np.array(labels)[:, None], "class_names": names})
    dataset = load_data(tmp_path / "a.mat")
    assert dataset.classes == classes
    assert [dataset.classes[i] for i in dataset.labels] == ["abc"[label - (0 not in labels)] for label in labels]


@pytest.mark.parametrize("version", SAVE)
@pytest.mark.parametrize("first", [0, 1])
def test_splits_of_matlab_count_alike(first, version, tmp_path):
    """A split without the first class, or the last, has the names of the other's labels."""
    labels = {"train": np.array([0, 1, 2, 0, 1, 2, 1]) + first, "test": np.array([1, 1, 1, 1, 1, 1, 1]) + first}
    arrays = {f"x_{split}": IMAGES for split in labels} | {f"y_{split}": y[:, None] for split, y in labels.items()}
    SAVE[version](tmp_path / "a.mat", arrays | {"class_names": np.array(["a", "b", "c"], object)})
    assert load_data(tmp_path / "a.mat").classes == ("a", "b", "c")
    assert load_data(tmp_path / "a.mat", "test").classes == ("b",)


@pytest.mark.parametrize("version", SAVE)
def test_other_variables_of_matlab_are_named(version, tmp_path):
    other = {"about": "digits", "cells": NAMES.astype(object), **({"info": {"by": 1}} if version == "5" else {})}
    SAVE[version](tmp_path / "a.mat", {"images": IMAGES, **other})
    (note,) = load_data(tmp_path / "a.mat").notes
    assert note.startswith(f"arrays that are not used: {', '.join(other)} (")


@pytest.mark.parametrize("version", SAVE)
def test_cells_of_matlab_that_are_no_text(version, tmp_path):
    """Cells with a number among them are no labels; empty text is."""
    SAVE[version](tmp_path / "a.mat", {"images": IMAGES, "labels": np.array([*range(6), "a"], object)})
    with pytest.raises(DatasetError, match="labels in .*a.mat: labels must be integers or text, got object"):
        load_data(tmp_path / "a.mat", labels="labels")
    SAVE[version](tmp_path / "a.mat", {"images": IMAGES, "labels": np.array(["", *"abcde", ""], object)})
    assert load_data(tmp_path / "a.mat").classes == ("", *"abcde")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"data": np.array([(image,) for image in IMAGES], [("images", object)])},
            "holds structs, data, and no images in their fields: save the images as one array",
        ),
        ({"images": np.array([*IMAGES[:, None], None], object)[:-1]}, "images in .* is no array of numbers: save"),
    ],
    ids=["struct", "cells"],
)
def test_what_matlab_nests_is_refused_with_a_remedy(arrays, message, tmp_path):
    scipy_io.savemat(tmp_path / "a.mat", arrays)
    with pytest.raises(DatasetError, match=message):
        load_data(tmp_path / "a.mat")


@pytest.mark.parametrize("kind", ["categorical", "string"])
def test_labels_of_matlabs_objects_are_refused(kind, tmp_path):
    """Their values are in a part of the file that only MATLAB reads."""
    savemat(tmp_path / "a.mat", {"images": IMAGES, "labels": np.arange(6, dtype=np.uint32)})
    with h5py.File(tmp_path / "a.mat", "r+") as file:
        file["labels"].attrs["MATLAB_class"] = np.bytes_(kind)
        file["labels"].attrs["MATLAB_object_decode"] = np.int32(3)
    with pytest.raises(DatasetError, match=rf"labels in .*a.mat is of MATLAB's class {kind}, .*: save cellstr\(labels"):
        load_data(tmp_path / "a.mat")


@pytest.mark.parametrize("do_compression", [False, True], ids=["plain", "compressed"])
def test_structs_of_matlab_are_groups(do_compression, tmp_path, monkeypatch):
    """As EMNIST's, whose splits are structs in a struct; text in them may be labels too."""
    test = {"images": IMAGES[:2], "labels": NAMES[:2].astype(object)}
    train = {"images": IMAGES, "labels": NAMES[np.arange(7) % 3].astype(object), "writers": np.arange(7)[:, None]}
    variables = {"dataset": {"train": train, "test": test, "mapping": np.eye(3)}}
    scipy_io.savemat(tmp_path / "a.mat", variables, do_compression=do_compression)
    for split, images, labels in (("train", IMAGES, np.arange(7) % 3), ("test", IMAGES[:2], np.arange(2))):
        dataset = load_data(tmp_path / "a.mat", split)
        np.testing.assert_array_equal(dataset.images, images)
        assert [dataset.classes[i] for i in dataset.labels] == NAMES[labels].tolist()
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: IMAGES.nbytes)
    with pytest.raises(DatasetError, match="the structs of .*a.mat take 0.0 GiB of memory"):
        load_data(tmp_path / "a.mat")


def test_labels_beside_a_struct_are_of_its_images(tmp_path):
    scipy_io.savemat(tmp_path / "a.mat", {"data": {"images": IMAGES}, "y": np.arange(7)})
    assert load_data(tmp_path / "a.mat").labels.tolist() == list(range(7))


def test_labels_of_another_length_are_refused(tmp_path):
    write(tmp_path / "a.h5", images=IMAGES, labels=LABELS[:3])
    with pytest.raises(DatasetError, match=r"labels in .*a.h5 has labels of shape \[3\] for 7 images"):
        load_data(tmp_path / "a.h5")
