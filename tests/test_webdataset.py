"""WebDataset's shards, as its own writer makes them."""

import io
import tarfile

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
    ],
    ids=["cls", "json", "key", "txt"],
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
    with pytest.raises(DatasetError, match="holds no samples with pictures: it has txt"):
        load_data(tmp_path)
