"""Folders and lists beside pictures: classes, parts of one set, or neither."""

import json
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from dcgan_jax.data import DatasetError, load_data

pytestmark = pytest.mark.usefixtures("data_cache")
RANDOM = np.random.default_rng(0)


@pytest.fixture(params=["folder", "zip"])
def load(request, folder, tmp_path):
    """`load_data` of the folder, or of a zip of it."""

    def load():
        if request.param == "folder":
            return load_data(folder)
        return load_data(shutil.make_archive(str(tmp_path / "z"), "zip", folder))

    return load


def draw(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 256, (8, 8), np.uint8)).save(folder / name)


def stylegan(folder, labels, chunk=4, n=12):
    """Pictures in chunks, with StyleGAN's list of labels beside them."""
    names = [f"{i // chunk:05d}/img{i:08d}.png" for i in range(n)]
    draw(folder, *names)
    listed = None if labels is None else [[name, labels(i)] for i, name in enumerate(names)]
    (folder / "dataset.json").write_text(json.dumps({"labels": listed}))
    return names


def test_labels_of_stylegan_are_classes(folder, load):
    stylegan(folder, lambda i: (10, 2)[i % 2])
    dataset = load()
    assert dataset.classes == ("2", "10")
    assert dataset.labels.tolist() == [1, 0] * 6
    assert dataset.notes == ("2 classes, as dataset.json says: 2, 10",)


def test_no_labels_of_stylegan_are_no_classes(folder, load):
    stylegan(folder, None)
    dataset = load()
    assert dataset.labels is None
    assert dataset.notes == (
        "the 3 folders 00000, 00001, 00002 number one set of pictures, and are no classes",
        "dataset.json lists no labels, each an integer or a word",
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("below", ["", "data/"])
def test_labels_of_hugging_face_are_classes(form, below, folder, load):
    draw(folder, *(f"{below}{name}.png" for name in "abcd"))
    rows = [
        (f"{name}.png", label, "a text, with a comma") for name, label in zip("dcba", ["owl", "cat"] * 2, strict=True)
    ]
    if form == "csv":
        lines = ["file_name,label,text", *(f'{name},{label},"{text}"' for name, label, text in rows)]
    else:
        lines = [json.dumps({"file_name": name, "label": label, "text": text}) for name, label, text in rows]
    (folder / below / f"metadata.{form}").write_text("\n".join(lines))
    dataset = load()
    assert dataset.classes == ("cat", "owl")
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.notes == (f"2 classes, as {below}metadata.{form} says: cat, owl",)


def test_texts_of_hugging_face_are_no_classes(folder, load):
    draw(folder, "a.png", "b.png")
    (folder / "metadata.csv").write_text("file_name,text\na.png,one\nb.png,two\n")
    dataset = load()
    assert dataset.labels is None
    assert dataset.notes == ("metadata.csv lists no labels, each an integer or a word",)


def test_list_of_some_is_not_used(folder, load):
    names = stylegan(folder, lambda i: i % 2)
    (folder / "dataset.json").write_text(json.dumps({"labels": [[name, 1] for name in names[:5]]}))
    dataset = load()
    assert dataset.labels is None
    assert dataset.notes == ("dataset.json: labels of 5 of 12 pictures: none is used",)


@pytest.mark.parametrize("content", ["[]", "no JSON", '{"images": []}', '{"labels": 5}', '{"labels": [1]}'])
def test_list_of_another_form_is_said(content, folder, load):
    """The folders are classes as without it."""
    draw(folder, "cat/a.png", "dog/b.png")
    (folder / "dataset.json").write_text(content)
    dataset = load()
    assert dataset.classes == ("cat", "dog")
    assert dataset.notes[-1].startswith("dataset.json lists no labels")


def test_changed_labels_are_read_again(folder):
    """They are not in the cache of the pictures."""
    stylegan(folder, lambda i: i % 2)
    assert load_data(folder).labels.tolist() == [0, 1] * 6
    stylegan_again = json.loads((folder / "dataset.json").read_text())
    stylegan_again["labels"] = [[name, 1 - label] for name, label in stylegan_again["labels"]]
    (folder / "dataset.json").write_text(json.dumps(stylegan_again))
    assert load_data(folder).labels.tolist() == [1, 0] * 6


@pytest.mark.parametrize(
    "names",
    [
        [f"{i // 4:05d}/img{i:08d}.png" for i in range(12)],
        [f"{i // 4 * 1000:05d}/{i // 4 * 1000 + i % 4:05d}.png" for i in range(12)],
    ],
    ids=["StyleGAN's", "FFHQ's"],
)
def test_numbered_parts_are_one_set(names, folder, load):
    draw(folder, *names)
    dataset = load()
    assert dataset.labels is None
    (note,) = dataset.notes
    assert note.startswith("the 3 folders 00000, 0")
    assert note.endswith("number one set of pictures, and are no classes")


@pytest.mark.parametrize(
    "names",
    [
        [f"{c:05d}/{i:05d}_00000.ppm" for c in range(3) for i in range(4)],  # traffic signs: each class counts from 0
        [f"{c}/{i}.png" for c in range(3) for i in range(c * 4, c * 4 + 4)],  # digits, sorted
        [f"{c:05d}/{name}.png" for c in range(3) for name in "abcd"],
    ],
)
def test_numbered_classes_are_classes(names, folder, load):
    draw(folder, *names)
    assert len(load().classes) == 3


@pytest.mark.parametrize(
    ("folders", "one"),
    [
        (["extra", "test", "train"], "train"),
        (["trainA", "trainB"], "trainA"),
        (["testA", "testB", "trainA", "trainB"], "trainA"),
        (["images", "masks"], "images"),
        (["Annotations", "JPEGImages", "SegmentationClass"], "JPEGImages"),
        (["gt", "input"], "input"),
        (["Ground Truth", "Original"], "Original"),
        (["gtFine", "leftImg8bit"], "leftImg8bit"),
        (["images_resized", "masks_resized"], "images_resized"),
        (["train", "train_masks"], "train"),
        (["train", "train_label"], "train"),
        (["input", "output"], "input"),
        (["depth", "rgb"], "rgb"),
        (["healthy", "trimap"], "healthy"),
        (["bottle/ground_truth", "bottle/test/good", "bottle/train/good"], "bottle/train"),
        (["cats/test", "cats/train", "dogs/test", "dogs/train"], "cats/train"),
    ],
    ids=str,
)
@pytest.mark.parametrize("beside", [[], ["preview.png"]], ids=["alone", "beside a picture"])
def test_folders_that_are_no_classes_are_asked_about(folders, one, beside, folder, load):
    draw(folder, *(f"{name}/{i}.png" for name in folders for i in range(2)), *beside)
    with pytest.raises(DatasetError, match=f"the folders .* are .*, not classes: .*give .*, such as .*{one}$"):
        load()


@pytest.mark.parametrize(
    "folders",
    [
        ["bullet_train", "steam_train"],
        ["airplane", "train", "truck"],
        ["test_tube", "flask"],
        ["mask", "no_mask"],
        ["A", "B"],
        ["edges", "corners"],
        ["image", "label", "table", "text"],
        ["valley", "trainer"],
        ["lesion", "normal"],
        ["automatic", "manual"],
        ["background", "target"],
        ["alpha", "beta", "gamma"],
        ["depth", "shallow"],
        ["label", "no bottle"],
    ],
    ids=str,
)
def test_classes_with_such_names_are_classes(folders, folder, load):
    draw(folder, *(f"{name}/{i}.png" for name in folders for i in range(2)))
    assert load().classes == tuple(sorted(folders))


@pytest.mark.parametrize(
    "forms",
    [
        ("{}", "{}_mask"),
        ("{}", "{}-seg"),
        ("{}", "{} GT"),
        ("{}_sat", "{}_mask"),
        ("img_{}", "mask_{}"),
        ("{}_leftImg8bit", "{}_gtFine_labelIds"),
        ("{}_training", "{}_manual1"),
    ],
)
@pytest.mark.parametrize("parent", ["x", "big_cats", "my data/run-1.2"])
def test_masks_beside_their_pictures_are_refused(parent, forms, folder, load):
    names = ["benign (1)", "b", "c d"]
    draw(folder, *(f"{parent}/{form.format(name)}.png" for name in names for form in forms))
    with pytest.raises(DatasetError, match="3 of the 6 pictures in .* belong to others by their names, such as .* to "):
        load()


def test_pictures_named_mask_are_pictures(folder, load):
    draw(folder, *(f"{i}_mask.png" for i in range(4)), "mask.png", "label.png", *(f"gt_{i}.png" for i in range(3)))
    assert len(load().images) == 9


def test_stray_picture_is_named(folder, load):
    """The folders are no classes then."""
    draw(folder, "birds/owl/a.png", "birds/wren/b.png", "birds/logo.png")
    dataset = load()
    assert dataset.labels is None
    assert dataset.notes == ("folders are no classes: 1 picture is in none of them, birds/logo.png",)


def test_labels_are_read_as_a_person_reads_them(folder, load):
    """Without blanks around them, and those that are blank are none."""
    draw(folder, "a.png", "b.png", "c.png")
    (folder / "metadata.csv").write_text("file_name,label\na.png, owl\nb.png,owl \nc.png,wren\n")
    assert load().classes == ("owl", "wren")
    (folder / "metadata.csv").write_text("file_name,label\na.png, owl\nb.png,\nc.png,wren\n")
    assert load().notes == ("metadata.csv: labels of 2 of 3 pictures: none is used",)


LIST_FORMS = {
    "two columns": "filename,label\n{rows}",
    "usual labels alone": "class,image_name\n{turned}",
    "usual files alone": "image_name,class\n{rows}",
    "a row of a usual word": "target,a.png\n{turned}",
    "others": "breed,image\n{turned}",
    "no names": "{rows}",
    "more columns": "id,width,filename,target\n{more}",
}


@pytest.mark.parametrize("form", LIST_FORMS.values(), ids=LIST_FORMS.keys())
def test_labels_of_a_csv_are_classes(form, folder, load):
    labels = {"a.png": "owl", "b/c.png": "kite", "d.png": "owl"}
    draw(folder, *labels)
    rows = "".join(f"{name},{label}\n" for name, label in labels.items())
    turned = "".join(f"{label},{name}\n" for name, label in labels.items())
    more = "".join(f"1,8,{name},{label}\n" for name, label in labels.items())
    (folder / "labels.csv").write_text(form.format(rows=rows, turned=turned, more=more))
    dataset = load()
    assert dataset.classes == ("kite", "owl")
    assert dataset.labels.tolist() == [1, 0, 1]
    assert dataset.notes == ("2 classes, as labels.csv says: kite, owl",)


LISTED = {  # as a list names the picture images/owls/a.1.png
    "without a suffix": "images/owls/a.1",
    "without folders": "a.1.png",
    "without the first folder": "owls/a.1.png",
    "without either": "a.1",
    "with backslashes": "images\\owls\\a.1.png",
}


@pytest.mark.parametrize("header", ["id,breed", ""], ids=["header", "none"])
@pytest.mark.parametrize("name", LISTED.values(), ids=LISTED.keys())
def test_shortened_names_are_those_of_pictures(name, header, folder, load):
    draw(folder, "images/owls/a.1.png", "images/kites/b.png")
    (folder / "labels.csv").write_text(
        f"{header}\n{name},owl\n{name.replace('a.1', 'b').replace('owls', 'kites')},kite\n"
    )
    dataset = load()
    assert dataset.classes == ("kite", "owl")
    assert dataset.labels.tolist() == [0, 1]
    said = "labels.csv names pictures without their folder or suffix: each is the only one of its name"
    assert dataset.notes[1:] == (() if "\\" in name else (said,))


def test_shortened_names_of_several_pictures(folder, load):
    """A whole path is one picture's, whatever is named like it."""
    draw(folder, "x/a.png", "y/a.png", "z.png")
    (folder / "labels.csv").write_text("id,label\na,owl\nz,kite\n")
    assert "labels.csv: labels of 1 of 3 pictures: none is used" in load().notes
    (folder / "labels.csv").write_text("id,label\nx/a.png,owl\ny/a.png,kite\na.png,wren\nz,wren\n")
    assert load().classes == ("kite", "owl", "wren")


def test_a_csv_of_any_name_lists_all_pictures(folder, load):
    draw(folder, "train/1.png", "train/2.png", "train/3.png")
    (folder / "trainLabels.csv").write_text("id,label\n1,owl\n2,kite\n3,owl\n")
    (folder / "sizes.csv").write_text("image,width\n1.png,8\n2.png,8\n3.png,8\n")
    dataset = load()
    assert dataset.classes == ("kite", "owl")
    assert dataset.labels.tolist() == [1, 0, 1]
    assert dataset.notes == (
        "2 classes, as trainLabels.csv says: kite, owl",
        "trainLabels.csv names pictures without their folder or suffix: each is the only one of its name",
        "left out 1 file of another kind, 1 .csv",
    )


OTHER_LISTS = {
    "some of the pictures": "id,label\n1,owl\n",
    "those of another split too": "id,label\n" + "".join(f"{i},owl\n" for i in range(9)),
    "other columns": "id,partition\n1,0\n2,1\n",
    "numbers": "id,target\n1,0.5\n2,0.7\n",
}


@pytest.mark.parametrize("text", OTHER_LISTS.values(), ids=OTHER_LISTS.keys())
def test_a_csv_of_any_name_lists_no_classes(text, folder, load):
    draw(folder, "1.png", "2.png")
    (folder / "some.csv").write_text(text)
    assert load().labels is None


def test_folders_come_before_a_csv_of_any_name(folder, load):
    draw(folder, "owl/1.png", "kite/2.png")
    (folder / "some.csv").write_text("file,label\nowl/1.png,b\nkite/2.png,a\n")
    assert load().classes == ("kite", "owl")


def test_names_match_in_any_composition(folder, load):
    """Macs decompose Korean syllables and accents in the names of files."""
    names = [unicodedata.normalize("NFD", name) for name in ("고양이.png", "é.png")]
    draw(folder, *names)
    (folder / "labels.csv").write_text("file,label\n고양이.png,a\né.png,b\n", encoding="utf-8")
    dataset = load()
    assert dataset.classes == ("a", "b")
    assert dataset.notes == ("2 classes, as labels.csv says: a, b",)


def test_labels_may_be_floats_without_a_fraction(folder, load):
    """As pandas writes integers of a column in which one was missing."""
    draw(folder, "a.png", "b.png")
    (folder / "labels.csv").write_text("file,label\na.png,10.0\nb.png,9.0\n")
    assert load().classes == ("9", "10")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("header", ["class", "target", "category"])
def test_labels_of_hugging_face_have_the_usual_names(header, name, folder, load):
    draw(folder, "a.png", "b.png")
    rows = [{"file_name": "a.png", header: "owl"}, {"file_name": "b.png", header: "kite"}]
    lines = {"metadata.csv": [",".join(rows[0]), *(",".join(row.values()) for row in rows)]}
    (folder / name).write_text("\n".join(lines.get(name, map(json.dumps, rows))))
    assert load().classes == ("kite", "owl")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["7", "007", "10"], ("007", "10", "7")), (["10", "9", "-2"], ("-2", "9", "10")), (["01", "02"], ("01", "02"))],
    ids=["text", "numbers", "zeros"],
)
def test_leading_zeros_make_text_of_labels(labels, classes, folder, load):
    draw(folder, *(f"{i}.png" for i in range(len(labels))))
    (folder / "labels.csv").write_text(
        "filename,label\n" + "".join(f"{i}.png,{each}\n" for i, each in enumerate(labels))
    )
    assert load().classes == classes


def test_columns_of_a_list_that_cannot_be_told(folder, load):
    draw(folder, "a.png")
    (folder / "labels.csv").write_text("a,b,c\na.png,1,2\n")
    assert load().notes == ("labels.csv lists no labels, as the columns filename and label, with commas, would",)
