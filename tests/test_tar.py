"""Tars: the same as zips and folders of the same pictures, and what is refused."""

import io
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from helpers import one_error_line, run_cli
from PIL import Image

from dcgan_jax.data import DatasetError, load_data

pytestmark = pytest.mark.usefixtures("data_cache")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 8, 8, 3), np.uint8)
FORMS = {"tar": ".tar", "gztar": ".tar.gz", "bztar": ".tar.bz2", "xztar": ".tar.xz"}


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


@pytest.fixture
def pictures(folder):
    for i, image in enumerate(IMAGES):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(image))
    return folder


def write(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("form", FORMS)
def test_tar_is_read_as_its_folder(form, pictures, tmp_path):
    path = shutil.make_archive(str(tmp_path / "z"), form, pictures)
    assert path.endswith(FORMS[form])
    dataset, expected = load_data(path), load_data(pictures)
    assert dataset.digest() == expected.digest()
    assert dataset.notes == expected.notes
    assert dataset.classes == ("a", "b")


def test_short_suffixes_and_names_with_a_dot_are_read(tmp_path):
    write(tmp_path / "a.tgz", {"./0.png": png(IMAGES[0]), "./.hidden.png": b"", "./1.png": png(IMAGES[1])}, "w:gz")
    np.testing.assert_array_equal(load_data(tmp_path / "a.tgz").images, IMAGES[:2])


def test_hard_link_is_its_file_and_no_other_link_is(tmp_path):
    write(tmp_path / "a.tar", {f"{i}.png": png(image) for i, image in enumerate(IMAGES)} | {"x.txt": b""})
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        for name, kind, target in (("6.png", tarfile.LNKTYPE, "0.png"), ("y.txt", tarfile.SYMTYPE, "/etc/passwd")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    np.testing.assert_array_equal(load_data(tmp_path / "a.tar").images, IMAGES[[*range(6), 0]])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.9])
def test_truncated_tar_is_one_line(form, share, pictures, tmp_path, capsys):
    path = tmp_path / f"z{FORMS[form]}"
    shutil.make_archive(str(tmp_path / "z"), form, pictures)
    members = 7000  # bytes of the tar's members, behind which there are zeros alone
    content = path.read_bytes()
    path.write_bytes(content[: int(share * (members if form == "tar" else len(content)))])
    assert run_cli("train", "--dataset", path, "--dry-run") == 2
    assert f"cannot read {path}" in one_error_line(capsys)


def test_damaged_header_loses_nothing_in_silence(pictures, tmp_path):
    """Some versions of Python's reader take it for the end."""
    path = tmp_path / "z.tar"
    shutil.make_archive(str(tmp_path / "z"), "tar", pictures)
    content = bytearray(path.read_bytes())
    content[content.index(b"3.png")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="cannot read .*z.tar .(damaged at byte|bad checksum)"):
        load_data(path)


@pytest.mark.parametrize("name", ["../a.png", "x/../../a.png", "/a.png"])
def test_path_that_leaves_the_archive_is_refused(name, tmp_path):
    write(tmp_path / "a.tar", {name: png(IMAGES[0])})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, png(IMAGES[0]))
    for path in (tmp_path / "a.tar", tmp_path / "a.zip"):
        with pytest.raises(DatasetError, match="holds a path that leads out of it, "):
            load_data(path)


def test_archive_of_far_more_than_its_size_is_refused(tmp_path):
    large = bytes(2**26 + 1)
    write(tmp_path / "a.tar.gz", {"a.png": large}, "w:gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", large)
    for path in (tmp_path / "a.tar.gz", tmp_path / "a.zip"):
        with pytest.raises(DatasetError, match="holds more than 100 times its .* bytes: unpack it if you trust it"):
            load_data(path)


def test_archives_in_archives_are_not_opened(tmp_path):
    write(tmp_path / "inner.tar", {"a.png": png(IMAGES[0])})
    write(tmp_path / "a.tar", {"inner.tar": (tmp_path / "inner.tar").read_bytes()})
    with pytest.raises(DatasetError, match="holds 1 .tar, which cannot be read as pictures: .* unpack them"):
        load_data(tmp_path / "a.tar")


@pytest.mark.parametrize("form", ["gz", "bz2", "xz"])
def test_compressed_tar_of_another_name_is_read(form, tmp_path):
    """Whatever the suffix says, and whatever the first member is called."""
    write(tmp_path / "a.tar", {"BZh91AY.png": png(IMAGES[0]), "b.png": png(IMAGES[1])}, f"w:{form}")
    write(tmp_path / "b.tar", {"BZh91AY.png": png(IMAGES[0]), "b.png": png(IMAGES[1])})
    for name in ("a.tar", "b.tar"):
        np.testing.assert_array_equal(load_data(tmp_path / name).images, IMAGES[:2])


@pytest.mark.parametrize("place", ["{}/{}.png", "pets/{}/{}.png", "train/{}/{}.png"])
def test_folder_with_one_tar_is_that_tar(place, tmp_path):
    """With its classes and splits, and without pictures beside it."""
    members = {place.format("ab"[i % 2], i): png(image) for i, image in enumerate(IMAGES)}
    others = {"test/a/9.png": png(IMAGES[0])} if place.startswith("train") else {}
    write(tmp_path / "a.tar", members | others)
    expected = load_data(tmp_path / "a.tar")
    dataset = load_data(tmp_path)
    assert dataset.digest() == expected.digest()
    assert (dataset.classes, dataset.notes) == (("a", "b"), expected.notes)
    (tmp_path / "logo.png").write_bytes(png(IMAGES[0]))
    assert load_data(tmp_path).notes == (*expected.notes, "left out 1 picture beside a.tar: logo.png")


def test_tar_for_each_class(tmp_path):
    """As ImageNet's are; each is a class, named as the tar."""
    for i, name in enumerate(("n01440764", "n01443537", "n01484850")):
        write(tmp_path / f"{name}.tar", {f"{name}_{j}.png": png(IMAGES[j]) for j in range(2 * i, 2 * i + 2)})
    dataset = load_data(tmp_path)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.classes == ("n01440764", "n01443537", "n01484850")
    assert "each of the 3 tars is read as a folder of its name" in dataset.notes


def test_tars_that_are_not_used_are_said(tmp_path):
    for name in ("train", "val", "test", "extra"):
        write(tmp_path / f"{name}.tar", {f"{name}/0.png": png(IMAGES[0])})
    assert load_data(tmp_path).notes == (
        "splits that are not used: validation",
        "files of no known split by name, which are not used: extra.tar",
    )


@pytest.mark.parametrize("names", [("0", "1"), ("part-007", "part-009"), ("a", "b")])
@pytest.mark.parametrize("again", [False, True])
def test_tars_together_are_a_folder(again, names, tmp_path):
    """Those that are numbered, or have class folders inside, also with the same names in each."""
    for i, name in enumerate(names):
        members = {f"{kind}/{0 if again else i}.png": png(IMAGES[2 * i + j]) for j, kind in enumerate(("kite", "owl"))}
        write(tmp_path / f"{name}.tar", members)
    dataset = load_data(tmp_path)
    assert dataset.classes == ("kite", "owl")
    np.testing.assert_array_equal(dataset.images, IMAGES[[0, 2, 1, 3]])
    assert "the files of 2 tars are read as those of one folder" in dataset.notes


def test_numbered_tars_are_no_classes(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i:03}.tar", {f"{i}.png": png(IMAGES[i])})
    assert load_data(tmp_path).labels is None


def test_tar_for_each_split(tmp_path):
    for name, rows in (("train", range(4)), ("test", range(4, 6))):
        write(tmp_path / f"{name}.tar", {f"{'ab'[i % 2]}/{i}.png": png(IMAGES[i]) for i in rows})
    assert load_data(tmp_path).labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(load_data(tmp_path, "test").images, IMAGES[4:])


def test_many_pictures_beside_tars(tmp_path):
    """One tar may be an archive of them; several are asked about."""
    (tmp_path / "pictures").mkdir()
    for i in range(16):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(png(IMAGES[i % 6]))
    write(tmp_path / "a.tar", {"a.png": png(IMAGES[0])})
    dataset = load_data(tmp_path)
    assert len(dataset.images) == 16
    assert "1 .tar" in dataset.notes[0]
    write(tmp_path / "b.tar", {"a.png": png(IMAGES[0])})
    with pytest.raises(DatasetError, match="holds 16 pictures, .* and a.tar: give .*/pictures or .*/a.tar"):
        load_data(tmp_path)
