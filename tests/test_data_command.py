"""`dcgan-jax data`: each fact that it prints of sets with known faults, and what it writes, read back."""

import errno
import json
import re
import shlex
import shutil
import zipfile

import numpy as np
import pytest
from helpers import all_files, compile_steps_quickly, one_error_line, run_cli
from PIL import Image

from dcgan_jax.data import load_data
from dcgan_jax.data.inspection import find_dark, find_repeated, find_uniform

pytestmark = pytest.mark.usefixtures("data_cache")
QUIET = ["--no-time", "--no-grid"]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def faulty(tmp_path):
    """31 pictures of two classes, of which two are repeated, three black, one grey, one transparent, two larger."""
    folder = tmp_path / "pets"
    for i in range(20):
        save(
            folder / ("cats" if i < 12 else "dogs") / f"{i:02}.png",
            noise(*((48, 36) if i in (3, 4) else (20, 20)), 3, seed=i),
        )
    shutil.copy(folder / "cats" / "00.png", folder / "cats" / "20.png")
    shutil.copy(folder / "cats" / "01.png", folder / "dogs" / "21.png")
    for i in range(3):
        save(folder / "dogs" / f"{30 + i}.png", np.full((20, 20, 3), 20 * i, np.uint8))
    for i in range(4):
        save(folder / "dogs" / f"{40 + i}.png", noise(20, 20, 3, seed=40 + i))
    save(folder / "dogs" / "50.png", np.full((20, 20), 200, np.uint8))
    save(folder / "cats" / "51.png", noise(20, 20, 4))
    (folder / "cats" / "60.png").write_bytes((folder / "cats" / "02.png").read_bytes()[:600])
    (folder / "notes.txt").write_text("mine")
    return folder


def facts(capsys):
    """The lines that were printed, by the name before them; those of one name in one text."""
    out, err = capsys.readouterr()
    assert err == ""
    found = {}
    for line in out.splitlines()[1:]:
        name, text = line[:16].strip(), line[16:]
        found[name] = f"{found[name]}\n{text}" if name in found else text
    return {**found, "first": out.splitlines()[0]}


def data(capsys, *argv):
    assert run_cli("data", *argv) == 0
    return facts(capsys)


def test_facts_of_a_set_with_known_faults(faulty, capsys):
    said = data(capsys, faulty, *QUIET)
    assert said["first"] == f"{faulty}: a folder of pictures, 33 files"
    assert said["splits"] == "train 31 images, no test split"
    assert said["sizes"] == "20x20 (29), 48x36 (2)"
    assert said["kinds"] == "colours (29), colours with opacity (1), grey (1)"
    assert said["networks see"] == "20x20x3, colours, 0 to 255 of 255"
    assert said["classes"] == "2, of 14 to 17 images, 16 in the median"
    assert said[""].split("\n") == ["       14  cats", "       17  dogs"]
    assert said["repeated"] == "2: cats/20.png = cats/00.png, dogs/21.png = cats/01.png; 1 of another class"
    assert said["nearly black"].startswith("3: dogs/30.png, dogs/31.png, dogs/32.png (")
    assert said["nearly uniform"].startswith("1: dogs/50.png (")
    notes = said["note"]
    assert "2 of 31 pictures cropped around their centre and resized to 20x20" in notes
    assert "transparent pixels made white in 1 of 31 pictures" in notes
    assert re.search(r"left out 1 picture that cannot be read: cats/60.png \(.*truncated", notes)
    assert "left out 1 file of another kind, 1 .txt" in notes
    assert said["images take"].startswith(f"{31 * 20 * 20 * 3 / 2**20:.1f} MiB")


def test_facts_of_an_array_in_another_range(tmp_path, capsys):
    images = np.random.default_rng(0).uniform(-1, 1, (9, 8, 8)).astype(np.float32)
    images[0, 0, :2] = -1, 1
    np.save(tmp_path / "a.npy", images)
    said = data(capsys, tmp_path / "a.npy", *QUIET)
    assert said["first"].endswith("an .npy, .npz or idx file")
    assert said["kinds"] == "float32 [9, 8, 8] (9)"
    assert said["values"] == "-1 to 1"
    assert said["networks see"] == "8x8x1, grey, 0 to 255 of 255"
    assert said["classes"] == "none"
    assert "[-1, 1] taken as black to white" in said["note"]
    assert said["repeated"] == "0"
    assert said["next"] == f"dcgan-jax train --dataset {tmp_path / 'a.npy'} --batch-size 8"


def test_a_thousand_classes_are_a_short_table(tmp_path, capsys):
    labels = np.concatenate([np.arange(1000), np.full(50, 7)])
    np.savez(tmp_path / "a.npz", x_train=noise(1050, 4, 4, 1), y_train=labels)
    said = data(capsys, tmp_path / "a.npz", *QUIET)
    assert said["classes"] == "1,000, of 1 to 51 images, 1 in the median"
    rows = said[""].split("\n")
    assert (len(rows), rows[0], rows[5]) == (11, "       51  7", "... 990 more")


def test_images_in_both_splits_are_counted(tmp_path, capsys):
    images = noise(12, 8, 8, 3)
    np.savez(tmp_path / "a.npz", x_train=images, x_test=np.concatenate([images[:2], noise(3, 8, 8, 3, seed=1)]))
    said = data(capsys, tmp_path / "a.npz", *QUIET)
    assert said["splits"] == "train 12 images, test 5 images"
    assert said["in both splits"].startswith("2 of 5 images")


def test_faults_are_found_by_their_pixels():
    images = noise(8, 4, 4, 3)
    images[5] = images[2]
    images[3], images[4] = 63, [10, 100, 200]
    images[6] = 64 + np.arange(48).reshape(4, 4, 3) % 8  # differ by 7
    images[7] = 63 + np.arange(48).reshape(4, 4, 3) // 3 % 9  # by 8
    assert find_dark(images).tolist() == [3]
    assert find_uniform(images).tolist() == [4, 6]
    assert find_repeated(images) == {5: 2}
    assert find_repeated(images[5:], images[:5]) == {0: 2}


@pytest.mark.parametrize("suffix", [".npz", ".zip"])
def test_out_is_read_back_the_same(suffix, faulty, tmp_path, capsys):
    out = tmp_path / f"a{suffix}"
    said = data(capsys, faulty, "--image-size", 16, "--out", out, *QUIET)
    before, after = load_data(faulty, image_size=(16, 16)), load_data(out)
    np.testing.assert_array_equal(after.images, before.images)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.classes == before.classes == ("cats", "dogs")
    assert said["wrote"] == f"{out}, 31 images"
    assert said["next"] == f"dcgan-jax train --dataset {out} --batch-size 16"


@pytest.mark.parametrize("suffix", [".npz", ".zip"])
def test_large_dark_and_grey_ones_are_read_back(suffix, tmp_path, capsys):
    """By the flags of the command that is printed: without them they would be read as something else."""
    np.save(tmp_path / "a.npy", np.repeat(noise(3, 68, 80, 1) // 8, 3, axis=-1))
    out = tmp_path / f"b{suffix}"
    said = data(capsys, tmp_path / "a.npy", "--range", "0,255", "--image-size", "68x80", "--out", out, *QUIET)
    assert said["next"].startswith(f"dcgan-jax train --dataset {out} --image-size 68x80 --range 0,255 ")
    capsys.readouterr()
    channels = 3 if "--channels 3" in said["next"] else None
    after = load_data(out, image_size=(68, 80), range=(0, 255), channels=channels)
    np.testing.assert_array_equal(after.images, np.load(tmp_path / "a.npy"))


def test_npz_keeps_splits_and_the_order_of_classes(tmp_path, capsys):
    names = np.array(["zebra", "ant", "T-shirt/top"])
    arrays = {"x_train": noise(6, 8, 8, 1), "y_train": names[[0, 1, 2, 2, 1, 0]]}
    arrays |= {"x_test": noise(3, 8, 8, 1, seed=1), "y_test": names[[2, 0, 1]]}
    np.savez(tmp_path / "a.npz", **arrays)
    data(capsys, tmp_path / "a.npz", "--out", tmp_path / "b.npz", *QUIET)
    for split in ("train", "test"):
        before, after = (load_data(tmp_path / name, split) for name in ("a.npz", "b.npz"))
        np.testing.assert_array_equal(after.images, before.images)
        assert [after.classes[i] for i in after.labels] == arrays[f"y_{split}"].tolist()
        assert not any("not used" in note for note in after.notes)


def test_names_of_other_classes_are_not_used(tmp_path):
    arrays = {"x_train": noise(4, 8, 8, 1), "y_train": np.array([0, 1, 5, 1])}
    np.savez(tmp_path / "a.npz", **arrays, classes=np.array(["a", "b"]))
    loaded = load_data(tmp_path / "a.npz")
    assert loaded.classes == ("0", "1", "5")
    assert any("arrays that are not used: classes" in note for note in loaded.notes)


@pytest.mark.parametrize("names", [("T-shirt/top", "Dress"), ("train", "test"), ("images", "masks"), ("0", "10", "2")])
def test_zip_says_classes_of_any_names(names, tmp_path, capsys):
    labels = np.arange(12) % len(names)
    np.savez(tmp_path / "a.npz", x_train=noise(12, 8, 8, 3), y_train=labels, classes=np.array(names))
    data(capsys, tmp_path / "a.npz", "--out", tmp_path / "b.zip", *QUIET)
    before, after = load_data(tmp_path / "a.npz"), load_data(tmp_path / "b.zip")

    def pairs(of):
        return sorted((of.classes[label], image.tobytes()) for label, image in zip(of.labels, of.images, strict=True))

    assert pairs(after) == pairs(before)


def test_zip_says_that_it_numbers_classes_by_name(tmp_path, capsys):
    """Of two classes of one name, as the cranes of ImageNet, each has its own."""
    names = np.array(["zero", "one", "crane", "crane"])
    np.savez(tmp_path / "a.npz", x_train=noise(8, 8, 8, 3), y_train=np.arange(8) % 4, classes=names)
    said = data(capsys, tmp_path / "a.npz", "--out", tmp_path / "b.zip", *QUIET)
    order = "crane (2), crane (3), one, ..."
    assert said["wrote"] == f"{tmp_path / 'b.zip'}, 8 images; its classes are numbered by name, {order}"
    assert load_data(tmp_path / "b.zip").classes == ("crane (2)", "crane (3)", "one", "zero")


def test_test_images_without_labels_are_counted(tmp_path, capsys):
    """As Kaggle has them, whose training images have labels."""
    arrays = {"x_train": noise(30, 8, 8, 1), "y_train": np.arange(30) % 2, "x_test": noise(3, 8, 8, 1, seed=1)}
    np.savez(tmp_path / "a.npz", **arrays)
    said = data(capsys, tmp_path / "a.npz", "--out", tmp_path / "b.npz", *QUIET)
    assert said["splits"] == "train 30 images, test 3 images"
    np.testing.assert_array_equal(load_data(tmp_path / "b.npz", "test").images, arrays["x_test"])
    assert run_cli("data", tmp_path / "a.npz", "--hold-out", 10, *QUIET) == 2
    assert "--hold-out is for images without a test split" in one_error_line(capsys)


@pytest.mark.parametrize(("chosen", "there"), [("kind_train", True), ("kind_train", False), ("kind", False)])
def test_labels_of_a_name_are_those_of_each_split(chosen, there, tmp_path, capsys):
    arrays = {"x_train": noise(6, 8, 8, 1), chosen: np.arange(6) % 2, "x_test": noise(4, 8, 8, 1, seed=1)}
    arrays |= {"kind_test": np.array([1, 0, 0, 1])} if there else {}
    np.savez(tmp_path / "a.npz", **arrays)
    said = data(capsys, tmp_path / "a.npz", "--labels", chosen, *QUIET)
    assert said["splits"] == "train 6 images, test 4 images"
    labels = load_data(tmp_path / "a.npz", "test", labels=chosen).labels
    assert (labels.tolist() if there else labels) == ([1, 0, 0, 1] if there else None)


def test_years_are_classes_in_a_zip(tmp_path, capsys):
    """Folders of four digits with pictures that are numbered on would be one set."""
    labels = np.repeat([1990, 1991], 3)
    np.savez(tmp_path / "a.npz", x_train=noise(6, 8, 8, 3), y_train=labels)
    data(capsys, tmp_path / "a.npz", "--out", tmp_path / "b.zip", *QUIET)
    assert zipfile.ZipFile(tmp_path / "b.zip").namelist()[3] == "1991/0.png"
    assert load_data(tmp_path / "b.zip").classes == ("1990", "1991")


def test_same_images_make_the_same_zip(faulty, tmp_path, capsys):
    for name in ("a.zip", "b.zip"):
        data(capsys, faulty, "--out", tmp_path / name, *QUIET)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_held_out_images_are_the_test_split(tmp_path, capsys):
    np.save(tmp_path / "a.npy", noise(30, 8, 8, 1))
    said = data(capsys, tmp_path / "a.npy", "--hold-out", 10, "--out", tmp_path / "b.npz", *QUIET)
    assert said["splits"] == "train 20 images, held out 10 images"
    both = np.concatenate([load_data(tmp_path / "b.npz", split).images for split in ("train", "test")])
    assert {each.tobytes() for each in both} == {each.tobytes() for each in noise(30, 8, 8, 1)}


def test_grid_shows_a_row_for_each_class(faulty, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data-pets.png", "data-pets-2.png"):  # the second one beside the first
        said = data(capsys, faulty, "--no-time")
        assert said["grid"] == f"{name}, of 16 images"
    pixels = np.asarray(Image.open("data-pets.png"))
    scale, pitch = 4, 4 * (20 + 2)
    left = pixels.shape[1] - 8 * pitch - 2 * scale  # beside the names of the classes
    of = load_data(faulty)
    for row in range(2):
        shown = {image.tobytes() for image in of.images[of.labels == row]}
        for column in range(8):
            y, x = row * pitch + 2 * scale, left + column * pitch + 2 * scale
            assert pixels[y : y + 80 : scale, x : x + 80 : scale].tobytes() in shown


def test_step_is_measured_and_the_next_command_runs(faulty, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compile_steps_quickly(monkeypatch)
    flags = ["--preset", "recommended", "--width", 8, "--batch-size", 4, "--conditional", "--mirror"]
    said = data(capsys, faulty, *flags, "--no-grid", "--no-compilation-cache")
    seconds, steps = re.match(r"([\d.]+) s a step at batch 4 on .* \((\d+) steps measured\)", said["time"]).groups()
    assert float(seconds) > 0
    assert int(steps) % 4 == 0  # whole turns: the penalty is in each fourth step
    assert re.match(r"[\d.]+ MiB for networks and optimizers, [\d.]+ MiB for a step; this process", said["memory"])
    words = shlex.split(said["next"])
    assert words[:2] == ["dcgan-jax", "train"]
    assert run_cli(*words[1:], "--dry-run") == 0
    assert "would train in runs/0001, on 31 images" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_step_that_does_not_fit_is_said(faulty, capsys, monkeypatch):
    monkeypatch.setattr("dcgan_jax.memory.free_on", lambda device: 1000)
    compile_steps_quickly(monkeypatch)
    said = data(capsys, faulty, "--width", 8, "--batch-size", 4, "--no-grid", "--no-compilation-cache")
    assert "--batch-size 4: a step takes" in said["step"]
    assert "time" not in said


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("data", "the following arguments are required: PATH"),
        ("data ./absent", "there is no file or folder"),
        ("data a.npy --out a.png", "--out must end in .npz or .zip, got a.png"),
        ("data a.npy --out full/b.npz", "full/b.npz already exists: choose another --out"),
        ("data a.npy --grid full/b.npz", "--grid must end in .png, got full/b.npz"),
        ("data a.npy --grid full/a.png", "full/a.png already exists: choose another --grid"),
        ("data a.npy --grid absent/a.png", "the directory absent of --grid does not exist"),
        ("data a.npy --image-size 7", "--image-size must have sides that are multiples of 4"),
        ("data a.npy --batch-size 64", "--batch-size must be at most 12, the images of"),
        ("data a.npy --conditional", "--conditional needs images of at least two classes"),
        ("data a.npy --hold-out 12", "--hold-out must be less than 12"),
        ("data mnist --hold-out 12", "--hold-out is for images without a test split"),
        ("data a.npy --layout NCHW", "--layout"),
        ("data full", "full"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", noise(12, 8, 8, 3))
    (tmp_path / "full").mkdir()
    for name in ("a.png", "b.npz"):
        (tmp_path / "full" / name).write_text("mine")
    before = all_files(tmp_path)
    assert run_cli(*argv.split()) == 2
    assert message in one_error_line(capsys)
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("suffix", [".npz", ".zip"])
def test_full_disk_is_one_line_and_no_file(suffix, faulty, tmp_path, capsys, monkeypatch):
    """Whatever is written first fails, as on a disk without room."""

    def fail(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    load_data(faulty)  # which caches the pictures
    monkeypatch.setattr("numpy.savez", fail)
    monkeypatch.setattr("zipfile.ZipFile.writestr", fail)
    out = tmp_path / f"a{suffix}"
    assert run_cli("data", faulty, "--out", out, *QUIET) == 2
    assert capsys.readouterr().err == f"error: [Errno 28] No space left on device: '{out}'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_list_in_a_zip_is_that_of_stylegan(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", x_train=noise(2, 8, 8, 3), y_train=[0, 1], classes=np.array(["a/b", "c"]))
    data(capsys, tmp_path / "a.npz", "--out", tmp_path / "b.zip", *QUIET)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert json.loads(archive.read("dataset.json")) == {"labels": [["0.png", "a/b"], ["1.png", "c"]]}
