"""Which kind of data set a name or path is, and what help and errors say of the kinds."""

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import one_error_line, run_cli
from PIL import Image

from dcgan_jax.data import DatasetError, absolute_source, load_data
from dcgan_jax.data.common import LoadOptions, path_of
from dcgan_jax.data.sources import SOURCES, describe_sources, kind_of, load_source

KINDS = [source.kind for source in SOURCES]
ARCHIVES = next(kind for kind in KINDS if "fashion_mnist" in kind)
PICTURES = next(kind for kind in KINDS if "a folder, zip or tar" in kind)
ARRAYS = next(kind for kind in KINDS if ".npy" in kind)
PREPARED = next(kind for kind in KINDS if "TensorFlow" in kind)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """One of each kind in the working folder, and some of none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "kmnist").mkdir()
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("a.png", b"")
    zipfile.ZipFile("empty", "w").close()
    np.save("a.npy", np.zeros(1))
    np.savez("a.npz", np.zeros(1))
    Path("idx").write_bytes(b"\x00\x00\x08\x03")
    Path("idx.gz").write_bytes(gzip.compress(b"\x00\x00\x08\x03"))
    Path("notes.txt").write_text("mine")
    Path("nothing").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("mnist", ARCHIVES),
        ("kmnist", ARCHIVES),  # a name comes before a folder
        (Path("kmnist"), PICTURES),
        ("./kmnist", PICTURES),
        ("folder", PICTURES),
        ("a.zip", PICTURES),
        ("empty", PICTURES),
        ("a.npy", ARRAYS),
        ("a.npz", ARRAYS),
        ("idx", ARRAYS),
        ("idx.gz", ARRAYS),
        ("cifar10", PREPARED),
        ("emnist/letters", PREPARED),
        ("notes.txt", None),
        ("nothing", None),
        ("absent.npy", None),
        (Path("cifar10"), None),
    ],
    ids=str,
)
def test_kind_of_each_source(source, kind, files):
    assert next((each.kind for each in SOURCES if each.matches(source)), None) == kind


def test_folder_is_listed_once_to_tell_its_kind(data_cache, tmp_path, monkeypatch):
    """And once more to read it, as a folder on a network may be slow to list."""
    for i in range(3):
        (tmp_path / "pictures" / str(i)).mkdir(parents=True)
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) + i).save(tmp_path / "pictures" / f"{i}/a.png")
    listed = []
    scan = os.scandir
    monkeypatch.setattr("os.scandir", lambda path: [listed.append(os.fspath(path)), scan(path)][1])
    load_data(tmp_path / "pictures")
    assert [listed.count(str(tmp_path / "pictures" / name)) for name in ("", "0", "2")] == [2, 2, 2]
    listed.clear()
    assert kind_of(tmp_path / "pictures") == PICTURES
    assert len(listed) == 4


def test_error_of_a_name_lists_every_kind():
    with pytest.raises(DatasetError, match="^unknown data set 'cats': choose from ") as error:
        load_data("cats")
    assert all(source.kind in str(error.value) for source in SOURCES)


def test_error_of_a_file_lists_every_kind(files):
    for name in ("notes.txt", "nothing"):
        with pytest.raises(DatasetError, match=f"^{name} is of no kind that is known, or is damaged: ") as error:
            load_source(name, LoadOptions())
        assert describe_sources() in str(error.value)


def test_absent_path_is_named(files):
    for source in ("absent.npy", "./absent", Path("absent")):
        with pytest.raises(DatasetError, match="^there is no file or folder absent"):
            load_source(source, LoadOptions())


def test_help_lists_every_kind(capsys):
    assert run_cli("train", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(source.kind in text for source in SOURCES)


def test_path_that_cannot_be_is_refused(capsys):
    with pytest.raises(DatasetError, match="gs://bucket"):
        path_of("gs://bucket/images")
    assert run_cli("train", "--dataset", "gs://bucket/images", "--dry-run") == 2
    assert "gs://bucket" in one_error_line(capsys)


def test_names_stay_and_paths_are_absolute(files):
    assert absolute_source("kmnist") == "kmnist"
    assert absolute_source("emnist/letters") == "emnist/letters"
    assert absolute_source("folder") == str(files / "folder")
    assert absolute_source("absent.npy") == str(files / "absent.npy")


@pytest.mark.parametrize("name", ["a.npz.gz", "camelyon.h5.gz"])
def test_compressed_file_is_to_be_decompressed(name, tmp_path):
    """Rather than taken for an idx file."""
    (tmp_path / name).write_bytes(gzip.compress(b""))
    with pytest.raises(DatasetError, match=f"{name} is compressed: decompress it first, with gunzip, and give .*"):
        load_data(tmp_path / name)
