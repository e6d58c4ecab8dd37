"""LMDB environments of pictures, as LSUN's, by LMDB's own writer."""

import io
import sys

import numpy as np
import pytest
from helpers import one_error_line, run_cli
from PIL import Image

from dcgan_jax.data import DatasetError, NoSplitError, load_data

lmdb = pytest.importorskip("lmdb", reason="the extra lmdb is not installed")
pytestmark = pytest.mark.usefixtures("data_cache")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


def encoded(pixels, form="png"):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, form, **({"lossless": True} if form == "webp" else {}))
    return content.getvalue()


def write(path, records, subdir=True):
    with lmdb.open(str(path), subdir=subdir, map_size=2**24) as environment, environment.begin(write=True) as writer:
        for key, value in records:
            writer.put(key, value)
    (path / "lock.mdb" if subdir else path.with_name(f"{path.name}-lock")).unlink()
    return path


def numbered(form="png"):
    return [(f"{i:040x}".encode(), encoded(image, form)) for i, image in enumerate(IMAGES)]


@pytest.mark.parametrize("form", ["png", "webp"])
def test_environment_of_lsun_is_read(form, tmp_path):
    """Its own program stores WebP by hexadecimal keys."""
    folder = write(tmp_path / "church_outdoor_train_lmdb", numbered(form))
    for path in (folder, folder / "data.mdb"):
        dataset = load_data(path)
        np.testing.assert_array_equal(dataset.images, IMAGES)
        assert dataset.labels is None
    with pytest.raises(NoSplitError):
        load_data(folder, "test")


def test_nothing_is_written_beside_it(tmp_path):
    folder = write(tmp_path / "a", numbered())
    file = write(tmp_path / "b.lmdb", numbered(), subdir=False)
    before = file.read_bytes()
    for path in (folder, file):
        np.testing.assert_array_equal(load_data(path).images, IMAGES)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a", "b.lmdb", "data.mdb"]
    assert file.read_bytes() == before


def test_folders_in_keys_are_classes(tmp_path):
    records = [(f"{('owl', 'kite')[i % 2]}/{i:02}".encode(), encoded(image)) for i, image in enumerate(IMAGES)]
    dataset = load_data(write(tmp_path / "a", [*records, (b"num-samples", b"12")]))
    np.testing.assert_array_equal(dataset.images, np.concatenate([IMAGES[1::2], IMAGES[::2]]))
    assert dataset.classes == ("kite", "owl")


def recognition(words):
    """Records of a data set of text recognition."""
    images = [(f"image-{i:09}".encode(), encoded(image)) for i, image in enumerate(IMAGES, 1)]
    return [*images, *((f"label-{i:09}".encode(), word.encode()) for i, word in words), (b"num-samples", b"12")]


def test_labels_of_text_recognition_are_classes(tmp_path):
    words = [(i, ("kite", "007")[i % 2]) for i in range(1, 13)]
    dataset = load_data(write(tmp_path / "a", recognition(words)))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.classes == ("007", "kite")
    assert dataset.labels.tolist() == [0, 1] * 6
    assert dataset.notes == ("2 classes, as label-... says: 007, kite",)


def test_labels_of_some_are_not_used(tmp_path):
    """Nor are empty ones, and a label of no picture is of another kind."""
    dataset = load_data(
        write(tmp_path / "a", recognition([*((i, "kite") for i in range(1, 12)), (12, " "), (13, "owl")]))
    )
    assert dataset.labels is None
    assert dataset.notes == (
        "label-...: labels of 11 of 12 pictures: none is used",
        "left out 1 file of another kind, 1 without a suffix",
    )


def test_records_of_no_picture_are_left_out(tmp_path):
    records = [*numbered(), *((f"caption {i}".encode(), b"a bird") for i in range(12)), (b"x", numbered()[0][1][:50])]
    dataset = load_data(write(tmp_path / "a", records))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert "left out 12 files of other kinds, 12 without a suffix" in dataset.notes
    assert any(note.startswith("left out 1 picture that cannot be read: x (") for note in dataset.notes)


@pytest.mark.parametrize("end", [0, 10, 4096, 9000, -4096])
def test_truncated_file_is_one_line(end, tmp_path):
    folder = write(tmp_path / "a", numbered())
    (folder / "data.mdb").write_bytes((folder / "data.mdb").read_bytes()[:end])
    with pytest.raises(DatasetError, match="cannot read") as error:
        load_data(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "there are no pictures in .*a$"),
        ([(b"a", b"no picture")], "there are no pictures in .* among its 1 records$"),
        ([(b"a", encoded(IMAGES[0])[:50])], "1 of the 1 pictures in .* cannot be read"),
    ],
    ids=["empty", "no picture", "truncated picture"],
)
def test_what_holds_no_pictures_is_one_line(records, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        load_data(write(tmp_path / "a", records))


def test_missing_extra_is_named_with_its_command(tmp_path, monkeypatch, capsys):
    write(tmp_path / "a", numbered())
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert run_cli("train", "--dataset", tmp_path / "a", "--dry-run") == 2
    assert "needs the package lmdb: pip install 'dcgan-jax[lmdb]'" in one_error_line(capsys)
