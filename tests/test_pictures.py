"""Folders and zips of pictures: what is read, how it is cropped, and what is left out."""

import os
import shutil
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import memory_within_checks
from PIL import Image

from dcgan_jax.data import DatasetError, load_data
from dcgan_jax.data import cache as data_cache
from dcgan_jax.data.common import LoadOptions, Reading
from dcgan_jax.data.members import File, open_files
from dcgan_jax.data.picture_folders import load_pictures

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (12, 8, 3), np.uint8)
GREY = RANDOM.integers(0, 256, (12, 8), np.uint8)


@pytest.fixture(autouse=True)
def cache(data_cache):
    """A user's cache directory of the test's own."""
    return data_cache


def save(path, pixels=COLOURS, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".ppm", ".PNG", ".webp"])
def test_lossless_formats_are_read_to_the_byte(suffix, folder):
    save(folder / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(load_data(folder).images, COLOURS[None])


def test_jpeg_is_read(folder):
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    save(folder / "a.jpeg", smooth, quality=95)
    images = load_data(folder).images
    assert images.shape == (1, 64, 64, 1)
    assert np.abs(images[0, ..., 0].astype(int) - smooth).max() < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F", "PA"])
def test_modes_look_as_they_are_shown(mode, folder):
    """Grey ramps in every mode; the transparent half of those that have one becomes white."""
    ramp = np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8), (32, 32)).copy()
    expected = np.repeat(ramp[..., None], 3, -1).astype(int)
    suffix = "tiff" if mode in ("CMYK", "I", "F", "I;16") else "png"
    if mode == "1":
        image, expected = Image.fromarray(ramp).convert("1", dither=Image.Dither.NONE), (expected >= 128) * 255
    elif mode == "I;16":
        image = Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(ramp.astype(np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray(ramp.astype(np.float32) / 255)
    elif mode == "PA":
        image = Image.fromarray(ramp).convert("P")
        image.info["transparency"] = 0
        expected[:, 0] = 255
    elif mode in ("RGBA", "LA"):
        image = Image.fromarray(ramp).convert(mode)
        image.putalpha(Image.fromarray(np.repeat([[0, 255]], 16, 1).astype(np.uint8).repeat(32, 0)))
        expected[:, :16] = 255
    else:
        image = Image.fromarray(ramp).convert(mode)
    image.save(folder / f"a.{suffix}")
    images = load_data(folder, channels=3).images
    assert np.abs(images[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.float32])
@pytest.mark.parametrize("white", [255, 65535])
def test_white_is_the_same_in_all_pictures(dtype, white, folder):
    """Of integers of more than 8 bits and of floats: a dark picture beside a bright one stays dark."""
    for name, brightness in (("bright", 1), ("dark", 0.003)):
        save(folder / f"{name}.tiff", (np.linspace(0, brightness * white, 64).reshape(8, 8)).astype(dtype))
    dataset = load_data(folder)
    assert dataset.images.max((1, 2, 3)).tolist() == [255, 0 if white == 255 and dtype != np.float32 else 1]
    kind = "floating point" if dtype == np.float32 else "more than 8 bits"
    (note,) = dataset.notes
    said = (
        "0 to 255 taken as black to white|[0, 255] taken as black to white" if white == 255 else "16 bits, 65,535 white"
    )
    assert note.startswith(f"2 of 2 pictures are of {kind}: ")
    assert any(each in note for each in said.split("|"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_white_is_the_same_in_both_splits(split, folder):
    """Also where that of one alone would be lower, and whatever is broken in the other."""
    whites = {"train": 900, "test": 1100}
    for each, white in whites.items():
        save(folder / each / "a.png", np.linspace(0, white, 96).reshape(12, 8).astype(np.uint16))
        (folder / each / "labels.csv").write_text("no picture")
    (folder / {"train": "test", "test": "train"}[split] / "b.png").write_bytes(b"broken")
    with open_files(folder) as files:
        own = [file for file in files if file.name.startswith(split)]
        dataset = load_pictures(folder, own, LoadOptions(), lambda: [file for file in files if file not in own])
        given = load_pictures(folder, own, LoadOptions(reading=Reading(range=(0, 2000))), lambda: files)
    assert dataset.images.max() == round(whites[split] * 255 / 4095)
    assert "pixels from 0 to 1100 taken as 12 bits, 4,095 white" in dataset.notes[0]
    assert dataset.notes[0].endswith(" (from both splits)")
    assert given.images.max() == round(whites[split] * 255 / 2000)


def test_folders_of_splits_have_one_range(folder):
    """What is white in the test split is white in the training split too."""
    whites = {"train": 2100, "test": 4000}
    for each, white in whites.items():
        save(folder / each / "a.png", np.linspace(0, white, 96).reshape(12, 8).astype(np.uint16))
        save(folder / each / "b.png", np.linspace(0, 900, 96).reshape(12, 8).astype(np.uint16))
    for each, white in whites.items():
        assert load_data(folder, each).images.max() == round(white * 255 / 4095)
    save(folder / "test" / "a.png", np.linspace(0, 60000, 96).reshape(12, 8).astype(np.uint16))
    with pytest.raises(DatasetError, match="nearly black: `range=LOW,HIGH` says which values are black and white"):
        load_data(folder)
    assert load_data(folder, range=(0, 2100)).images.max() == 255


def test_cache_is_of_both_splits(folder):
    """Of pictures of more than 8 bits; others do not depend on the other split, which is not read."""
    save(folder / "train" / "a.png", np.linspace(0, 900, 96).reshape(12, 8).astype(np.uint16))
    beside = [File("test/a.png", lambda: (folder / "test" / "a.png").read_bytes())]
    with open_files(folder / "train") as files:
        for white, shown in ((1000, 224), (1100, 56)):
            save(folder / "test" / "a.png", np.linspace(0, white, 96).reshape(12, 8).astype(np.uint16))
            assert load_pictures(folder, files, LoadOptions(), lambda: beside).images.max() == shown
    save(folder / "train" / "a.png")
    with open_files(folder / "train") as files:
        assert load_pictures(folder, files, LoadOptions(), lambda: pytest.fail("read")).notes == ()


def test_floats_of_no_known_range_are_refused(folder):
    save(folder / "a.tiff", np.linspace(0, 1.1, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(DatasetError, match=r"from 0 to 1.1, .*: clip them to \[0, 1\], as `range=0,1` does"):
        load_data(folder)
    for i, low in enumerate((-90, *10 * [0])):
        save(folder / f"{i}.tiff", np.linspace(low, 200, 64, dtype=np.float32).reshape(8, 8))
    with pytest.raises(
        DatasetError, match=r"from -90 to 200, .*`range=-90,200`.*\(lowest in 0.tiff, highest in 0.tiff\)"
    ):
        load_data(folder)


def test_exif_orientation_is_applied(folder):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :40] = 255  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the left half is shown at the top
    save(folder / "a.jpg", picture, exif=exif, quality=95)
    images = load_data(folder).images
    assert images.shape == (1, 64, 32, 1)
    assert images[0, :28].min() > 240
    assert images[0, -28:].max() < 15


def test_centre_is_kept_and_antialiased(folder):
    """Of a wide picture the middle square; a fine chequerboard becomes grey and no pattern."""
    picture = np.zeros((100, 300), np.uint8)
    picture[:, 100:200] = 255
    save(folder / "a.png", picture)
    assert load_data(folder, image_size=(20, 20)).images[:, :, 1:-1].min() >= 250  # the filter is wider than a pixel
    save(folder / "a.png", (np.indices((200, 200)).sum(0) % 2 * 255).astype(np.uint8))
    inner = load_data(folder, image_size=(20, 20)).images[0, 2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 127).max() <= 8


def test_grey_pictures_in_files_of_colours_are_grey(folder):
    save(folder / "a.png", np.repeat(GREY[..., None], 3, -1))
    save(folder / "b.png", GREY)
    images = load_data(folder).images
    np.testing.assert_array_equal(images, np.stack([GREY, GREY])[..., None])
    save(folder / "c.png", COLOURS)
    assert load_data(folder).images.shape == (3, 12, 8, 3)


def test_pictures_of_several_sizes_become_squares(folder):
    for i, shape in enumerate([(100, 50), (40, 80), (60, 60)]):
        save(folder / f"{i}.png", RANDOM.integers(0, 256, shape, np.uint8))
    dataset = load_data(folder)
    assert dataset.images.shape == (3, 48, 48, 1)  # the median of 50, 40 and 60, as a multiple of 4
    assert dataset.notes == ("3 of 3 pictures cropped around their centre and resized to 48x48",)


@pytest.mark.parametrize(
    ("shape", "done"),
    [
        ((96, 96), "resized to 48x48"),
        ((51, 50), "cropped around their centre to 48x48"),
        ((96, 100), "cropped around their centre and resized to 48x48"),
    ],
)
def test_only_what_was_done_is_said(shape, done, folder):
    save(folder / "a.png", RANDOM.integers(0, 256, shape, np.uint8))
    assert load_data(folder, image_size=(48, 48)).notes == (f"1 of 1 pictures {done}",)


def test_folders_are_classes_in_the_order_of_names(folder):
    for i, name in enumerate(["개/b c.png", "개/a.png", "고양이/deep/x.png", "cat/1.png"]):
        save(folder / name, np.full((8, 8), 60 * i + 1, np.uint8))
    dataset = load_data(folder)
    assert dataset.classes == ("cat", "개", "고양이")
    assert dataset.labels.tolist() == [0, 1, 1, 2]
    assert dataset.images[:, 0, 0, 0].tolist() == [181, 61, 1, 121]
    assert dataset.notes == ("3 classes, one for each folder: cat, 개, 고양이",)
    save(folder / "dog" / "2.png", GREY)
    assert "4 classes, one for each folder: cat, dog, 개, ..." in load_data(folder).notes


def test_pictures_without_a_folder_have_no_classes(folder):
    save(folder / "a.png", GREY)
    save(folder / "cats" / "b.png", GREY)
    assert load_data(folder).labels is None


def test_one_folder_around_all_is_no_class(folder):
    for name in ("all/cat/1.png", "all/dog/2.png"):
        save(folder / name, GREY)
    assert load_data(folder).classes == ("cat", "dog")
    shutil.rmtree(folder / "all" / "dog")
    assert load_data(folder).classes == ()


@pytest.mark.parametrize("below", ["", "cat/"], ids=["flat", "of classes"])
def test_folders_of_splits_are_no_classes(below, folder, tmp_path):
    for split in ("test", "Train", "val"):
        save(folder / "data" / split / below / "1.png", GREY)
    save(folder / "data" / "Train" / "dog" / "2.png", GREY)
    shutil.make_archive(str(tmp_path / "z"), "zip", folder)
    for path in (folder, tmp_path / "z.zip"):
        assert len(load_data(path).images) == 2
        assert len(load_data(path, "test").images) == 1
        assert "the train split is the folder data/Train; not used: val" in load_data(path).notes
    save(folder / "data" / "unlabeled" / "1.png", GREY)
    save(folder / "data" / "dog" / "1.png", GREY)  # one that is no split
    shutil.make_archive(str(tmp_path / "z"), "zip", folder)
    refused = "the folders Train, dog, test, unlabeled, val in .* are splits or parts of a data set, not classes: "
    with pytest.raises(DatasetError, match=f"{refused}give one of them, such as {folder / 'data' / 'Train'}$"):
        load_data(folder)
    with pytest.raises(DatasetError, match=f"{refused}unpack it, and give one, such as data/Train$"):
        load_data(tmp_path / "z.zip")


def test_hidden_and_other_files_are_left_out(folder):
    save(folder / "a.png", GREY)
    save(folder / ".b.png", GREY)
    save(folder / ".thumbnails" / "c.png", GREY)
    (folder / "Thumbs.db").write_bytes(b"x")
    dataset = load_data(folder)
    assert len(dataset.images) == 1
    assert dataset.notes == ("left out 1 file of another kind, 1 .db",)


def test_zip_has_the_same_images_as_its_folder(folder, tmp_path):
    for name in ("cat/1.png", "dog/2 3.png", "cat/.hidden.png"):
        save(folder / name, RANDOM.integers(0, 256, (8, 8), np.uint8))
    shutil.make_archive(str(tmp_path / "z"), "zip", folder)
    with zipfile.ZipFile(tmp_path / "z.zip", "a") as archive:
        archive.writestr("__MACOSX/cat/._1.png", b"not a picture")
    ours, theirs = load_data(tmp_path / "z.zip"), load_data(folder)
    np.testing.assert_array_equal(ours.images, theirs.images)
    assert (ours.classes, ours.labels.tolist()) == (theirs.classes, theirs.labels.tolist())
    assert ours.digest() == theirs.digest()


def test_broken_pictures_are_named_and_counted(folder):
    for i in range(20):
        save(folder / f"{i:02}.png", GREY)
    (folder / "05.png").write_bytes((folder / "05.png").read_bytes()[:60])  # its end is missing
    (folder / "06.jpg").write_bytes(b"no picture")
    dataset = load_data(folder)
    assert len(dataset.images) == 19
    (note,) = dataset.notes
    assert note.startswith("left out 2 pictures that cannot be read: ")
    assert "06.jpg (no picture, or in a form that is not read)" in note
    assert "05.png (" in note


def test_more_than_a_tenth_broken_is_refused(folder):
    for i in range(9):
        save(folder / f"{i}.png", GREY)
    (folder / "a.png").write_bytes(b"")
    assert len(load_data(folder).images) == 9
    (folder / "b.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"2 of the 11 pictures in .* cannot be read, more than one in ten: a.png"):
        load_data(folder)


def test_no_pictures_are_reported(folder, tmp_path):
    with pytest.raises(DatasetError, match="there are no pictures in .*: .png, .apng, .jpg"):
        load_data(folder)
    (folder / "a.txt").write_text("")
    with pytest.raises(DatasetError, match="there are no pictures in .* among its 1 files .1 .txt."):
        load_data(folder)
    with zipfile.ZipFile(tmp_path / "z.zip", "w"):
        pass
    with pytest.raises(DatasetError, match="there are no pictures in .*z.zip"):
        load_data(tmp_path / "z.zip")
    with pytest.raises(DatasetError, match="there is no file or folder .*nowhere"):
        load_data(tmp_path / "nowhere")


def test_loop_of_links_is_read_once(folder):
    save(folder / "cat" / "a.png", GREY)
    (folder / "cat" / "again").symlink_to(folder)
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    for i in range(10):
        save(folder / "cat" / f"{i}.png", GREY)
    dataset = load_data(folder)
    assert len(dataset.images) == 11
    assert "gone.png (" in dataset.notes[0]


def test_huge_picture_is_left_out(folder):
    """900 million pixels of one colour, in a file of a megabyte."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.new("1", (30_000, 30_000)).save(folder / "huge.png")
    for i in range(10):
        save(folder / f"{i}.png", GREY)
    dataset = load_data(folder)
    assert len(dataset.images) == 10
    assert "huge.png (Image size (900000000 pixels) exceeds limit" in dataset.notes[0]


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("grey", [True, False], ids=["grey", "colours"])
def test_no_more_memory_is_taken_than_checked(grey, channels, folder, monkeypatch):
    """Neither when the pictures are read nor when the cache is."""
    pixels = RANDOM.integers(0, 256, (512, 512, 3), np.uint8)
    for i in range(40):
        save(folder / f"{i}.bmp", pixels[..., 0] if grey else pixels)
    for _ in range(2):
        with memory_within_checks(monkeypatch, beside=2**24):  # NumPy's buffer when it writes a file
            load_data(folder, image_size=(512, 512), channels=channels)


def test_pictures_beyond_memory_are_refused(folder, monkeypatch):
    for i in range(20):
        save(folder / f"{i}.png")
    load_data(folder)
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 2 * 20 * 12 * 8 * 3 - 1)
    with pytest.raises(DatasetError, match="20 images of 12x8x3 take 0.0 GiB of memory"):
        load_data(folder)  # from the cache, too
    assert load_data(folder, channels=1).images.shape == (20, 12, 8, 1)


def test_conversions_are_said(folder):
    for i in range(3):
        save(folder / f"{i}.png")
    save(folder / "grey.png", GREY)
    alpha = np.dstack([COLOURS, np.full((12, 8), 255, np.uint8)])
    save(folder / "opaque.png", alpha)
    save(folder / "transparent.png", alpha * np.uint8([1, 1, 1, 0]))
    white = "transparent pixels made white in 1 of 6 pictures"
    for _ in range(2):  # the second time from the cache
        assert load_data(folder).notes == (white, "1 of 6 pictures are grey, and given equal colours")
        assert load_data(folder, channels=1).notes == (white, "4 of 6 pictures made grey")


def test_name_that_is_not_utf_8_is_read(folder):
    save(folder / "a" / "x.png", GREY)
    try:
        os.mkdir(os.fsencode(folder) + b"/\xff\xfe")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    shutil.copy(folder / "a" / "x.png", os.fsencode(folder) + b"/\xff\xfe/y.png")
    dataset = load_data(folder)
    assert dataset.classes == ("a", "??")
    dataset.digest()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind root")
def test_folder_without_permission_is_named(folder):
    save(folder / "a" / "x.png", GREY)
    (folder / "a").chmod(0)
    try:
        with pytest.raises(DatasetError, match="cannot read the folder .*/a"):
            load_data(folder)
    finally:
        (folder / "a").chmod(stat.S_IRWXU)


def test_folder_named_as_a_data_set_is_a_folder(tmp_path, monkeypatch):
    """If it is given as a path; the name alone is the data set's."""
    monkeypatch.chdir(tmp_path)
    for name in ("mnist", "fashion_mnist"):
        save(tmp_path / name / "x.png", GREY)
        assert len(load_data(Path(name)).images) == 1
    assert len(load_data("mnist").images) == 60_000


def test_name_in_a_zip_that_is_no_text_is_one_line(folder, tmp_path):
    """A bit flipped in a name beyond ASCII."""
    save(folder / "x.png", GREY)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "x.png", "그림.png")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace("그림".encode(), b"\xff" * 6))
    with pytest.raises(DatasetError, match="cannot read .*a.zip"):
        load_data(tmp_path / "a.zip")


def test_pictures_are_read_once_and_cached(folder, cache, monkeypatch):
    for i in range(5):
        save(folder / f"{i}.png", RANDOM.integers(0, 256, (8, 8, 3), np.uint8))
    first = load_data(folder)
    monkeypatch.setattr("dcgan_jax.data.pictures.decode", None)
    second = load_data(folder)
    np.testing.assert_array_equal(first.images, second.images)
    assert second[1:] == first[1:]
    assert len(list(cache.glob("data/*.npy"))) == 1


def test_cache_is_of_the_content(folder):
    save(folder / "a.png", GREY)
    before = load_data(folder).images
    times = (folder / "a.png").stat()
    save(folder / "a.png", 255 - GREY)
    os.utime(folder / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    np.testing.assert_array_equal(load_data(folder).images, 255 - before)
    (folder / "a.png").rename(folder / "b.png")
    np.testing.assert_array_equal(load_data(folder).images, 255 - before)
    assert load_data(folder, image_size=(8, 8)).images.shape == (1, 8, 8, 1)


def test_damaged_cache_is_not_used(folder, cache):
    save(folder / "a.png", GREY)
    expected = load_data(folder).images
    (path,) = cache.glob("data/*.npy")
    content = bytearray(path.read_bytes())
    for damage in (content[:100], b"", content.replace(GREY.tobytes()[:20], bytes(20))):
        path.write_bytes(damage)
        np.testing.assert_array_equal(load_data(folder).images, expected)


def test_notes_are_of_the_files_of_now(folder):
    """Whether the array is cached or not: files come and go that do not change it."""
    for i in range(20):
        save(folder / f"{i:02}.jpg", GREY)
    (folder / "05.jpg").write_bytes((folder / "05.jpg").read_bytes()[:-20])  # its header is good
    alone = load_data(folder).notes
    assert "left out 1 picture that cannot be read: 05.jpg (" in alone[0]
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "read me.txt").write_text("text")
    both, others = load_data(folder).notes
    assert (
        "left out 2 pictures that cannot be read: broken.png (no picture, or in a form that is not read), 05.jpg ("
        in both
    )
    assert others == "left out 1 file of another kind, 1 .txt"
    (folder / "another.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="3 of the 22 pictures in .* more than one in ten"):
        load_data(folder)
    for name in ("broken.png", "read me.txt", "another.png"):
        (folder / name).unlink()
    assert load_data(folder).notes == alone


def test_cache_that_cannot_be_written_is_a_warning(folder, cache, capsys):
    save(folder / "a.png", GREY)
    (cache / "data").write_text("a file")
    np.testing.assert_array_equal(load_data(folder).images[0, ..., 0], GREY)
    assert "warning: the pictures cannot be cached" in capsys.readouterr().err
    assert data_cache.load_cached("absent") is None
