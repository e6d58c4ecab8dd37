"""Images in NumPy's files and idx files: what is read, and what is refused."""

import gzip
import io
import re
import struct

import numpy as np
import pytest
from helpers import memory_within_checks
from PIL import Image

from dcgan_jax.data import DatasetError, NoSplitError, load_data, parse_size

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (7, 12, 8, 1), np.uint8)
BYTES[0, 0, 0, 0], BYTES[0, 0, 1, 0] = 0, 255  # so that ranges are whole
COLOURS = RANDOM.integers(0, 256, (7, 12, 8, 3), np.uint8)


@pytest.fixture
def load(tmp_path):
    """Save arrays and load them."""

    def load(array=None, name="a.npy", split="train", image_size=None, channels=None, **arrays):
        if array is not None:
            np.save(tmp_path / name, array)
        else:
            np.savez(tmp_path / (name := "a.npz"), **arrays)
        return load_data(str(tmp_path / name), split, image_size=image_size, channels=channels)

    return load


@pytest.mark.parametrize(
    "array",
    [
        BYTES,
        BYTES[..., 0],
        BYTES.transpose(0, 3, 1, 2),
        BYTES.astype(np.int64),
        BYTES.astype(np.float32) / 255,
        BYTES.astype(np.float64) / 127.5 - 1,
        BYTES.astype(np.float16),
        BYTES.astype(np.uint16) * 257,
        np.asfortranarray(BYTES),
    ],
    ids=["bytes", "no channel", "channel first", "integers", "unit", "from -1", "floats to 255", "16 bits", "fortran"],
)
def test_array_is_read_as_bytes(array, load):
    images = load(array).images
    assert images.dtype == np.uint8
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, BYTES)


def test_colours_are_kept(load):
    np.testing.assert_array_equal(load(COLOURS).images, COLOURS)
    np.testing.assert_array_equal(load(COLOURS.transpose(0, 3, 1, 2)).images, COLOURS)
    planes = RANDOM.integers(0, 256, (3, 3, 8, 8), np.uint8)
    np.testing.assert_array_equal(load(planes.reshape(3, -1)).images, planes.transpose(0, 2, 3, 1))  # as CIFAR's


def test_resized_floats_just_below_0_are_refused(load):
    """They are pixels of [0, 1] that a filter has let overshoot, not those of [-1, 1]."""
    with pytest.raises(DatasetError, match=r"from -0.003 to 1, .*: clip them to \[0, 1\], as `range=0,1` does"):
        load(np.where(BYTES == 0, -0.003, BYTES / 255))


def test_labels_are_not_read_where_nobody_asks(tmp_path):
    np.savez(tmp_path / "a.npz", images=BYTES, labels=np.arange(6))
    with pytest.raises(DatasetError, match="one each is needed"):
        load_data(tmp_path / "a.npz")
    dataset = load_data(tmp_path / "a.npz", labels=False)
    np.testing.assert_array_equal(dataset.images, BYTES)
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones((7, 5), int), r"labels of shape \[7, 5\] are not one-hot"),
        (np.zeros((7, 5), int), ".*not one-hot"),
        (np.eye(7) * [1, 1, 1, 1, 1, 1, 2], ".*not one-hot"),
        (np.eye(7)[:, :, None], r"labels of shape \[7, 7, 1\] are not one number each"),
        (np.linspace(0, 1, 7), "labels must be integers or text, got float64"),
    ],
)
def test_labels_that_are_no_classes(labels, message, tmp_path):
    np.savez(tmp_path / "a.npz", images=BYTES, labels=labels)
    dataset = load_data(tmp_path / "a.npz")
    assert (dataset.labels, dataset.classes) == (None, ())
    (note,) = dataset.notes
    assert re.fullmatch(f"labels in .*a.npz: {message}.*: none is used", note)
    with pytest.raises(DatasetError, match=f"{message}.*: save the number of each image's class, of shape .7"):
        load_data(tmp_path / "a.npz", labels="labels")


@pytest.mark.parametrize("dtype", ["U", "S"])
@pytest.mark.parametrize("form", ["uint8", "float", "column", "one-hot"])
def test_classes_have_names_with_labels_of_any_form(form, dtype, load):
    labels = np.arange(7) % 3
    forms = {"uint8": np.uint8(labels), "float": labels / 1, "column": labels[:, None], "one-hot": np.eye(3)[labels]}
    dataset = load(images=BYTES, labels=forms[form], classNames=np.array(["cat", "owl", "dog"], dtype))
    assert dataset.labels.tolist() == labels.tolist()
    assert (dataset.classes, dataset.notes) == (("cat", "owl", "dog"), ())


@pytest.mark.parametrize("coordinates", [{"x": 8, "y": 12}, {"x": 8, "y": 12, "time": 7}, {"y": 5}], ids=str)
@pytest.mark.parametrize("name", ["images", "data"])
def test_coordinates_are_neither_images_nor_labels(coordinates, name, load):
    """As netCDF has them."""
    dataset = load(**{name: BYTES[..., 0]}, **{axis: np.arange(n) for axis, n in coordinates.items()})
    np.testing.assert_array_equal(dataset.images, BYTES)
    assert dataset.labels is None
    assert dataset.notes[0].startswith(f"arrays that are not used: {', '.join(coordinates)} (")


def test_signed_bytes_are_given_their_whole_range(load, tmp_path):
    signed = (BYTES.clip(2, 253) - 128.0).astype(np.int8)  # not all of it occurs
    with pytest.raises(DatasetError, match="from -126 to 125, as int8: add `range=-128,127`"):
        load(signed)
    assert load_data(tmp_path / "a.npy", range=(-128, 127)).images.max() == 253


def test_targets_of_scikit_learn_are_classes(load):
    dataset = load(images=BYTES, target=np.arange(7) % 2, target_names=np.array(["owl", "kite"]))
    assert [dataset.classes[i] for i in dataset.labels] == ["owl", "kite"] * 3 + ["owl"]
    assert dataset.notes == ()


def test_many_arrays_are_counted(load):
    with pytest.raises(DatasetError, match=r"holds 12 arrays, a0, a1, a2, \.\.\.: name the images"):
        load(**{f"a{i}": BYTES for i in range(12)})


def test_what_was_done_is_said(load):
    (note,) = load(np.float32(BYTES / 127.5 - 1)).notes
    assert note == "[-1, 1] taken as black to white; `range=LOW,HIGH` says otherwise"
    assert load(BYTES).notes == ()
    (note,) = load(RANDOM.integers(0, 256, (5, 30, 30), np.uint8)).notes
    assert note == "5 images of 30x30 cropped around their centre to 28x28"
    assert load(COLOURS, channels=1).notes == ("7 images in colours made grey",)
    assert load(BYTES, channels=3).notes == ("7 grey images given equal colours",)


def test_sizes_and_channels_can_be_chosen(load):
    assert load(COLOURS, image_size=(16, 16)).images.shape == (7, 16, 16, 3)
    grey = load(COLOURS, channels=1).images
    assert grey.shape == (7, 12, 8, 1)
    luma = COLOURS @ [0.299, 0.587, 0.114]
    assert np.abs(grey[..., 0] - luma).max() <= 0.5
    np.testing.assert_array_equal(load(BYTES, channels=3).images, np.repeat(BYTES, 3, -1))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((30, 31), (28, 28)), ((28, 28), (28, 28)), ((64, 200), (20, 64)), ((500, 100), (64, 12)), ((5, 7), (4, 4))],
)
def test_default_size_is_a_multiple_of_4_up_to_64(shape, size, load):
    assert load(RANDOM.integers(0, 256, (2, *shape), np.uint8)).images.shape == (2, *size, 1)


@pytest.mark.parametrize(
    ("side", "nearest"), [(31, 32), (29, 28), (30, 28), (33, 32), (0, 4), (1023, 1024), (9999, 1024)]
)
def test_nearest_size_is_named(side, nearest):
    with pytest.raises(ValueError, match=f"got {side}x8: {nearest} is the nearest"):
        parse_size(f"{side}x8")


def test_labels_are_numbered(load):
    dataset = load(images=BYTES, labels=np.array([5, 3, 5, 9, 9, 3, 5]))
    assert dataset.classes == ("3", "5", "9")
    assert dataset.labels.tolist() == [1, 0, 1, 2, 2, 0, 1]
    assert load(x_train=BYTES, y_train=np.arange(7)[:, None]).labels.tolist() == list(range(7))
    assert load(x_train=BYTES, y_train=np.eye(7)[::-1]).labels.tolist() == list(range(7))[::-1]
    assert load(images=BYTES, labels=np.array(list("abcabca"))).classes == ("a", "b", "c")
    assert load(anything=BYTES).labels is None


def test_test_split_of_npz(load):
    dataset = load(x_train=BYTES, x_test=BYTES[:2], y_test=np.array([0, 1]), split="test")
    np.testing.assert_array_equal(dataset.images, BYTES[:2])
    assert dataset.labels.tolist() == [0, 1]


@pytest.mark.parametrize("compress", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_idx_files_have_their_labels_beside_them(compress, tmp_path):
    images = struct.pack(">4I", 0x803, 7, 12, 8) + BYTES.tobytes()
    (tmp_path / "my-images-idx3-ubyte").write_bytes(compress(images))
    assert load_data(tmp_path / "my-images-idx3-ubyte").labels is None
    (tmp_path / "my-labels-idx1-ubyte").write_bytes(
        compress(struct.pack(">2I", 0x801, 7) + bytes([4, 4, 2, 2, 2, 2, 2]))
    )
    dataset = load_data(tmp_path / "my-images-idx3-ubyte")
    np.testing.assert_array_equal(dataset.images, BYTES)
    assert (dataset.labels.tolist(), dataset.classes) == ([1, 1, 0, 0, 0, 0, 0], ("2", "4"))


def test_few_images_of_an_idx_file_are_read(tmp_path):
    (tmp_path / "a").write_bytes(struct.pack(">4I", 0x803, 3, 12, 8) + BYTES[:3].tobytes())
    np.testing.assert_array_equal(load_data(tmp_path / "a").images, BYTES[:3])


def test_gzipped_copy_of_idx_images_is_no_labels(tmp_path):
    content = struct.pack(">4I", 0x803, 7, 12, 8) + BYTES.tobytes()
    (tmp_path / "digits.idx").write_bytes(content)
    (tmp_path / "digits.idx.gz").write_bytes(gzip.compress(content))
    for name in ("digits.idx", "digits.idx.gz"):
        assert load_data(tmp_path / name).labels is None


@pytest.mark.parametrize("ends", [("", ".gz"), (".gz", ""), (".gz", ".gz"), ("", "")])
def test_labels_of_idx_are_found_gzipped_or_not(ends, tmp_path):
    contents = (struct.pack(">4I", 0x803, 7, 12, 8) + BYTES.tobytes(), struct.pack(">2I", 0x801, 7) + bytes(range(7)))
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    for name, end, content in zip(names, ends, contents, strict=True):
        (tmp_path / f"{name}{end}").write_bytes(gzip.compress(content) if end else content)
    assert load_data(tmp_path / f"{names[0]}{ends[0]}").labels.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(20), "labels, perhaps, and no images"),
        (np.arange(20)[:, None], "labels, perhaps, and no images"),
        (np.zeros((5, 30)), "rows of 30 numbers, no square images"),
        (np.eye(100)[np.arange(500) % 100], "zeros and a single 1: one-hot labels, perhaps, and no images"),
        (np.eye(16, dtype=bool)[:9], "one-hot labels, perhaps"),
        (np.array(7), r"shape \[\]: images must be \[N, H, W, C\] or \[N, H, W\]"),
        (np.zeros((2, 3, 4, 5, 6)), r"shape \[2, 3, 4, 5, 6\]: images must be \[N, H, W, C\]"),
        (
            np.concatenate((COLOURS / 255, COLOURS[..., :1] + 1.0), -1),
            "the fourth channel is .*, no opacity from 0 to 1",
        ),
        (np.zeros((0, 8, 8, 1)), r"\[0, 8, 8, 1\]: at least one image of at least 4x4 is needed"),
        (np.zeros((5, 2, 9)), r"\[5, 2, 9\]: at least one image of at least 4x4 is needed"),
        (np.where(BYTES == 5, np.nan, BYTES), "NaN or infinite"),
        (np.full((5, 8, 8), 7), "all pixels are 7: there is nothing to learn"),
        (BYTES.astype(np.int16) - 5, r"from -5 to 250, .*clip them to \[0, 255\], as `range=0,255` does"),
        (BYTES * 1000.0, "from 0 to 255000, .*add `range=0,255000`"),
        (BYTES / 60 - 2.0, "from -2 to 2.25, .*add `range=-2,2.25`"),
        (BYTES + 0j, "must be numbers, got complex128"),
        (np.array(["a", "b"]), "must be numbers, got <U1"),
    ],
)
def test_what_is_no_image_is_refused(array, message, load):
    with pytest.raises(DatasetError, match=message):
        load(array)


@pytest.mark.parametrize(
    "shape", [(64, 64, 4), (64, 48, 3), (64, 64, 1), (3, 64, 48), (4, 64, 64), (64, 64), (256, 256)], ids=str
)
def test_array_that_may_be_one_image_is_refused(shape, load):
    with pytest.raises(DatasetError, match=r"which may be one image: .* one image as \[1, H, W, C\], and grey ones as"):
        load(RANDOM.integers(0, 256, shape, np.uint8))


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 28, 28), (5, 28, 28), (3, 28, 28, 1), (64, 4, 4), (9, 64)], ids=str)
def test_array_of_several_images_is_read(shape, load):
    assert len(load(RANDOM.integers(0, 256, shape, np.uint8)).images) == shape[0]


def test_array_of_several_shapes_is_refused(tmp_path):
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros((4, 4)), np.zeros((5, 5))]
    np.save(tmp_path / "a.npy", ragged)
    with pytest.raises(DatasetError, match="Python objects, perhaps images of several shapes: save one array"):
        load_data(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", images=ragged)
    with pytest.raises(DatasetError, match="Python objects, perhaps images of several shapes: save one array"):
        load_data(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": BYTES, "labels": np.arange(6)}, r"labels in .* of shape \[6\] for 7 images: one each is needed"),
        ({"images": BYTES[:6], "labels": np.ones((3, 2), int)}, r"shape \[3, 2\] for 6 images: one each is needed"),
        ({"images": BYTES[:6], "labels": np.zeros((2, 3), int)}, r"shape \[2, 3\] for 6 images: one each is needed"),
        (
            {"images": BYTES, "y_train": np.array([*"abcdef", 7], object)},
            "y_train in .* holds Python objects: save lab",
        ),
        ({"a": BYTES, "b": BYTES}, "holds the arrays a, b: name the images images or x_train"),
        ({}, "holds the arrays none"),
    ],
)
def test_unusable_npz_is_reported(arrays, message, load):
    with pytest.raises(DatasetError, match=message):
        load(**arrays)


@pytest.mark.parametrize("name", ["a.npy", "a.npy.gz", "a.npz", "a-idx3-ubyte", "a-idx3-ubyte.gz"])
@pytest.mark.parametrize("content", [b"", b"no file of images", b"\x1f\x8bno gzip", b"PK\x03\x04no zip"])
def test_damaged_file_is_one_line(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError) as error:
        load_data(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_too_many_images_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 1000)
    np.save(tmp_path / "a.npy", BYTES)
    with pytest.raises(DatasetError, match="7 images of 12x8x1 take 0.0 GiB of memory, and 0.0 GiB are free"):
        load_data(tmp_path / "a.npy")


@pytest.mark.parametrize("kind", ["f1.npy", "f8.npy", "u2.npy", "f8.npz", "idx4.gz", "idx4"])
@pytest.mark.parametrize("options", [{}, {"channels": 1}, {"image_size": (96, 96)}, {"image_size": (32, 32)}], ids=str)
def test_no_more_memory_is_taken_than_checked(kind, options, tmp_path, monkeypatch):
    images = RANDOM.integers(0, 256, (1500, 48, 48, 3), np.uint8)
    if kind.startswith("idx4"):
        content = struct.pack(">5I", 0x804, *images.shape) + images.tobytes()
        (tmp_path / kind).write_bytes(gzip.compress(content, 1) if kind == "idx4.gz" else content)
    elif kind == "f8.npz":
        np.savez(tmp_path / kind, images=images / 255)
    else:
        np.save(tmp_path / kind, {"f1": images, "f8": images / 255, "u2": images * np.uint16(257)}[kind[:2]])
    converted = 3 * 2**18 * 8  # values that are converted at a time, three arrays of them in float64
    with memory_within_checks(monkeypatch, beside=converted if kind.endswith(".npy") else 0):
        load_data(tmp_path / kind, **options)


def test_digest_is_of_images_labels_and_classes(load):
    digests = {
        load(BYTES).digest(),
        load(BYTES[::-1]).digest(),
        load(images=BYTES, labels=np.arange(7)).digest(),
        load(images=BYTES, labels=np.arange(7)[::-1]).digest(),
        load(images=BYTES, labels=np.arange(1, 8)).digest(),
    }
    assert len(digests) == 5
    assert load(BYTES).digest() in digests


def test_idx_beyond_memory_is_not_expanded(tmp_path, monkeypatch):
    content = struct.pack(">4I", 0x803, 2000, 28, 28) + bytes(2000 * 28 * 28)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    (tmp_path / "b.gz").write_bytes(gzip.compress(content[:4] + b"\xff" * 12 + content[16:]))
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 1_000_000)
    monkeypatch.setattr("numpy.empty", lambda *_: pytest.fail("memory was taken"))
    with pytest.raises(
        DatasetError, match=r"a.gz: bytes of shape \[2000, 28, 28\] take 0.0 GiB of memory, and 0.0 GiB"
    ):
        load_data(tmp_path / "a.gz")
    with pytest.raises(
        DatasetError,
        match=r"b.gz is no idx file .* \(its header counts more bytes than it can hold\)",
    ):
        load_data(tmp_path / "b.gz")


@pytest.mark.parametrize("array", [BYTES, np.asfortranarray(BYTES / 255)], ids=["bytes", "floats"])
def test_gzipped_array_is_read(array, tmp_path):
    np.save(content := io.BytesIO(), array)
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(content.getvalue()))
    np.testing.assert_array_equal(load_data(tmp_path / "a.npy.gz").images, BYTES)
    with pytest.raises(NoSplitError):
        load_data(tmp_path / "a.npy.gz", "test")
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(content.getvalue())[:-5])
    with pytest.raises(DatasetError, match=r"cannot read .*a.npy.gz \(Compressed file ended"):
        load_data(tmp_path / "a.npy.gz")


def test_gzipped_array_beyond_memory_is_not_expanded(tmp_path, monkeypatch):
    for name, shape in (("a.npy.gz", (2000, 28, 28)), ("b.npy.gz", (2**20, 28, 28))):
        np.lib.format.write_array_header_1_0(
            content := io.BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        (tmp_path / name).write_bytes(gzip.compress(content.getvalue() + bytes(2000 * 28 * 28)))
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 1_000_000)
    for name, message in (
        ("a.npy.gz", r"a.npy.gz: uint8 of shape \[2000, 28, 28\] take 0.0 GiB of memory, and 0.0 GiB"),
        ("b.npy.gz", r"b.npy.gz is no file .*damaged \(its header counts more bytes than it can hold\)"),
    ):
        with pytest.raises(DatasetError, match=message):
            load_data(tmp_path / name)


def test_archive_beyond_memory_is_not_expanded(tmp_path, monkeypatch):
    """A small file may hold much: its sizes are looked at first."""
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((2000, 28, 28), np.uint8), labels=np.zeros(2000, int))
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 1_000_000)
    monkeypatch.setattr("numpy.lib.format.read_array", lambda *_, **__: pytest.fail("an array was read"))
    with pytest.raises(DatasetError, match="the arrays of .*a.npz take 0.0 GiB of memory, and 0.0 GiB are free: save"):
        load_data(tmp_path / "a.npz")


def test_arrays_that_are_not_used_are_named(load):
    images = RANDOM.integers(0, 256, (6, 8, 8), np.uint8)
    dataset = load(x=images, y=np.arange(6) % 2, extra=np.zeros(6))
    assert dataset.labels.tolist() == [0, 1] * 3
    assert any(
        note.startswith("arrays that are not used: extra (labels are named labels or y_train") for note in dataset.notes
    )


@pytest.mark.parametrize("labels", [np.arange(6) % 2 == 1, np.arange(6.0) % 2, np.array([b"a", b"b"] * 3)], ids=str)
def test_labels_of_other_types_are_classes(labels, load):
    dataset = load(images=RANDOM.integers(0, 256, (6, 8, 8), np.uint8), labels=labels)
    assert dataset.labels.tolist() == [0, 1] * 3


def test_suffix_in_capitals_is_read(tmp_path):
    images = RANDOM.integers(0, 256, (6, 8, 8), np.uint8)
    for name, save in (("A.NPY", np.save), ("A.NPZ", np.savez)):
        with (tmp_path / name).open("wb") as file:
            save(file, images)
        assert len(load_data(tmp_path / name).images) == 6


def test_dark_split_is_refused(tmp_path):
    images = RANDOM.integers(0, 256, (6, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images / 255, x_test=images)
    with pytest.raises(DatasetError, match="its brightest pixel is 1 of 255, nearly black"):
        load_data(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.7z", "an archive that is not read: unpack it"),
        ("a.tar.gz", "cannot read .*a.tar.gz"),
        ("a.tif", "a single file of pictures: give a folder that holds it .`frames=all` for its pages"),
    ],
)
def test_what_to_do_about_other_files_is_said(name, message, tmp_path):
    (tmp_path / name).write_bytes({"a.tif": b"II*\x00", "a.7z": b"7z\xbc\xaf"}.get(name, b"\x1f\x8b12345"))
    with pytest.raises(DatasetError, match=message):
        load_data(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "labels"),
    [
        ({"arr_0": BYTES, "arr_1": np.arange(7) % 2}, True),
        ({"arr_0": np.arange(7) % 2, "arr_1": BYTES}, True),
        ({"X": BYTES, "y": np.arange(7) % 2}, True),
        ({"data": BYTES, "labels": np.arange(7) % 2}, True),
        ({"data": BYTES, "target": np.arange(7) % 2, "index": np.arange(7)}, True),
        ({"data": BYTES, "a": np.arange(7), "b": np.arange(7)}, False),  # it could be either
        ({"images": BYTES, "index": np.arange(7)}, False),  # the names say something
        ({"train_data": BYTES, "test_data": BYTES[:2], "train_y": np.arange(7) % 2, "test_y": np.arange(2)}, True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_arrays_without_usual_names_are_told_by_shape(arrays, labels, load):
    dataset = load(**arrays)
    np.testing.assert_array_equal(dataset.images, BYTES)
    assert (dataset.labels is not None and dataset.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]) == labels


@pytest.mark.parametrize("name", ["images", "labels"])
def test_single_array_has_no_names(name, tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    with pytest.raises(DatasetError, match=rf"`{name}=x` names an array or a column, and .*a.npy holds none by name"):
        load_data(tmp_path / "a.npy", **{name: "x"})


def test_arrays_can_be_named(tmp_path):
    np.savez(tmp_path / "a.npz", a=BYTES, b=BYTES[::-1], c=np.arange(7) % 2)
    with pytest.raises(DatasetError, match="holds the arrays a, b, c: .*, or choose one with `images=a`"):
        load_data(tmp_path / "a.npz")
    dataset = load_data(tmp_path / "a.npz", images="b", labels="c")
    np.testing.assert_array_equal(dataset.images, BYTES[::-1])
    assert dataset.classes == ("0", "1")
    for flag in ("images", "labels"):
        with pytest.raises(DatasetError, match=f"holds nothing named d for `{flag}`: it has a, b, c"):
            load_data(tmp_path / "a.npz", **{flag: "d"})
    with pytest.raises(NoSplitError, match="has no split test: b is all for training"):
        load_data(tmp_path / "a.npz", "test", images="b")


@pytest.mark.parametrize("form", ["bytes", "floats", "planes", "16 bits"])
def test_opacity_is_put_on_white_as_pillow_does(form, load):
    images = RANDOM.integers(0, 256, (5, 8, 8, 4), np.uint8)
    images[0, 0, 0, :], images[0, 0, 1], images[1, ..., 3] = 255, 0, 255
    forms = {
        "bytes": images,
        "floats": images / 255,
        "planes": images.transpose(0, 3, 1, 2),
        "16 bits": images * np.uint16(257),
    }
    dataset = load(forms[form])
    white = Image.new("RGBA", (8, 8), "white")
    expected = [Image.alpha_composite(white, Image.fromarray(image)).convert("RGB") for image in images]
    assert np.abs(dataset.images.astype(int) - np.stack(expected)).max() <= 1  # two ways to round
    assert dataset.altered == ("transparent pixels made white in 4 of 5 images",)
    np.testing.assert_array_equal(dataset.images[1], images[1, ..., :3])


def test_frames_are_those_of_pictures(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((9, 8, 8, 1), np.uint8) + np.arange(8, dtype=np.uint8)[:, None] * 30)
    with pytest.raises(DatasetError, match="`frames` is for pictures: .*a.npy holds arrays"):
        load_data(tmp_path / "a.npy", frames="all")
