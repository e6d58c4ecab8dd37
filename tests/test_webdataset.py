"""WebDataset's shards, as its own writer makes them."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from dcgan_jax.data import DatasetError, NoSplitError, load_data

pytestmark = pytest.mark.usefixtures("data_cache")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def write(path, samples):
    """Samples by WebDataset's writer, which encodes each member by its extension."""
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    with webdataset.TarWriter(str(path)) as writer:
        for i, sample in samples:
            writer.write({"__key__": f"{i:06d}", **sample})


def numbered(rows=range(6), **members):
    return [
        (i, {"png": png(IMAGES[i]), **{name.replace("_", "."): of(i) for name, of in members.items()}}) for i in rows
    ]


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ({"cls": lambda i: 10 - i % 2}, {}),
        ({"json": lambda i: {"label": 10 - i % 2}}, {}),
        ({"json": lambda i: {"bird": 10 - i % 2}}, {"labels": "bird"}),
        ({"txt": lambda i: str(10 - i % 2), "json": lambda i: {}}, {"labels": "txt"}),
        ({"txt": lambda i: str(10 - i % 2)}, {"labels": "txt"}),
        ({"json": lambda i: {"width": 8, "class": 10 - i % 2}}, {}),
        ({"json": lambda i: {"category": str(10 - i % 2)}}, {}),
    ],
    ids=["cls", "json", "key", "txt", "txt alone", "class", "category"],
)
def test_classes_are_those_of_members(members, options, tmp_path):
    write(tmp_path / "a.tar", numbered(**members))
    dataset = load_data(tmp_path / "a.tar", **options)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.labels.tolist() == [1, 0] * 3
    assert dataset.classes == ("9", "10")


@pytest.mark.parametrize("form", ["", "train-{000..001}.tar"])
def test_shards_and_splits(form, tmp_path):
    for name, rows in (("train-000", (0, 1, 2)), ("train-001", (3, 4)), ("test-000", (5,))):
        write(tmp_path / f"{name}.tar", numbered(rows, cls=lambda i: i % 2))
    np.testing.assert_array_equal(load_data(tmp_path / form).images, IMAGES[:5])
    assert load_data(tmp_path / form).labels.tolist() == [0, 1, 0, 1, 0]
    if form:
        with pytest.raises(NoSplitError):
            load_data(tmp_path / form, "test")
        with pytest.raises(DatasetError, match="there is no file .*train-002.tar, one of 3 shards"):
            load_data(tmp_path / "train-{000..002}.tar")
    else:
        np.testing.assert_array_equal(load_data(tmp_path, "test").images, IMAGES[5:])


def test_leading_zeros_make_text_of_labels(tmp_path):
    """As in lists beside pictures: 007 is not 7."""
    write(tmp_path / "a.tar", numbered(txt=lambda i: ("7", "007", "10")[i % 3]))
    dataset = load_data(tmp_path / "a.tar", labels="txt")
    assert dataset.classes == ("007", "10", "7")
    assert dataset.labels.tolist() == [2, 0, 1] * 2


def test_several_pictures_of_a_sample_are_asked_about(tmp_path):
    write(tmp_path / "a.tar", numbered(cls=lambda i: 1, mask_png=lambda i: png(255 - IMAGES[i])))
    with pytest.raises(DatasetError, match="000000 has 2 pictures, .*png: choose one with `images="):
        load_data(tmp_path / "a.tar")
    np.testing.assert_array_equal(load_data(tmp_path / "a.tar", images="mask.png").images, 255 - IMAGES)


def test_extensions_are_of_either_case(tmp_path):
    write(
        tmp_path / "a.tar", numbered(cls=lambda i: i, json=lambda i: {"Bird": i % 2}, mask_png=lambda i: png(IMAGES[i]))
    )
    assert len(load_data(tmp_path / "a.tar", images="PNG").images) == 6
    assert load_data(tmp_path / "a.tar", images="PNG", labels="CLS").classes == ("0", "1", "2", "3", "4", "5")
    assert load_data(tmp_path / "a.tar", images="PNG", labels="Bird").classes == ("0", "1")
    with pytest.raises(DatasetError, match="holds nothing named fish for `labels`"):
        load_data(tmp_path / "a.tar", images="PNG", labels="fish")


def test_hidden_files_beside_shards_are_left_out(tmp_path):
    write(tmp_path / "a.tar", numbered(cls=lambda i: i))
    (tmp_path / "._a.jpg").write_bytes(b"\0" * 100)
    assert len(load_data(tmp_path).images) == 6


def test_classes_of_some_are_not_used(tmp_path):
    samples = numbered(cls=lambda i: i)
    del samples[2][1]["cls"]
    write(tmp_path / "a.tar", samples)
    dataset = load_data(tmp_path / "a.tar")
    assert dataset.labels is None
    assert dataset.notes == (f"{tmp_path / 'a.tar'}: 1 of 6 samples have no cls: none is used",)


def test_truncated_shard_is_one_line(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.tar", numbered(cls=lambda i: i))
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:3000])
    with pytest.raises(DatasetError, match="cannot read .*b.tar") as error:
        load_data(tmp_path)
    assert "\n" not in str(error.value)


def test_folder_of_tars_without_pictures_is_one_line(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    with pytest.raises(DatasetError, match="there are no pictures in .*a.tar among its 1 files"):
        load_data(tmp_path)


def pack(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_shards_of_equal_name_are_all_read(tmp_path):
    """In folders of their own, with the same keys; a note says so, as they may be several data sets."""
    for folder, rows in (("a", range(3)), ("b", range(3, 6))):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "00000.tar", [(i % 3, sample) for i, sample in numbered(rows, cls=lambda i: i // 3)])
    dataset = load_data(tmp_path)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.notes == ("the samples of 2 folders are read together: a, b",)


def in_folders(folders, extension):
    pictures = {f"{folder}/{i}.png": i for i, folder in enumerate(folders)}
    return pictures | {f"{folder}/{i}.{extension}": b"{}" for i, folder in enumerate(folders)}


@pytest.mark.parametrize(
    "members",
    [
        {"cat/0.png": 0, "cat/1.png": 1, "dog/2.png": 2, "dog/3.png": 3, "cat/0.json": b"{}"},
        in_folders("abab", "json"),
        in_folders(["train", "train", "test"], "cls"),
        in_folders(["train/x", "train/y", "test/x"], "json"),
        {f"masks/{i}.png": i for i in range(4)} | in_folders(["images"] * 4, "json"),
        {"0.png": 0, "1.png": 1, "2.png": 2, "2.cls": b"1"},
    ],
    ids=["one json", "classes", "splits of cls", "splits", "masks", "one cls"],
)
def test_tar_with_a_few_members_beside_is_its_folder(members, tmp_path):
    """It is read, or refused, as a zip of the same files is."""
    members = {name: each if isinstance(each, bytes) else png(IMAGES[each]) for name, each in members.items()}
    pack(tmp_path / "a.tar", members)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)

    def outcome(path):
        try:
            dataset = load_data(path)
            return dataset.digest(), dataset.notes
        except DatasetError as error:
            return str(error).replace("a.zip", "a.tar")

    assert outcome(tmp_path / "a.tar") == outcome(tmp_path / "a.zip")


def test_arrays_with_classes(tmp_path):
    """Without pictures, each .npy is an image."""
    write(tmp_path / "a.tar", [(i, {"npy": IMAGES[i], "cls": 5 - i // 2}) for i in range(6)])
    dataset = load_data(tmp_path / "a.tar")
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert dataset.classes == ("3", "4", "5")


def test_names_that_may_be_classes_are_said(tmp_path):
    write(tmp_path / "a.tar", numbered(json=lambda i: {"url": "u", "bird": i}, txt=lambda i: "owl"))
    (note,) = load_data(tmp_path / "a.tar").notes
    assert note.endswith("members or keys of .json named txt, url, bird (`labels=NAME` takes one for the classes)")


def test_tar_by_itself_is_for_training(tmp_path):
    write(tmp_path / "test.tar", numbered(cls=lambda i: i))
    dataset = load_data(tmp_path / "test.tar")
    assert len(dataset.images) == 6
    assert dataset.notes == ("test.tar is the training data, as it is given by itself, and not test",)


def test_layout_of_img2dataset(tmp_path):
    """Parquet files without pictures beside tars describe them."""
    pq = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    pa = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    for shard in range(2):
        write(tmp_path / f"{shard:05}.tar", numbered(range(3 * shard, 3 * shard + 3), cls=lambda i: i % 2))
        pq.write_table(pa.table({"url": ["u"], "caption": ["c"]}), tmp_path / f"{shard:05}.parquet")
        (tmp_path / f"{shard:05}_stats.json").write_text("{}")
    dataset = load_data(tmp_path)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.notes == ("left out 2 .parquet beside the tars",)
