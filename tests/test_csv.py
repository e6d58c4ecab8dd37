"""CSV files of pixels, in the forms in which data sets of them are published."""

import gzip
import zipfile

import numpy as np
import pytest

from dcgan_jax.data import DatasetError, NoSplitError, load_data, load_dataset, load_labels

pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
IMAGES = load_dataset("mnist", "test")[:40]
LABELS = load_labels("mnist", "test")[:40].astype(int)
ROWS = IMAGES.reshape(40, -1)
PIXELS = [f"pixel{i}" for i in range(784)]


def write(path, rows, names=None):
    lines = [",".join(map(str, row)) for row in ([names] if names else []) + list(rows)]
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ([LABELS, ROWS], ["label", *PIXELS]),
        ([LABELS, ROWS], ["label", *(f"{i}x{j}" for i in range(1, 29) for j in range(1, 29))]),
        ([ROWS, LABELS], [*PIXELS, "class"]),
        ([LABELS, ROWS], ["digit", *PIXELS]),
        ([np.arange(40), LABELS, ROWS], ["", "label", *PIXELS]),
        ([LABELS, ROWS], ["label", *range(784)]),
        ([LABELS, ROWS], None),
        ([ROWS, LABELS], None),
    ],
    ids=["digit-recognizer", "rows x columns", "last", "another name", "index", "numbers", "first, unnamed"]
    + ["last, unnamed"],
)
def test_pixels_and_labels_of_columns(name, columns, names, tmp_path):
    dataset = load_data(write(tmp_path / name, np.column_stack(columns), names))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert [int(dataset.classes[label]) for label in dataset.labels] == LABELS.tolist()
    said = any("columns taken for the labels; `labels=" in note for note in dataset.notes)
    assert said == (names is None)


@pytest.mark.parametrize("names", [PIXELS, [*map(str, range(784))], None], ids=["named", "numbers", "unnamed"])
def test_pixels_alone_have_no_classes(names, tmp_path):
    dataset = load_data(write(tmp_path / "a.csv", ROWS, names))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.labels is None


def renamed(row):
    """Names that pandas makes of a row of pixels: x, x.1, x.2, ..."""
    counts = {}
    for value in map(str, row):
        yield f"{value}.{counts[value]}" if value in counts else value
        counts[value] = counts.get(value, 0) + 1


@pytest.mark.parametrize(
    "row", [[0] * 785, [LABELS[0], *ROWS[0]], [0.5, *(ROWS[0] / 255)]], ids=["zeros", "a digit", "floats"]
)
def test_row_that_pandas_took_for_names_is_no_image(row, tmp_path):
    names = list(renamed(row))
    dataset = load_data(write(tmp_path / "a.csv", np.column_stack([LABELS, ROWS]), names))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert [int(dataset.classes[label]) for label in dataset.labels] == LABELS.tolist()


def test_names_that_are_numbers_are_said(tmp_path):
    (note,) = load_data(write(tmp_path / "a.csv", ROWS, renamed([0] * 784))).notes
    assert note == "the first row, 0, 0.1, 0.2, ..., taken for column names"


def test_floats_are_pixels(tmp_path):
    """Though a few look like repeated numbers that pandas renamed."""
    rows = np.arange(32).reshape(2, 16) / 32
    rows[:, :3] = [0, 0.1, 0.2]
    assert len(load_data(write(tmp_path / "a.csv", rows)).images) == 2


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "none"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("id", range(40)),
        ("Id", [7] * 40),
        ("filename", [f"{i}.png" for i in range(40)]),
        ("Unnamed: 0", range(40)),
        ("Unnamed: 0.1", range(40)),
        ("code", [f"x{i * 7}" for i in range(40)]),
        ("time", range(100, 300, 5)),
    ],
    ids=str,
)
def test_names_of_rows_are_no_classes(name, values, labels, tmp_path):
    """Neither columns that are named so, nor those that differ in every row."""
    words = np.where(LABELS % 2, "odd", "even")
    columns = [list(values), words.tolist(), *ROWS.T.tolist()] if labels else [list(values), *ROWS.T.tolist()]
    rows = list(zip(*columns, strict=True))
    dataset = load_data(write(tmp_path / "a.csv", rows, [name, *(["kind"] if labels else []), *PIXELS]))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.classes == (("even", "odd") if labels else ())
    assert f"columns that are not used: {name} (`labels=NAME` takes one for the classes)" in dataset.notes


def test_row_numbers_without_a_name_are_no_classes(tmp_path):
    path = write(tmp_path / "a.csv", np.column_stack([np.arange(40), ROWS]))
    dataset = load_data(path)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.labels is None
    assert "the first of 785 columns taken for row numbers; `labels=1` says otherwise" in dataset.notes
    assert len(load_data(path, labels="1").classes) == 40


def test_range_is_that_of_all_splits(tmp_path):
    """One white for both, though that of the test images alone would be 1,023."""
    usages = {"Training": range(0, 4096, 273), "PrivateTest": range(0, 1021, 68)}
    rows = [[f'"{" ".join(map(str, pixels))}"', usage] for usage, pixels in usages.items() for _ in range(2)]
    path = write(tmp_path / "a.csv", rows, ["pixels", "Usage"])
    assert load_data(path).images.max() == 255
    assert load_data(path, "test").images.max() == round(1020 / 4095 * 255)


@pytest.mark.parametrize(("delimiter", "suffix"), [(";", ".csv"), ("\t", ".csv"), ("\t", ".tsv")])
@pytest.mark.parametrize("names", [["label", *PIXELS], None], ids=["named", "unnamed"])
def test_spreadsheets_delimit_otherwise(delimiter, suffix, names, tmp_path):
    path = write(tmp_path / f"a{suffix}", np.column_stack([LABELS, ROWS]), names)
    path.write_text(path.read_text().replace(",", delimiter))
    dataset = load_data(path)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert [int(dataset.classes[label]) for label in dataset.labels] == LABELS.tolist()
    path.write_text(path.read_text().replace(f"{delimiter}255", f"{delimiter}255,0"))  # decimal commas
    np.testing.assert_array_equal(load_data(path).images, IMAGES)


def test_words_are_labels(tmp_path):
    words = [["odd" if label % 2 else "even", *row] for label, row in zip(LABELS, ROWS.tolist(), strict=True)]
    for names in (["kind", *PIXELS], None):
        assert load_data(write(tmp_path / "a.csv", words, names)).classes == ("even", "odd")


def test_colours_in_both_orders(tmp_path):
    smooth = (
        np.add.outer(np.arange(8) * 9, np.arange(8) * 9)[None, :, :, None] + np.arange(0, 120, 60)[:, None, None, None]
    )
    colours = (smooth + np.array([0, 90, 30])).astype(np.uint8)
    for layout in ((0, 1, 2, 3), (0, 3, 1, 2)):
        dataset = load_data(write(tmp_path / "a.csv", colours.transpose(layout).reshape(2, -1)))
        np.testing.assert_array_equal(dataset.images, colours)


@pytest.mark.parametrize("names", [["emotion", "pixels", "Usage"], ["emotion", " Usage", " pixels"]], ids=str)
def test_text_of_pixels_and_usage(names, tmp_path):
    """As FER2013 has them, in both of its files."""
    usages = ["Training", "PublicTest", "PrivateTest", "Training"] * 10
    texts = {
        "emotion": LABELS,
        "pixels": [f'"{" ".join(map(str, row))}"' for row in ROWS],
        "Usage": usages,
    }
    path = write(tmp_path / "fer2013.csv", zip(*(texts[name.strip()] for name in names), strict=True), names)
    for split, usage in (("train", "Training"), ("test", "PrivateTest")):
        rows = np.array(usages) == usage
        dataset = load_data(path, split)
        np.testing.assert_array_equal(dataset.images, IMAGES[rows])
        assert [int(dataset.classes[label]) for label in dataset.labels] == LABELS[rows].tolist()
        assert "splits that are not used: publictest" in dataset.notes


def test_files_of_an_archive_are_told_by_their_split(tmp_path):
    """As Kaggle's digit-recognizer: a file for submissions is beside them, and the test has no labels."""
    train = write(tmp_path / "train.csv", np.column_stack([LABELS, ROWS])[:30], ["label", *PIXELS])
    test = write(tmp_path / "test.csv", ROWS[30:], PIXELS)
    write(tmp_path / "sample_submission.csv", [[1, 0]], ["ImageId", "Label"])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted(tmp_path.glob("*.csv")):
            archive.write(path, path.name)
    (folder := tmp_path / "folder").mkdir()
    for path in (train, test):
        path.rename(folder / path.name)
    for path in (tmp_path / "a.zip", folder):
        np.testing.assert_array_equal(load_data(path).images, IMAGES[:30])
        np.testing.assert_array_equal(load_data(path, "test").images, IMAGES[30:])
        assert load_data(path, "test").labels is None
    (folder / "test.csv").rename(folder / "train_2.csv")
    with pytest.raises(DatasetError, match="holds 2 CSV files, train.csv, train_2.csv: give one of them"):
        load_data(folder)
    with pytest.raises(NoSplitError, match="has no split test: it holds train.csv, train_2.csv"):
        load_data(folder, "test")


def test_files_of_no_split_are_said(tmp_path):
    """Kannada-MNIST has a third set of images, Dig-MNIST, and a sample without any."""
    write(tmp_path / "train.csv", np.column_stack([LABELS, ROWS])[:30], ["label", *PIXELS])
    write(tmp_path / "test.csv", np.column_stack([range(10), ROWS[30:]]), ["id", *PIXELS])
    write(tmp_path / "Dig-MNIST.csv", np.column_stack([LABELS, ROWS]), ["label", *PIXELS])
    write(tmp_path / "sample_submission.csv", [[1, 0]], ["ImageId", "Label"])
    dataset = load_data(tmp_path)
    np.testing.assert_array_equal(dataset.images, IMAGES[:30])
    assert dataset.notes == ("not used: Dig-MNIST.csv",)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "test.csv").unlink()
    np.testing.assert_array_equal(load_data(tmp_path).images, IMAGES)


def test_a_sample_beside_archives_is_no_container(tmp_path):
    write(tmp_path / "sampleSubmission.csv", [[1, 0]], ["id", "label"])
    for name in ("train.zip", "test1.zip"):
        zipfile.ZipFile(tmp_path / name, "w").close()
    with pytest.raises(DatasetError, match="holds .*2 .zip, .*unpack"):
        load_data(tmp_path)


def test_labels_of_a_name_may_be_those_of_one_split(tmp_path):
    write(tmp_path / "train.csv", np.column_stack([LABELS, LABELS % 2, ROWS])[:30], ["label", "odd", *PIXELS])
    write(tmp_path / "test.csv", ROWS[30:], PIXELS)
    assert load_data(tmp_path, labels="odd").classes == ("0", "1")
    assert load_data(tmp_path, "test", labels="odd").labels is None


def test_named_column_is_taken(tmp_path):
    rows = np.column_stack([LABELS, ROWS, LABELS % 2])
    path = write(tmp_path / "a.csv", rows, ["label", *PIXELS, "odd"])
    assert "columns that are not used: odd (`labels=NAME` takes one for the classes)" in load_data(path).notes
    assert load_data(path, labels="odd").classes == ("0", "1")
    with pytest.raises(DatasetError, match="has no column even for `labels`: it has label, pixel0, .*, ...$"):
        load_data(path, labels="even")


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        (
            RANDOM.integers(0, 2, (20, 65)),
            None,
            "65 columns, which may be 64 pixels and a label, .*=1` or .*=65`",
        ),
        (RANDOM.integers(0, 256, (20, 49)), None, "which may be 49 pixels, or 48 and a label, the first or the last"),
        (RANDOM.integers(0, 256, (20, 90)), None, "has 90 columns of numbers, which are no square images"),
        ([*RANDOM.integers(0, 256, (20, 64)).tolist(), [1, 2]], None, r"cannot read .* \(CSV parse error: Expected 64"),
        ([["a.png", 1]], ["file_name", "label"], "no rows of pixels: its columns are file_name, label, and 0 of them"),
        ([], ["label", *PIXELS], "no rows of pixels: its columns are label, pixel0"),
        ([], None, r"cannot read .*a.csv \("),
        ([[*["x"] * 3]] * 3, None, "no rows of pixels: its columns are x, x, x, and 0 of them have numbers"),
        ([["", *range(63)], [*range(64)]], [f"p{i}" for i in range(64)], "pixels without a value, in the column p0"),
        ([['"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"', 1], ['"1 2"', 0]], ["pixels", "label"], "lists of several len"),
        ([[f'"{" ".join(["7"] * 17)}"', 1]] * 2, ["pixels", "label"], "has 17 numbers in a row: images must be square"),
    ],
    ids=["which end", "7x7 or 4x4x3", "no square", "short row", "a list", "header alone", "empty", "words"]
    + ["no value", "two lengths", "odd text"],
)
def test_what_is_no_image_or_ambiguous_is_one_line(rows, names, message, tmp_path):
    with pytest.raises(DatasetError, match=message) as error:
        load_data(write(tmp_path / "a.csv", rows, names))
    assert "\n" not in str(error.value)


def test_given_end_is_the_label(tmp_path):
    bits = RANDOM.integers(0, 2, (20, 65))
    path = write(tmp_path / "a.csv", bits)
    np.testing.assert_array_equal(load_data(path, labels="65").images.reshape(20, 64), bits[:, :64] * 255)
    np.testing.assert_array_equal(load_data(path, labels="1").images.reshape(20, 64), bits[:, 1:] * 255)


def test_truncated_gzip_is_one_line(tmp_path):
    path = write(tmp_path / "a.csv.gz", ROWS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="cannot read .*a.csv.gz") as error:
        load_data(path)
    assert "\n" not in str(error.value)


def test_more_than_memory_is_not_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv.gz", ROWS)
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 100)
    with pytest.raises(DatasetError, match="the numbers in .* take 0.0 GiB of memory, and 0.0 GiB are free"):
        load_data(path)
