"""Parquet files, as pyarrow writes them in the Hugging Face Hub's forms."""

import io
import json
import sys

import numpy as np
import pytest
from helpers import one_error_line, run_cli
from PIL import Image

from dcgan_jax import TrainConfig
from dcgan_jax.data import DatasetError, NoSplitError, load_data

pa = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
pytestmark = pytest.mark.usefixtures("data_cache")
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 8, 8), np.uint8)
GREY[0, 0, :2] = 0, 255
COLOURS = RANDOM.integers(0, 256, (6, 8, 8, 3), np.uint8)
LABELS = [2, 0, 2, 2, 0, 0]
NAMES = ["owl", "wren", "kite"]


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def as_structs(images):
    return [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(images)]


def write(path, columns, names=None):
    """A file of these columns, with the names of the classes of ``label`` as Hugging Face's library keeps them."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.mark.parametrize("images", [GREY, COLOURS], ids=["grey", "colours"])
@pytest.mark.parametrize(
    ("column", "form"),
    [
        ("image", as_structs),
        ("img", lambda images: [png(image) for image in images]),
        ("pixels", lambda images: images.tolist()),
        ("image", lambda images: pa.FixedSizeListArray.from_arrays(images.ravel(), images[0].size)),
    ],
    ids=["structs", "bytes", "lists", "rows"],
)
def test_each_form_gives_the_same_pixels(images, column, form, tmp_path):
    write(tmp_path / "a.parquet", {column: form(images), "label": LABELS})
    rows_of_colours = images.ndim == 4 and column == "image" and form is not as_structs  # of noise, which tells nothing
    dataset = load_data(tmp_path / "a.parquet", layout="NHWC" if rows_of_colours else None)
    np.testing.assert_array_equal(dataset.images, images.reshape(6, 8, 8, -1))
    assert dataset.labels.tolist() == [1, 0, 1, 1, 0, 0]
    assert dataset.classes == ("0", "2")


@pytest.mark.parametrize("form", [as_structs, lambda images: images.tolist()], ids=["pictures", "lists"])
def test_names_of_classes_are_those_of_the_metadata(form, tmp_path):
    write(tmp_path / "a.parquet", {"image": form(GREY), "label": LABELS}, NAMES)
    assert load_data(tmp_path / "a.parquet").classes == ("owl", "kite")
    write(tmp_path / "a.parquet", {"image": form(GREY), "label": [-1, *LABELS[1:]]}, NAMES)
    dataset = load_data(tmp_path / "a.parquet")
    assert dataset.labels is None
    assert any("1 of 6 labels are unknown (-1): none is used" in note for note in dataset.notes)
    write(tmp_path / "a.parquet", {"image": form(GREY), "label": [3, *LABELS[1:]]}, NAMES)
    with pytest.raises(DatasetError, match="the label 3 is none of its 3 named classes"):
        load_data(tmp_path / "a.parquet")


def write_arrow(path, columns, open_writer=pa.ipc.new_stream, names=NAMES):
    """A stream as `save_to_disk` of Hugging Face's library writes it, or a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with open_writer(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


@pytest.mark.parametrize(
    ("name", "open_writer"),
    [("a.arrow", pa.ipc.new_stream), ("a.arrow", pa.ipc.new_file), ("a.feather", pa.ipc.new_file)],
    ids=["stream", "file", "feather"],
)
@pytest.mark.parametrize("form", [as_structs, lambda images: images.tolist()], ids=["pictures", "lists"])
def test_arrow_files_are_read_as_parquet(form, name, open_writer, tmp_path):
    write_arrow(tmp_path / name, {"image": form(GREY), "label": LABELS}, open_writer)
    dataset = load_data(tmp_path / name)
    np.testing.assert_array_equal(dataset.images[..., 0], GREY)
    assert dataset.labels.tolist() == [1, 0, 1, 1, 0, 0]
    assert dataset.classes == ("owl", "kite")


def test_folders_of_save_to_disk(tmp_path):
    """And what `map` of Hugging Face's library cached there, which is another version of the same rows."""
    for i, rows in enumerate((slice(0, 3), slice(3, 4))):
        columns = {"image": as_structs(GREY[rows]), "label": LABELS[rows]}
        write_arrow(tmp_path / "train" / f"data-0000{i}-of-00002.arrow", columns)
    write_arrow(tmp_path / "test" / "data-00000-of-00001.arrow", {"image": as_structs(GREY[4:]), "label": LABELS[4:]})
    write_arrow(tmp_path / "train" / "cache-0f3c.arrow", {"image": as_structs(GREY), "label": LABELS})
    for name in ("dataset_dict.json", "train/state.json", "train/dataset_info.json"):
        (tmp_path / name).write_text("{}")
    np.testing.assert_array_equal(load_data(tmp_path).images[..., 0], GREY[:4])
    np.testing.assert_array_equal(load_data(tmp_path, "test").images[..., 0], GREY[4:])


@pytest.mark.parametrize("open_writer", [pa.ipc.new_stream, pa.ipc.new_file], ids=["stream", "file"])
def test_damaged_arrow_files_are_named(open_writer, tmp_path):
    write_arrow(tmp_path / "a.arrow", {"image": as_structs(GREY), "label": LABELS}, open_writer)
    content = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"cannot read \S*a.arrow \(.+\)"):
        load_data(tmp_path / "a.arrow")


def test_shards_and_splits_of_a_folder_are_told_apart(tmp_path):
    """As the Hub has them in a repository."""
    for i, rows in enumerate((slice(0, 2), slice(2, 5))):
        columns = {"image": as_structs(GREY[rows]), "label": LABELS[rows]}
        write(tmp_path / "data" / f"train-{i:05d}-of-00002.parquet", columns, NAMES)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", {"image": as_structs(GREY[5:]), "label": [1]}, NAMES)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", {"image": as_structs(GREY[5:]), "label": [1]})
    (tmp_path / "README.md").write_text("---")
    dataset = load_data(tmp_path)
    np.testing.assert_array_equal(dataset.images[..., 0], GREY[:5])
    assert dataset.classes == ("owl", "kite")
    assert dataset.notes == ("splits that are not used: validation",)
    test = load_data(tmp_path, "test")
    np.testing.assert_array_equal(test.images[..., 0], GREY[5:])
    assert test.classes == ("wren",)
    (tmp_path / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DatasetError, match="train: 1 of 2 files are there, number 0 is missing"):
        load_data(tmp_path)


def test_file_without_a_split_is_for_training(tmp_path):
    write(tmp_path / "a.parquet", {"image": as_structs(GREY)})
    with pytest.raises(NoSplitError, match="a.parquet has no split test: it has train"):
        load_data(tmp_path / "a.parquet", "test")
    write(tmp_path / "train.parquet", {"image": as_structs(GREY)})
    write(tmp_path / "extra-00000-of-00001.parquet", {"image": as_structs(GREY)})
    dataset = load_data(tmp_path)
    assert len(dataset.images) == 6
    assert dataset.notes == (
        "files of no known split by name, which are not used: a.parquet, extra-00000-of-00001.parquet",
    )


def test_fine_labels_are_taken_and_coarse_ones_named(tmp_path):
    columns = {"img": as_structs(GREY), "fine_label": LABELS, "coarse_label": [1, 1, 1, 1, 1, 0]}
    write(tmp_path / "a.parquet", columns)
    dataset = load_data(tmp_path / "a.parquet")
    assert dataset.labels.tolist() == [1, 0, 1, 1, 0, 0]
    assert dataset.notes == ("classes are those of fine_label; `labels=coarse_label` takes coarse_label",)
    assert load_data(tmp_path / "a.parquet", labels="coarse_label").labels.tolist() == [1, 1, 1, 1, 1, 0]


def test_other_columns_are_named_and_can_be_chosen(tmp_path, capsys):
    columns = {"image": as_structs(GREY), "img": as_structs(GREY[::-1]), "bird": ["a", "b"] * 3}
    write(tmp_path / "a.parquet", columns)
    with pytest.raises(DatasetError, match="2 columns that may be the images, image, img: choose one with `images=im"):
        load_data(tmp_path / "a.parquet")
    dataset = load_data(tmp_path / "a.parquet", images="img", labels="bird")
    np.testing.assert_array_equal(dataset.images[..., 0], GREY[::-1])
    assert dataset.classes == ("a", "b")
    flags = ["--dataset", tmp_path / "a.parquet", "--batch-size", 2, "--dry-run", "--workdir", tmp_path / "run"]
    assert run_cli("train", *flags) == 2
    assert "choose one with --images image" in one_error_line(capsys)
    assert TrainConfig(images="img", labels="bird").reading().arguments()["labels"] == "bird"
    write(tmp_path / "a.parquet", {"img": as_structs(GREY), "bird": ["a", "b"] * 3})
    (note,) = load_data(tmp_path / "a.parquet").notes
    assert note == "columns that are not used: bird (`labels=NAME` takes one for the classes)"


@pytest.mark.parametrize("images", [GREY, COLOURS], ids=["grey", "colours"])
@pytest.mark.parametrize("labels", [LABELS, ["owl", "kite"] * 3], ids=["numbers", "text"])
def test_column_for_each_pixel_is_read(images, labels, tmp_path):
    """As in a CSV file, also in the shards of splits, and beside the index of a table of pandas."""
    columns = {f"pixel{i}": column for i, column in enumerate(images.reshape(6, -1).T)}
    for split, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        table = pa.table({**columns, "class": labels, "__index_level_0__": np.arange(6)}).slice(rows.start, rows.stop)
        write(tmp_path / f"{split}-00000-of-00001.parquet", table)
        dataset = load_data(tmp_path, split, layout=None if images is GREY else "NHWC")
        np.testing.assert_array_equal(
            dataset.images.reshape(len(dataset.images), -1), images[rows].reshape(-1, len(columns))
        )
        assert dataset.classes == tuple(map(str, sorted(set(labels[rows]))))
        assert [dataset.classes[i] for i in dataset.labels] == [str(each) for each in labels[rows]]
    with pytest.raises(DatasetError, match="has 62 columns of numbers, which are no square images") as error:
        write(tmp_path / "a.parquet", {f"{i}": LABELS for i in range(62)})
        load_data(tmp_path / "a.parquet")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": ["a.png"] * 6}, "image in .* holds string, neither pictures nor lists of pixels"),
        ({"a": [1, 2]}, r"no column of pictures or lists of pixels: its columns are a \(int64\)"),
        ({"image": [[1] * 64, [1] * 49]}, r"image in .* has lists of several lengths \(64 and 49\)"),
        ({"image": [[1] * 64, None]}, r"lists of several lengths \(64 and none\)"),
        ({"image": [[1] * 63 + [None]] * 2}, "has pixels without a value"),
        (
            {"image": pa.array([{"path": "/etc/passwd"}] * 2, pa.struct({"bytes": pa.binary(), "path": pa.string()}))},
            "no bytes, but a path that is not followed",
        ),
        ({"image": [b"no picture"] * 2}, "2 of the 2 pictures in .* cannot be read"),
        ({"image": as_structs(GREY), "label": np.linspace(0, 1, 6)}, None),
        ({"image": pa.array([], pa.binary())}, "there are no pictures"),
        ({"image": pa.array([], pa.list_(pa.uint8()))}, "no rows"),
    ],
    ids=["paths", "numbers", "two sizes", "a missing list", "a missing pixel", "paths alone", "no picture"]
    + ["labels between", "no pictures", "no lists"],
)
def test_unusable_columns_are_one_line(columns, message, tmp_path):
    write(tmp_path / "a.parquet", columns)
    if message is None:  # no classes, and said
        assert load_data(tmp_path / "a.parquet").labels is None
        with pytest.raises(DatasetError, match="labels must be integers or text, got float64"):
            load_data(tmp_path / "a.parquet", labels="label")
        return
    with pytest.raises(DatasetError, match=message) as error:
        load_data(tmp_path / "a.parquet")
    assert "\n" not in str(error.value)


def test_shards_of_two_shapes_or_types_are_refused(tmp_path):
    write(tmp_path / "a.parquet", {"image": GREY.tolist()})
    write(tmp_path / "b.parquet", {"image": GREY[:, :7].tolist()})
    with pytest.raises(DatasetError, match=r"images of several shapes \(\[7, 8\] and \[8, 8\]\)"):
        load_data(tmp_path)
    write(tmp_path / "b.parquet", {"image": as_structs(GREY)})
    with pytest.raises(DatasetError, match="b.parquet has struct.* as image, and a.parquet list"):
        load_data(tmp_path)


@pytest.mark.parametrize("end", [0, 3, 20, -1, -200])
def test_truncated_file_is_one_line(end, tmp_path):
    write(tmp_path / "a.parquet", {"image": as_structs(GREY)})
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:end])
    with pytest.raises(DatasetError, match="cannot read .*a.parquet") as error:
        load_data(tmp_path / "a.parquet")
    assert "\n" not in str(error.value)


def test_more_than_memory_is_not_read(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", {"image": as_structs(GREY)})
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 100)
    with pytest.raises(DatasetError, match="the columns image of .* take 0.0 GiB of memory, and 0.0 GiB are free"):
        load_data(tmp_path / "a.parquet")


def test_missing_extra_is_named_with_its_command(tmp_path, monkeypatch, capsys):
    write(tmp_path / "a.parquet", {"image": as_structs(GREY)})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert run_cli("train", "--dataset", tmp_path / "a.parquet", "--dry-run") == 2
    assert "a.parquet needs the package pyarrow: pip install 'dcgan-jax[parquet]'" in one_error_line(capsys)


def test_names_are_for_what_has_names(tmp_path):
    with pytest.raises(DatasetError, match="`images=a` names an array or a column, and mnist holds none by name"):
        load_data("mnist", images="a")


@pytest.mark.parametrize("name", ["test", "validation-00000-of-00001"])
def test_file_by_itself_is_for_training(name, tmp_path):
    """Whatever split its name says, with a note."""
    write(tmp_path / f"{name}.parquet", {"image": as_structs(GREY)})
    dataset = load_data(tmp_path / f"{name}.parquet")
    assert len(dataset.images) == 6
    said = f"{name}.parquet is the training data, as it is given by itself, and not {name.split('-')[0]}"
    assert dataset.notes == (said,)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["owl", "train"], ("owl", "train")),
        ([10, 9], ("9", "10")),
        (["7", "007"], ("007", "7")),
        (["a b", "x=y"], ("a b", "x=y")),
    ],
    ids=["text", "numbers", "zeros", "quoted"],
)
def test_values_of_partitions_are_a_column(labels, classes, tmp_path):
    """As pyarrow writes them; they give no splits."""
    table = pa.table({"image": [png(image) for image in GREY], "label": labels * 3})
    pq.write_to_dataset(table, tmp_path, partition_cols=["label"])
    for given in (True, "label"):
        dataset = load_data(tmp_path, labels=given)
        assert dataset.classes == classes
        for name, i in zip(classes, (labels.index(type(labels[0])(name)) for name in classes), strict=True):
            of_class = dataset.images[dataset.labels == classes.index(name)][..., 0]
            assert {each.tobytes() for each in of_class} == {each.tobytes() for each in GREY[i::2]}


def test_missing_value_of_a_partition_is_no_class(tmp_path):
    table = pa.table({"image": [png(image) for image in GREY], "label": ["owl", None] * 3})
    pq.write_to_dataset(table, tmp_path, partition_cols=["label"])
    dataset = load_data(tmp_path)
    assert dataset.labels is None
    assert dataset.notes == (f"label in {tmp_path}: some labels are missing: none is used",)


def test_configurations_are_not_merged(tmp_path):
    for name in ("balanced", "letters"):
        write(tmp_path / name / "train-00000-of-00001.parquet", {"image": as_structs(GREY)})
    with pytest.raises(DatasetError, match="data sets .* in balanced, letters: give one of them, such as .*/letters"):
        load_data(tmp_path)
    assert len(load_data(tmp_path / "letters").images) == 6
    (tmp_path / "letters" / "train-00000-of-00001.parquet").unlink()
    for i in range(2):  # with another number of shards
        write(tmp_path / "letters" / f"train-0000{i}-of-00002.parquet", {"image": as_structs(GREY)})
    with pytest.raises(DatasetError, match="in balanced, letters: give one of them"):
        load_data(tmp_path)


def test_labels_of_a_name_may_be_those_of_one_split(tmp_path):
    write(tmp_path / "train.parquet", {"image": as_structs(GREY), "kind": LABELS})
    write(tmp_path / "test.parquet", {"image": as_structs(GREY)})
    assert load_data(tmp_path, labels="kind").classes == ("0", "2")
    assert load_data(tmp_path, "test", labels="kind").labels is None


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array(LABELS, float), ("0", "2")),
        ([b"owl", b"kite"] * 3, ("kite", "owl")),
        (pa.array(["owl", "kite"] * 3).dictionary_encode(), ("kite", "owl")),
        (pa.array([b"owl", b"kite"] * 3).dictionary_encode(), ("kite", "owl")),
        (pa.array(["owl", "kite"] * 3, pa.string_view()), ("kite", "owl")),
    ],
    ids=["floats", "bytes", "dictionary", "dictionary of bytes", "view"],
)
def test_forms_of_labels(labels, classes, tmp_path):
    """Labels as pandas and others write them are classes, and never the images."""
    write(tmp_path / "a.parquet", {"pic": [png(image) for image in GREY], "label": labels})
    assert load_data(tmp_path / "a.parquet").classes == classes


def test_unusable_labels_are_said(tmp_path):
    write(tmp_path / "a.parquet", {"image": as_structs(GREY), "label": np.linspace(0, 1, 6)})
    assert "not all labels are whole numbers: none is used" in load_data(tmp_path / "a.parquet").notes[0]
    write(tmp_path / "a.parquet", {"image": as_structs(GREY), "label": [b"\xff"] * 6})
    assert "its bytes are no text: none is used" in load_data(tmp_path / "a.parquet").notes[0]


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view(), "dictionary"], ids=str)
def test_types_of_pictures(kind, tmp_path):
    """Each of Arrow's types of bytes is read as plain bytes are."""
    images = pa.array([png(image) for image in GREY])
    images = images.dictionary_encode() if kind == "dictionary" else images.cast(kind)
    write(tmp_path / "a.parquet", {"image": images})
    np.testing.assert_array_equal(load_data(tmp_path / "a.parquet").images[..., 0], GREY)


def test_pictures_beside_shards(tmp_path):
    """A few are left out, and many are asked about; a list of the pictures is no data set of its own."""
    write(tmp_path / "train-00000-of-00001.parquet", {"image": as_structs(GREY)})
    (tmp_path / "logo.png").write_bytes(png(COLOURS[0]))
    (tmp_path / "assets").mkdir()
    for i in range(20):
        (tmp_path / "assets" / f"{i}.png").write_bytes(png(COLOURS[0]))
    dataset = load_data(tmp_path)
    np.testing.assert_array_equal(dataset.images[..., 0], GREY)
    assert "left out 21 pictures beside train-00000-of-00001.parquet: assets/0.png, " in dataset.notes[0]
    (tmp_path / "assets").rename(tmp_path / "pictures")
    with pytest.raises(DatasetError, match="holds 21 pictures, such as .*, and train.*parquet: give .*train.*parquet"):
        load_data(tmp_path)
    write(tmp_path / "train-00000-of-00001.parquet", {"file_name": ["a.png"], "box": [[1, 2, 3, 4]]})
    assert len(load_data(tmp_path).images) == 21
