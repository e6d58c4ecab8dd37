"""Runs on a person's own pictures: from one command to samples, and what happens when the pictures change.

The first test trains the tutorial's layers, the others the small recipe's: what they show are pictures.
"""

import json
import shutil

import numpy as np
import pytest
from helpers import (
    RECIPE,
    all_files,
    assert_same_bits,
    compare_fewer_patches,
    compile_steps_quickly,
    finish,
    one_error_line,
    run_cli,
)
from PIL import Image
from programs.small_recipe import init

from dcgan_jax import load_run

pytestmark = pytest.mark.usefixtures("data_cache")
RANDOM = np.random.default_rng(0)
OWN = ["--recipe", RECIPE]


@pytest.fixture
def pictures(tmp_path):
    """Twenty small pictures of two classes, in colours, with names that have spaces and Korean letters."""
    folder = tmp_path / "내 사진"
    for kind in ("고양이 cats", "dogs"):
        (folder / kind).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(RANDOM.integers(0, 256, (18, 14, 3), np.uint8)).save(folder / kind / f"사진 {i}.png")
    return folder


def config_of(run_dir):
    """The run's config, and what it has found."""
    config = json.loads((run_dir / "config.json").read_text())
    return config["config"] | config["record"]


def test_folder_trains_and_samples(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compile_steps_quickly(monkeypatch)
    run_dir = tmp_path / "run"
    flags = ["--width", 8, "--batch-size", 4, "--workdir", run_dir]
    assert run_cli("train", "--dataset", "내 사진", "--steps", 3, *flags) == 0
    out = capsys.readouterr().out
    assert "20 of 20 pictures cropped around their centre to 16x12" in out
    config = config_of(run_dir)
    assert (config["dataset"], config["image_shape"]) == (str(pictures), [16, 12, 3])
    with Image.open(run_dir / "reals.png") as grid:
        assert grid.mode == "RGB"
    assert run_cli("sample", run_dir, "--samples", 5, "--out", tmp_path / "a.npy") == 0
    assert np.load(tmp_path / "a.npy").shape == (5, 16, 12, 3)


def test_interrupted_run_resumes_to_the_same_bits(pictures, tmp_path):
    """Mirrored at random, and without naming the pictures again."""
    flags = ["--batch-size", 4, "--dataset", pictures, "--channels", 1, "--mirror"]
    assert run_cli("train", *OWN, *flags, "--steps", 4, "--workdir", tmp_path / "whole") == 0
    assert run_cli("train", *OWN, *flags, "--steps", 2, "--workdir", tmp_path / "parts") == 0
    assert run_cli("train", *OWN, "--resume", "--steps", 4, "--workdir", tmp_path / "parts") == 0
    whole, parts = (load_run(tmp_path / name, init=init).state for name in ("whole", "parts"))
    assert_same_bits(whole, parts)


def test_moved_pictures_are_found_again(pictures, tmp_path, capsys):
    """The run knows its images by their digest, wherever they are; other ones are refused."""
    run_dir, moved = tmp_path / "run", tmp_path / "moved"
    assert run_cli("train", *OWN, "--dataset", pictures, "--batch-size", 4, "--steps", 1, "--workdir", run_dir) == 0
    pictures.rename(moved)
    capsys.readouterr()
    assert run_cli("train", *OWN, "--resume", "--steps", 2, "--workdir", run_dir) == 2
    assert "if the run's images are elsewhere now, --dataset says where" in capsys.readouterr().err
    assert run_cli("train", *OWN, "--resume", "--steps", 2, "--dataset", moved, "--workdir", run_dir) == 0
    assert load_run(run_dir, init=init).config.dataset == str(moved)
    assert run_cli("train", *OWN, "--resume", "--steps", 3, "--dataset", moved / "dogs", "--workdir", run_dir) == 2
    assert "are no longer those that the run in" in capsys.readouterr().err


def test_changed_pictures_are_refused(pictures, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert run_cli("train", *OWN, "--dataset", pictures, "--batch-size", 4, "--steps", 1, "--workdir", run_dir) == 0
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    capsys.readouterr()
    changed = pictures / "dogs" / "사진 3.png"
    content = changed.read_bytes()
    Image.fromarray(np.zeros((18, 14, 3), np.uint8)).save(changed)
    assert run_cli("train", *OWN, "--resume", "--steps", 2, "--workdir", run_dir) == 2
    _, err = capsys.readouterr()
    assert f"the images of {pictures} are no longer those that the run in {run_dir} began with (SHA-256 " in err
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    changed.write_bytes(content)
    assert run_cli("train", *OWN, "--resume", "--steps", 2, "--workdir", run_dir) == 0


def test_resume_with_other_images_is_refused(pictures, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert run_cli("train", *OWN, "--dataset", pictures, "--batch-size", 4, "--steps", 1, "--workdir", run_dir) == 0
    for flags, message in (
        (["--image-size", 8], "has --image-size 16x12, not 8x8"),
        (["--channels", 1], "has --channels 3, not 1"),
        (["--mirror"], "has --mirror False, not True"),
        (
            ["--dataset", "mnist"],
            "takes over the weights of both networks if the images are of one shape, and begins anew",
        ),
    ):
        capsys.readouterr()
        assert run_cli("train", *OWN, "--resume", "--steps", 2, "--workdir", run_dir, *flags) == 2
        assert message in capsys.readouterr().err


def test_array_trains(tmp_path):
    np.save(tmp_path / "a.npy", RANDOM.random((20, 3, 16, 12)).astype(np.float32))
    run_dir, flags = tmp_path / "run", ["--dataset", tmp_path / "a.npy", "--batch-size", 4, "--steps", 1]
    assert run_cli("train", *OWN, *flags, "--workdir", run_dir) == 0
    assert config_of(run_dir)["image_shape"] == [16, 12, 3]


@pytest.mark.slow
def test_mnist_in_another_size_has_pixel_scores(tmp_path, monkeypatch, capsys):
    compare_fewer_patches(monkeypatch)
    flags = ["--image-size", 8, "--batch-size", 4, "--steps", 1, "--workdir", tmp_path / "run"]
    assert run_cli("train", *flags, "--eval-every", 1, "--eval-samples", 20) == 0
    out, err = capsys.readouterr()
    assert "1: sliced Wasserstein distance " in out
    assert "no FID, precision or recall: they need --features perceptual, for images of 8x8x1; train" in err
    assert run_cli("evaluate", tmp_path / "run", "--samples", 20) == 0
    assert "SWD of patches at 8x8" in capsys.readouterr().out


def test_run_of_an_earlier_revision_is_refused(pictures, tmp_path, capsys):
    """Its config.json has no format, and its checkpoints an earlier one; which revision resumes it is said."""
    run_dir = tmp_path / "run"
    assert run_cli("train", *OWN, "--dataset", pictures, "--batch-size", 4, "--steps", 1, "--workdir", run_dir) == 0
    whole = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**whole["config"], "classes": None}))
    capsys.readouterr()
    for command in (["train", "--resume", "--steps", 2, "--workdir"], ["sample"], ["evaluate"], ["report"]):
        before = all_files(run_dir)
        assert run_cli(*command, run_dir) == 2
        assert "revision b594a72 of dcgan-jax resumes runs of earlier formats" in one_error_line(capsys)
        assert all_files(run_dir) == before


@pytest.mark.slow
def test_conditional_run_draws_by_class(pictures, tmp_path, capsys):
    """It resumes to the same bits, and samples the classes that are asked for, by name or number."""
    flags = ["--dataset", pictures, "--batch-size", 4, "--conditional"]
    assert run_cli("train", *flags, "--steps", 3, "--workdir", tmp_path / "whole") == 0
    assert run_cli("train", *flags, "--steps", 2, "--workdir", tmp_path / "parts") == 0
    assert run_cli("train", "--resume", "--steps", 3, "--workdir", tmp_path / "parts") == 0
    whole = load_run(tmp_path / "whole")
    assert_same_bits(whole.state, load_run(tmp_path / "parts").state)
    assert whole.record.classes == ("dogs", "고양이 cats")

    def drawn(*flags):
        out = tmp_path / "drawn.npy"
        out.unlink(missing_ok=True)
        assert run_cli("sample", tmp_path / "whole", "--samples", 2, "--out", out, *flags) == 0
        return np.load(out)

    grid = drawn("--grid")
    assert grid.shape == (4, 16, 12, 3)
    np.testing.assert_array_equal(grid, drawn("--classes", "dogs,고양이 cats"))
    np.testing.assert_array_equal(grid, drawn("--classes", "0,1"))
    assert len(drawn("--classes", "1")) == len(drawn()) == 2
    bare = ["--grid", "--samples", 3, "--no-labels", "--out", tmp_path / "grid.png"]
    assert run_cli("sample", tmp_path / "whole", *bare) == 0
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size == (3 * 56 + 8, 2 * 72 + 8)  # a row for each class
    capsys.readouterr()
    assert run_cli("sample", tmp_path / "whole", "--classes", "birds", "--out", tmp_path / "b.png") == 2
    assert "there is no class 'birds': choose from dogs, 고양이 cats" in one_error_line(capsys)
    assert run_cli("export", tmp_path / "whole", "--format", "stablehlo", "--out", tmp_path / "a.stablehlo") == 0
    assert run_cli("export", tmp_path / "whole", "--format", "keras", "--out", tmp_path / "a.weights.h5") == 2
    assert "only the tutorial's layers have weights in Keras" in capsys.readouterr().err


def test_conditional_needs_classes(pictures, tmp_path, capsys):
    np.save(tmp_path / "a.npy", RANDOM.random((9, 8, 8)))
    flags = ["--batch-size", 4, "--steps", 1, "--workdir", tmp_path / "run"]
    assert run_cli("train", *OWN, "--dataset", tmp_path / "a.npy", "--conditional", *flags) == 2
    assert "--conditional needs images of at least two classes, and those of" in (err := one_error_line(capsys))
    assert "have none: put" in err
    np.savez(tmp_path / "one.npz", images=np.load(tmp_path / "a.npy"), labels=["cats"] * 9)
    assert run_cli("train", *OWN, "--dataset", tmp_path / "one.npz", "--conditional", *flags) == 2
    assert f"those of {tmp_path / 'one.npz'} have one, cats: put" in one_error_line(capsys)
    assert run_cli("train", *OWN, "--dataset", pictures, *flags) == 0
    capsys.readouterr()
    assert run_cli("sample", *OWN, tmp_path / "run", "--grid", "--out", tmp_path / "b.png") == 2
    assert "draws no classes: it was trained without --conditional" in one_error_line(capsys)
    assert run_cli("train", *OWN, "--resume", "--conditional", "--steps", 2, "--workdir", tmp_path / "run") == 2
    assert "has --conditional False, not True" in one_error_line(capsys)
    shutil.rmtree(pictures / "dogs")
    assert run_cli("train", *OWN, "--dataset", pictures, "--conditional", *flags, "--workdir", tmp_path / "b") == 2
    assert f"those of {pictures} have one, 고양이 cats: put" in capsys.readouterr().err


@pytest.mark.slow
def test_folder_from_a_phone_trains_with_one_command(train_process, tmp_path):
    """200 JPEGs of 12 megapixels, upright by EXIF alone, with names that have spaces and Korean letters."""
    folder = tmp_path / "내 휴대폰 사진"
    for kind in ("봄 나들이", "우리 집 강아지"):
        (folder / kind).mkdir(parents=True)
        for i in range(100):
            picture = Image.fromarray(RANDOM.integers(0, 256, (30, 40, 3), np.uint8)).resize((4032, 3024))
            exif = Image.Exif()
            exif[0x0112] = 6  # turn it by 90 degrees to show it
            picture.save(folder / kind / f"사진 {i + 1} (복사본).JPG", quality=90, exif=exif)
    process = train_process("--dataset", folder.name, "--batch-size", 16, "--steps", 2, cwd=tmp_path)
    code, out, err = finish(process)
    assert code == 0, err
    assert "200 of 200 pictures resized to 64x48" in out
    run_dir = tmp_path / "runs" / "0001"
    assert config_of(run_dir)["image_shape"] == [64, 48, 3]
    assert load_run(run_dir).state.step == 2
