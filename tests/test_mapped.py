"""Images in mapped files: the same as in memory, written once and whole, read by rows."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dcgan_jax.data import DatasetError, load_data
from dcgan_jax.data.mapped import NewArray, RowReader, RowsOf, WriteError, kept
from dcgan_jax.evaluation.real_images import hold_out

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (40, 8, 12, 3), np.uint8)
LABELS = np.arange(40) % 3


def write_source(kind, path):
    """A data set of `IMAGES` in a form that is mapped only after it was written anew; its path."""
    if kind == "floats":
        np.save(path / "a.npy", IMAGES / np.float32(255))
    elif kind == "another order":
        np.save(path / "a.npy", IMAGES.transpose(0, 3, 1, 2))
    elif kind == "Fortran's order":
        np.save(path / "a.npy", np.asfortranarray(IMAGES))
    elif kind == "opacity":
        np.save(path / "a.npy", np.concatenate([IMAGES, np.full((40, 8, 12, 1), 255, np.uint8)], axis=-1))
    elif kind == "zipped":
        np.savez(path / "a.npz", images=IMAGES, labels=LABELS)
        return path / "a.npz"
    else:
        for i, image in enumerate(IMAGES):
            (path / "set" / str(LABELS[i])).mkdir(parents=True, exist_ok=True)
            image = image[..., :1].repeat(3, -1) if kind == "grey pictures in colours" else image
            Image.fromarray(image).save(path / "set" / str(LABELS[i]) / f"{i:02}.png")
        return path / "set"
    return path / "a.npy"


@pytest.fixture
def source(tmp_path):
    """A folder of pictures with one that is broken."""
    folder = write_source("pictures", tmp_path)
    (folder / "0" / "broken.png").write_bytes((folder / "0" / "00.png").read_bytes()[:60])
    return folder


def assert_same_data(mapped, plain):
    assert isinstance(mapped.images, np.memmap)
    np.testing.assert_array_equal(mapped.images, plain.images)
    assert mapped.digest() == plain.digest()
    assert (mapped.classes, mapped.notes, mapped.altered) == (plain.classes, plain.notes, plain.altered)


def test_plain_array_is_mapped_as_it_is(tmp_path, data_cache):
    """Without a copy; of grey images the file may leave the axis of the channels out."""
    for name, images in (("colours", IMAGES), ("grey", IMAGES[..., 0])):
        np.save(tmp_path / f"{name}.npy", images)
        mapped = load_data(tmp_path / f"{name}.npy", stream=True)
        assert_same_data(mapped, load_data(tmp_path / f"{name}.npy"))
        assert Path(mapped.images.filename) == tmp_path / f"{name}.npy"
    assert not list(data_cache.rglob("*"))


@pytest.mark.parametrize("size", [None, (4, 8)], ids=["own size", "smaller"])
@pytest.mark.parametrize(
    "kind",
    ["floats", "another order", "Fortran's order", "opacity", "zipped", "pictures", "grey pictures in colours"],
)
def test_others_are_written_once(kind, size, tmp_path, data_cache, capsys, monkeypatch):
    path = write_source(kind, tmp_path)
    plain = load_data(path, image_size=size, cache_dir=tmp_path / "plain")
    capsys.readouterr()
    assert_same_data(load_data(path, image_size=size, stream=True), plain)
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: 40 images are written once, 0.00 GiB, to {data_cache / 'data'}")
    monkeypatch.setattr("dcgan_jax.data.cache.save_cached", None)
    monkeypatch.setattr("dcgan_jax.data.picture_folders.save_cached", None)
    assert_same_data(load_data(path, image_size=size, stream=True), plain)
    assert sorted(each.suffix for each in (data_cache / "data").iterdir()) == [".json", ".npy"]
    assert capsys.readouterr().out == ""


def test_cache_dir_is_where_they_are_written(source, tmp_path, data_cache):
    mapped = load_data(source, stream=True, cache_dir=tmp_path / "mine")
    assert Path(mapped.images.filename).parent == tmp_path / "mine"
    assert not list(data_cache.rglob("*"))


def test_a_third_of_free_memory_is_the_limit(tmp_path, data_cache, monkeypatch):
    np.save(tmp_path / "a.npy", IMAGES)
    for less, mapped in ((1, True), (0, False)):
        monkeypatch.setattr("dcgan_jax.data.common.free_memory", lambda less=less: 3 * IMAGES.size - less)
        dataset = load_data(tmp_path / "a.npy", stream=None)
        assert isinstance(dataset.images, np.memmap) == mapped
        said = [f"are streamed from {tmp_path / 'a.npy'} (`stream=False`" in note for note in dataset.notes]
        assert said == [True] * mapped


@pytest.fixture
def small_disk():
    """Within a call, files end at so many bytes, as on a disk that is full then: an error of the system's."""

    def call(limit, work):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            return work()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # as Python starts
    return call


@pytest.mark.parametrize("kind", ["floats", "zipped", "pictures"])
def test_full_disk_is_one_line_and_leaves_nothing(kind, tmp_path, data_cache, small_disk, monkeypatch):
    """While it is written, or seen before."""
    path = write_source(kind, tmp_path)
    with pytest.raises(DatasetError, match=r"cannot be written to the user's cache \(File too large\): name") as error:
        small_disk(5000, lambda: load_data(path, stream=True))
    assert "\n" not in str(error.value)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2000))
    with pytest.raises(DatasetError, match=r"take 0.00 GiB, and 0.00 GiB are free in .*: name another folder"):
        load_data(path, stream=True)
    assert [each for each in data_cache.rglob("*") if each.is_file()] == []


def test_damaged_cache_is_written_again(source, data_cache):
    """Damaged, cut, half written or of another form: none of it is used, and what was left is removed."""
    plain = load_data(source, cache_dir=data_cache / "plain")
    load_data(source, stream=True)
    (path,) = (data_cache / "data").glob("*.npy")
    said = path.with_suffix(".json")
    content, text = path.read_bytes(), said.read_text()
    flipped = content[:3000] + bytes([content[3000] ^ 1]) + content[3001:]
    for damaged, saying in (
        (flipped, text),
        (content[:-1], text),
        (b"", text),
        (content, ""),
        (content, "[]"),
        (content, "{}"),
        (content, None),
    ):
        path.write_bytes(damaged)
        said.unlink() if saying is None else said.write_text(saying)
        (path.parent / "other.npy.partial").write_bytes(b"half")
        assert_same_data(load_data(source, stream=True), plain)
        assert (path.read_bytes(), said.read_text()) == (content, text)
        assert {each.suffix for each in path.parent.iterdir()} == {".npy", ".json"}


def test_two_processes_write_one_file(source, data_cache):
    """The second waits for the first, and reads what it has written."""
    program = f"from dcgan_jax import load_data; print(load_data({str(source)!r}, stream=True).digest())"
    environment = {**os.environ, "XDG_CACHE_HOME": str(data_cache)}
    command = [sys.executable, "-c", program]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    digests = {process.communicate()[0].splitlines()[-1] for process in started}
    assert digests == {load_data(source).digest()}
    assert len(list(data_cache.rglob("dcgan-jax/data/*.npy"))) == 1


def test_held_out_images_leave_the_file_as_it_is(tmp_path):
    """The others are read from it by their numbers; the digest is that of the arrays in memory."""
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    parts = [hold_out(load_data(tmp_path / "a.npz", stream=stream), 10, "a") for stream in (True, False)]
    assert isinstance(parts[0].images, RowsOf)
    assert isinstance(parts[0].held_out.images, np.ndarray)
    assert parts[0].digest() == parts[1].digest()
    with closing(RowReader(parts[0].images)) as reader:
        np.testing.assert_array_equal(reader.read(np.array([29, 0, 0])), parts[1].images[[29, 0, 0]])


def test_rows_are_read_from_the_file(tmp_path):
    """From any part of it that lies there in order; a file that is cut meanwhile is an error."""
    np.save(tmp_path / "a.npy", IMAGES)
    rows = np.array([3, 0, 29, 3], np.int32)
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    for images in (array, array[5:], array[5:][2:], array[::2], array[:, ::-1], IMAGES):
        some = rows % len(images)
        with closing(RowReader(images)) as reader:
            np.testing.assert_array_equal(reader.read(some), np.asarray(images)[some])
    with closing(RowReader(array)) as reader:
        os.truncate(tmp_path / "a.npy", 1000)
        with pytest.raises(OSError, match=r"a.npy has changed while it was read"):
            reader.read(np.array([30]))


def test_new_array_is_cut_in_its_place(tmp_path):
    """To fewer rows and the first channel, as the array in memory."""
    new = NewArray(tmp_path / "a.npy", IMAGES.shape)
    new[0:40] = IMAGES[::-1]
    new[3] = IMAGES[0]
    expected = IMAGES[::-1].copy()
    expected[3] = IMAGES[0]
    np.testing.assert_array_equal(new[2:5], expected[2:5])
    assert kept(new, 33, 1) is new
    new.close()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), kept(expected, 33, 1))
    assert (tmp_path / "a.npy").stat().st_size == 128 + 33 * 8 * 12


def test_new_array_on_a_full_disk_is_an_error(tmp_path, small_disk):
    def write():
        new = NewArray(tmp_path / "a.npy", (20, 64, 64, 3))
        with pytest.raises(WriteError, match="File too large"):
            for i in range(20):
                new[i] = np.zeros((64, 64, 3), np.uint8)
        with pytest.raises(OSError, match="File too large"):
            new.close()

    small_disk(20_000, write)


MEMORY = """
import resource, sys
from dcgan_jax import load_data
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
load_data(sys.argv[1] + "/small.npy")
before = peak()
data = load_data(sys.argv[1] + "/" + sys.argv[2], stream=sys.argv[3] == "True")
data.digest()
print((peak() - before) / data.images.size)
"""


@pytest.mark.parametrize(
    ("name", "stream", "most"),
    [("bytes.npy", False, 1.2), ("floats.npy", False, 1.2), ("bytes.npy", True, 0.2)],
)
def test_memory_is_that_of_the_images(name, stream, most, tmp_path):
    """Peak memory by the size of the images, which are 200 MB as bytes."""
    np.save(tmp_path / "small.npy", IMAGES)
    images = np.broadcast_to(RANDOM.integers(0, 256, (1, 64, 64, 3), np.uint8), (16_000, 64, 64, 3))
    kind = np.uint8 if name == "bytes.npy" else np.float16
    new = np.lib.format.open_memmap(tmp_path / name, "w+", kind, images.shape)
    new[:] = images
    new.flush()
    command = [sys.executable, "-c", MEMORY, str(tmp_path), name, str(stream)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (tmp_path / name).unlink()
    assert float(done.stdout.splitlines()[-1]) < most
