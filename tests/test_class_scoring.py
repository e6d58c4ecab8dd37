"""Classifiers of other data than MNIST's digits, and the scores of runs and files by them or by pixels alone.

The runs are of the small recipe's networks: what is scored are images.
"""

import json
import re

import numpy as np
import pytest
from helpers import RECIPE, all_files, compare_fewer_patches, metric_rows, one_error_line, run_cli
from programs.small_recipe import init

from dcgan_jax import TrainConfig, load_labels
from dcgan_jax.data import DatasetError, Reading, load_data
from dcgan_jax.evaluation import classifier as package
from dcgan_jax.evaluation.class_scoring import evaluate_classes
from dcgan_jax.evaluation.classifier import ClassifierError, classify
from dcgan_jax.evaluation.classifier_file import read_classifier, write_classifier
from dcgan_jax.evaluation.comparability import PIXELS, Comparability
from dcgan_jax.evaluation.real_images import load_test_split, split_for_testing
from dcgan_jax.evaluation.train_classifier import augment_digits, augment_pictures
from dcgan_jax.report.charts import charts
from dcgan_jax.report.source import read_source
from dcgan_jax.report.tables import facts
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.history import figures, read_history
from dcgan_jax.training.run import create_run
from dcgan_jax.training.setup import prepare_run

NAMES = ("one thing", "two", "영")  # of the digits 1, 2 and 0, in their order as text


@pytest.fixture(autouse=True)
def fewer_patches(monkeypatch):
    compare_fewer_patches(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("내 data")


@pytest.fixture(scope="module")
def source(folder, mnist):
    """Three kinds of digits under other names, as an .npz with a test split in which the order of the names differs."""
    labels = load_labels()
    chosen = np.flatnonzero(labels < 3)[:700]
    names = np.array(["영", "one thing", "two"])[labels[chosen]]
    arrays = {"x_train": mnist[chosen[:500]], "y_train": names[:500]}
    np.savez(folder / "data.npz", **arrays, x_test=mnist[chosen[500:]], y_test=names[500:])
    return folder / "data.npz"


@pytest.fixture(scope="module")
def trained(folder, source):
    """A classifier of `source`, by the command."""
    assert run_cli("train-classifier", "--dataset", source, "--epochs", 3, "--out", folder / "a.npz") == 0
    return folder / "a.npz"


@pytest.fixture(scope="module")
def classifier(trained):
    return read_classifier(trained)


def untrained_run(run_dir, source, **options):
    """A run before its first step."""
    config = TrainConfig(dataset=str(source), workdir=str(run_dir), batch_size=2, **options)
    prepared = prepare_run(config, run_dir, False, init)
    create_run(config, *create_state(*prepared[:2], init=init), init=init)
    return run_dir


@pytest.fixture(scope="module")
def run_dir(folder, source):
    return untrained_run(folder / "run", source, conditional=True)


def test_classifier_is_trained_and_kept(classifier, source):
    """Its accuracy is that on the test split, and the same seed trains the same one."""
    assert classifier.classes == NAMES
    assert (classifier.data, classifier.epochs, classifier.seed) == (str(source), 3, 0)
    train, test = load_data(source), load_test_split(source, load_data(source), Reading())
    assert classifier.data_digest == train._replace(labels=None, classes=()).digest()
    right = (classify(test.images, classifier.variables)[0].argmax(-1) == test.labels).mean()
    assert classifier.accuracy == right > 0.6  # one class of three is chance
    assert classifier.tested_on == "200 images of the test split"


def test_same_seed_trains_the_same_classifier(classifier, trained, source, tmp_path, capsys):
    assert run_cli("train-classifier", "--dataset", source, "--epochs", 3, "--out", tmp_path / "b.npz") == 0
    out = capsys.readouterr().out
    assert "each image is scaled and shifted, but not turned or mirrored" in out
    assert f"accuracy {100 * classifier.accuracy:.2f} % on 200 images of the test split; wrote" in out
    assert classifier.digest()[:12] in out
    assert (tmp_path / "b.npz").read_bytes() == trained.read_bytes()


def test_damaged_classifier_is_reported(trained, classifier, tmp_path):
    """Whichever byte is changed, and wherever the file ends."""
    content, path = trained.read_bytes(), tmp_path / "a.npz"
    for at in [*range(0, len(content), len(content) // 40), *range(len(content) - 100, len(content), 7)]:
        changed = bytearray(content)
        changed[at] ^= 255
        path.write_bytes(changed)
        try:
            assert read_classifier(path).digest() == classifier.digest()  # a date in the archive, for example
        except ClassifierError as error:
            assert "a.npz" in str(error) and "\n" not in str(error)
    for end in (0, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ClassifierError, match="is no classifier, or is damaged"):
            read_classifier(path)
    with pytest.raises(ClassifierError, match="cannot read the classifier"):
        read_classifier(tmp_path / "absent.npz")
    with pytest.raises(ClassifierError, match="weights.npz is no classifier, or is damaged"):
        read_classifier(package.WEIGHTS)
    write_classifier(path, classifier._replace(accuracy=1.0))
    assert read_classifier(path).digest() != classifier.digest()


def test_a_tenth_is_held_out(mnist, tmp_path):
    """The same tenth each time, and nothing of it is trained on."""
    np.savez(tmp_path / "a.npz", images=mnist[:95], labels=load_labels()[:95])
    data = load_data(tmp_path / "a.npz")
    assert load_test_split(tmp_path / "a.npz", data, Reading()) is None
    real, again = (split_for_testing(tmp_path / "a.npz", data, Reading()) for _ in range(2))
    assert real.tested_on == "a held-out tenth, 9 images"
    assert (len(real.train.images), len(real.test.images)) == (86, 9)
    both = np.concatenate([real.train.images, real.test.images])
    assert len(np.unique(both, axis=0)) == 95
    assert (real.test.images == again.test.images).all()
    for part in (real.train, real.test):
        assert all(
            (mnist[:95][load_labels()[:95] == k] == x).all((1, 2, 3)).any() for x, k in zip(*part[:2], strict=True)
        )


def test_both_splits_number_classes_alike(mnist, tmp_path):
    names = np.array(["c", "a", "b", "c"])
    np.savez(tmp_path / "a.npz", x_train=mnist[:4], y_train=names, x_test=mnist[:2], y_test=names[:1].repeat(2))
    train = load_data(tmp_path / "a.npz")
    assert load_test_split(tmp_path / "a.npz", train, Reading()).labels.tolist() == [2, 2]
    np.savez(tmp_path / "b.npz", x_train=mnist[:4], y_train=names, x_test=mnist[:2], y_test=np.array(["a", "d"]))
    with pytest.raises(DatasetError, match="has classes in its test split alone: d"):
        load_test_split(tmp_path / "b.npz", load_data(tmp_path / "b.npz"), Reading())


def test_augmentation_of_pictures_repeats_their_edges(key):
    """White stays white, where digits get black borders; and each image is moved in its own way."""
    white = np.ones((8, 28, 28, 1), np.float32)
    np.testing.assert_allclose(augment_pictures(white, key), 1, atol=1e-6)
    assert (augment_digits(white, key) < 0.5).any()
    one = np.zeros((2, 28, 28, 1), np.float32)
    one[:, 10:18, 10:18] = 1
    moved = np.asarray(augment_pictures(one, key))
    assert (moved[0] != moved[1]).any()
    # An axis-aligned square remains one: its pixels are the product of a row and a column.
    assert np.linalg.matrix_rank(moved[0, ..., 0], tol=1e-4) == 1


def test_run_is_scored_by_a_classifier(run_dir, trained, classifier, capsys):
    """By class and by name, beside real images, and nothing is written."""
    before = all_files(run_dir)
    flags = ["--samples", 150, "--classifier", trained, "--recipe", RECIPE]
    assert run_cli("evaluate", run_dir, *flags, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    scores, floor = result["scores"], result["floor"]
    assert result["features"] == classifier.digest()
    assert tuple(scores["shares"]) == tuple(floor["shares"]) == NAMES
    assert sum(scores["shares"].values()) == pytest.approx(1)
    assert scores["missing"] == [name for name, share in scores["shares"].items() if share == 0]
    assert scores["fid"] > 2 * floor["fid"]
    assert floor["as_asked"] == classifier.accuracy
    assert 0 <= scores["as_asked"] <= 1
    assert run_cli("evaluate", run_dir, *flags) == 0
    out = capsys.readouterr().out
    title = f"{run_dir} at step 0, last weights: 150 images; floor: as many real ones; features "
    assert out.splitlines()[0] == title + classifier.digest()[:12]
    for name in (
        "FID (lower is better)",
        "class score (1 to 3)",
        "drawn as asked",
        "share of 영",
        "share of one thing",
    ):
        assert name in out
    assert all_files(run_dir) == before


def test_run_is_scored_while_it_trains(source, trained, classifier, tmp_path, capsys):
    """By a classifier of its images, as `evaluate` scores it afterwards; it can stop at a FID."""
    run_dir = tmp_path / "run"
    again = ["train", "--resume", "--workdir", run_dir, "--recipe", RECIPE]
    flags = ["--recipe", RECIPE, "--dataset", source, "--conditional", "--batch-size", 2, "--workdir", run_dir]
    flags += ["--eval-every", 2, "--eval-samples", 150, "--classifier", trained]
    assert run_cli("train", *flags, "--steps", 6, "--stop-at-fid", 1e9) == 0
    assert "reached --stop-at-fid 1e+09 with FID" in capsys.readouterr().out
    (row,) = [row for row in metric_rows(run_dir) if "evaluation" in row]
    assert row["step"] == 2
    assert run_cli("evaluate", run_dir, "--recipe", RECIPE, "--samples", 150, "--classifier", trained, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {name: result[name] for name in row["evaluation"]} == row["evaluation"]
    assert run_cli(*again) == 2
    assert "already has FID" in one_error_line(capsys)
    assert run_cli(*again, "--steps", 4, "--stop-at-fid", "none") == 0
    kept = figures(read_history(run_dir))[Comparability(classifier.digest(), 150)]
    assert [step for _, step in kept] == [2, 4]
    best = dict(facts(read_source(run_dir)))["Best FID"]
    assert best.endswith(f"of 150 images in the features {classifier.digest()[:12]}")
    assert run_cli(*again, "--steps", 6, "--classifier", "none") == 0
    assert [step for _, step in figures(read_history(run_dir))[Comparability(PIXELS, 150)]] == [6]


@pytest.mark.slow
def test_pixels_are_compared_while_a_run_trains(tmp_path, capsys):
    """As many as there are real ones; curves, the report and the best checkpoint follow their distance."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 16, 24, 3), np.uint8))
    run_dir = tmp_path / "run"
    flags = ["--recipe", RECIPE, "--dataset", tmp_path / "a.npy", "--batch-size", 4, "--eval-every", 1]
    flags += ["--keep-checkpoints", 1]
    assert run_cli("train", *flags, "--steps", 3, "--workdir", run_dir) == 0
    out, err = capsys.readouterr()
    assert err.count("no FID") == 1
    assert "evaluations are of 20 images, of which there are real ones too" in out
    (distances,) = figures(read_history(run_dir)).values()
    assert [step for _, step in distances] == [1, 2, 3]
    assert checkpoint_steps(run_dir / "checkpoints") == sorted({min(distances)[1], 3}, reverse=True)
    assert f"3: sliced Wasserstein distance {distances[-1][0]:.2f} (real images: " in out
    source = read_source(run_dir)
    (chart,) = [chart for chart in charts([source], 100) if "Wasserstein" in chart["title"]]
    assert chart["lines"][0]["y"] == [pytest.approx(each, rel=1e-4) for each, _ in distances]
    best = f"{min(distances)[0]:.4g} at step {min(distances)[1]}, of 20 images by their pixels"
    assert ("Best sliced Wasserstein distance", best) in facts(source)
    assert run_cli("plot", run_dir, "--out", tmp_path / "a.svg") == 0
    assert "Sliced Wasserstein distance (lower is better)" in (tmp_path / "a.svg").read_text()
    capsys.readouterr()
    assert run_cli("train", "--resume", "--recipe", RECIPE, "--workdir", run_dir, "--steps", 4, "--stop-at-fid", 9) == 2
    assert "have no FID without a classifier: add --classifier FILE" in one_error_line(capsys)


def test_images_too_small_to_score_are_refused(tmp_path, capsys):
    """Before the run, and not at each evaluation."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 24, 3), np.uint8))
    flags = ["--dataset", tmp_path / "a.npy", "--batch-size", 4, "--workdir", tmp_path / "run"]
    assert run_cli("train", *flags, "--eval-every", 1) == 2
    assert f"7x7 pixels, too large for those of {tmp_path / 'a.npy'}, which are 4x24" in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_images_too_few_to_score_are_refused(tmp_path, capsys):
    """And with as many as are needed the run scores them."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    flags = ["--recipe", RECIPE, "--batch-size", 1, "--eval-every", 1, "--steps", 1, "--workdir", tmp_path / "run"]
    for count in (2, 3):
        np.save(tmp_path / "a.npy", images[:count])
        assert run_cli("train", *flags, "--dataset", tmp_path / "a.npy") == 2
        assert f"at least 4 images are needed to score by, {tmp_path / 'a.npy'} has {count}" in one_error_line(capsys)
        assert not (tmp_path / "run").exists()
    np.save(tmp_path / "a.npy", images)
    assert run_cli("train", *flags, "--dataset", tmp_path / "a.npy") == 0
    assert [row["evaluation"]["samples"] for row in metric_rows(tmp_path / "run") if "evaluation" in row] == [2]
    capsys.readouterr()
    assert run_cli("evaluate", tmp_path / "run", "--recipe", RECIPE, "--samples", 3) == 2
    assert "--samples must be 2, of which there are real images too, got 3" in one_error_line(capsys)


def test_real_images_score_as_the_floor(source, classifier):
    real = split_for_testing(source, load_data(source), Reading())
    labels = real.train.labels[:200]
    scores, floor = evaluate_classes(real.train.images[:200], real, classifier, labels)[1:3]
    assert floor.fid / 2 < scores.fid < 2 * floor.fid
    assert scores.nearest == 0
    assert floor.nearest > 4
    assert scores.as_asked == pytest.approx(floor.as_asked, abs=0.15)  # shares of 200 deviate by 0.035 at most
    wrong = evaluate_classes(real.train.images[:200], real, classifier, (labels + 1) % 3)
    assert wrong.scores.as_asked < 0.5 * scores.as_asked
    assert evaluate_classes(real.train.images[:200], real, classifier).scores.as_asked is None


def test_run_without_classifier_has_pixel_scores(run_dir, capsys):
    flags = ["--recipe", RECIPE, "--samples", 50]
    assert run_cli("evaluate", run_dir, *flags, "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert err.count("\n") == 1
    assert "no FID, precision or recall: they need --features perceptual, or a classifier: dcgan-jax train-cl" in err
    assert result["features"] is None
    assert set(result["scores"]) == {"swd", "swd_mean", "nearest", "diversity"}
    assert result["scores"]["swd_mean"] > 5 * result["floor"]["swd_mean"]
    assert run_cli("evaluate", run_dir, *flags) == 0
    assert "as many real ones; pixels alone\n" in capsys.readouterr().out


def test_runs_of_any_size_and_colour_are_compared(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 16, 24, 3), np.uint8))
    run_dir = untrained_run(tmp_path / "run", tmp_path / "a.npy")
    command = ["evaluate", run_dir, "--recipe", RECIPE]
    assert run_cli(*command, "--json") == 0
    out, err = capsys.readouterr()
    assert "--features perceptual, for images of 16x24x3" in err
    result = json.loads(out)
    assert result["samples"] == 20  # as many as the half that the floor is of
    assert list(result["scores"]["swd"]) == ["16x24"]
    assert run_cli(*command, "--samples", 21) == 2
    assert "--samples must be 2 to 20, of which there are real images too, got 21" in capsys.readouterr().err
    (tmp_path / "a.npy").rename(tmp_path / "moved.npy")
    assert run_cli(*command) == 2
    assert "there is no file or folder" in one_error_line(capsys)
    assert run_cli(*command, "--dataset", tmp_path / "moved.npy") == 0


def test_files_are_compared_with_any_data(source, trained, classifier, mnist, tmp_path, capsys):
    """By pixels, or by a classifier, which says what it was trained on."""
    np.save(tmp_path / "theirs.npy", mnist[:300])
    assert run_cli("evaluate", tmp_path / "theirs.npy", "--dataset", source, "--json") == 0
    out, err = capsys.readouterr()
    assert "no FID" in err
    result = json.loads(out)
    assert (result["dataset"], result["samples"], result["features"]) == (str(source), 300, None)
    assert run_cli("evaluate", tmp_path / "theirs.npy", "--classifier", trained, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["dataset"], result["features"]) == (str(source), classifier.digest())
    assert "as_asked" not in result["scores"]
    np.save(tmp_path / "colour.npy", np.random.default_rng(0).integers(0, 256, (40, 28, 28, 3), np.uint8))
    assert run_cli("evaluate", tmp_path / "colour.npy", "--dataset", source) == 2
    assert "are coloured, those of" in one_error_line(capsys)
    np.savez(tmp_path / "small.npz", images=mnist[:40])
    assert run_cli("evaluate", tmp_path / "theirs.npy", "--dataset", tmp_path / "small.npz") == 0
    assert "theirs.npy: 20 images of 300, chosen at random;" in capsys.readouterr().out


def test_classifier_of_other_data_is_refused(run_dir, source, classifier, tmp_path, capsys):
    write_classifier(tmp_path / "other.npz", classifier._replace(data_digest="0" * 64, data="kmnist"))
    write_classifier(tmp_path / "names.npz", classifier._replace(classes=("a", "b", "c")))
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (200, 16, 16, 1), np.uint8))
    for argv, message in (
        ([run_dir, "--classifier", tmp_path / "other.npz"], "the classifier knows the images of kmnist (SHA-256 00000"),
        (
            [run_dir, "--classifier", tmp_path / "names.npz"],
            "the run draws the classes one thing, two, 영; the classif",
        ),
        ([run_dir, "--classifier", tmp_path / "absent.npz"], "cannot read the classifier"),
        ([run_dir, "--classifier", package.WEIGHTS], "is no classifier, or is damaged"),
        ([run_dir, "--dataset", "mnist"], "the images of mnist are no longer those that the run in"),
        (
            [tmp_path / "a.npy", "--dataset", source, "--classifier", tmp_path / "other.npz"],
            f"--classifier is for images of 28x28x1, those of {tmp_path / 'a.npy'} are 16x16: leave it out",
        ),
    ):
        recipe = ["--recipe", RECIPE] if argv[0] == run_dir else []
        assert run_cli("evaluate", *argv, *recipe) == 2
        assert message in one_error_line(capsys)
        if argv[0] == run_dir and "--classifier" in argv:
            flags = ["--dataset", source, "--conditional", "--batch-size", 2, "--eval-every", 1, *argv[1:]]
            assert run_cli("train", *recipe, *flags, "--workdir", tmp_path / "none") == 2
            assert message in one_error_line(capsys)
            assert not (tmp_path / "none").exists()


def test_training_of_a_classifier_is_checked_first(source, mnist, tmp_path, capsys):
    np.save(tmp_path / "unlabelled.npy", mnist[:200])
    np.savez(tmp_path / "one.npz", images=mnist[:200], labels=np.array(["cats"] * 200))
    np.savez(tmp_path / "few.npz", images=mnist[:1289], labels=load_labels()[:1289])
    labels = load_labels()[:1300].astype("U4")
    labels[np.random.default_rng(0).permutation(1300)[0]] = "rare"  # its one image is held out
    np.savez(tmp_path / "rare.npz", images=mnist[:1300], labels=labels)
    np.savez(tmp_path / "large.npz", images=np.zeros((9, 32, 32), np.uint8) + np.eye(32, dtype=np.uint8) * 255)
    (tmp_path / "there.npz").write_text("mine")
    out = ["--out", tmp_path / "new.npz"]
    before = all_files(tmp_path)
    for argv, message in (
        (["--dataset", tmp_path / "unlabelled.npy", *out], "needs images of at least two classes, those of"),
        (["--dataset", tmp_path / "one.npz", *out], "at least two classes, those of .*one.npz have one, cats: put"),
        (
            ["--dataset", tmp_path / "few.npz", *out],
            "as many to test on, .* has 1,161 and a held-out tenth, 128 images",
        ),
        (["--dataset", tmp_path / "rare.npz", *out], "rare.npz has no image of the class rare to train"),
        (["--dataset", tmp_path / "large.npz", *out], "are 32x32x1: for a run with --image-size 28 --channels 1, give"),
        (["--dataset", source, "--epochs", 0, *out], "--epochs must be between 1 and 1000, got 0"),
        (["--dataset", source, "--seed", -1, *out], "--seed must be between 0 and"),
        (["--dataset", source, "--image-size", "3", *out], "--image-size must have sides"),
        (["--dataset", source, "--channels", 2, *out], "channels must be 1 or 3, got 2"),
        (["--dataset", source, "--out", tmp_path / "there.npz"], "already exists: choose another --out"),
        (["--dataset", source, "--out", tmp_path / "a.txt"], "--out must end in .npz"),
        (["--dataset", "no such set", *out], "unknown data set"),
        (out, "the following arguments are required: --dataset"),
    ):
        assert run_cli("train-classifier", *argv) == 2
        assert re.search(message, one_error_line(capsys))
    assert all_files(tmp_path) == before


def test_files_with_equal_channels_are_grey(source, trained, mnist, tmp_path, capsys):
    np.save(tmp_path / "grey.npy", mnist[:150])
    np.save(tmp_path / "equal.npy", mnist[:150].repeat(3, axis=-1))
    for flags in (["--dataset", source], ["--classifier", trained]):
        results = []
        for name in ("grey", "equal"):
            assert run_cli("evaluate", tmp_path / f"{name}.npy", *flags, "--json") == 0
            results.append(json.loads(capsys.readouterr().out) | {"images": None})
        assert results[0] == results[1]


def test_real_images_that_need_a_flag_are_prepared(mnist, tmp_path, capsys):
    """The flags for reading are of the files; the message names a command that works."""
    np.save(tmp_path / "theirs.npy", mnist[:9])
    np.savez(tmp_path / "two.npz", one=mnist[:20], other=mnist[:20])
    compared = ["evaluate", tmp_path / "theirs.npy", "--dataset"]
    assert run_cli(*compared, tmp_path / "two.npz") == 2
    command = f"dcgan-jax data {tmp_path / 'two.npz'} --image-size 28x28 --out FILE.npz"
    error = one_error_line(capsys)
    assert f"here such flags say how {tmp_path / 'theirs.npy'} is read: prepare the real images with them" in error
    assert f"by {command}, and give that" in error
    argv = command.replace("FILE.npz", str(tmp_path / "FILE.npz")).split()[1:]
    assert run_cli(*argv, "--images", "one", "--no-grid", "--no-time") == 0
    assert run_cli(*compared, tmp_path / "FILE.npz") == 0
    np.save(tmp_path / "signed.npy", mnist[:20] / np.float32(127.5) - 1)
    capsys.readouterr()
    assert run_cli(*compared, tmp_path / "signed.npy") == 0
    assert (
        "signed.npy: [-1, 1] taken as black to white; --range LOW,HIGH says otherwise; here" in capsys.readouterr().err
    )
    np.save(tmp_path / "theirs.npy", np.random.default_rng(0).integers(0, 256, (9, 4, 28, 1), np.uint8))
    assert run_cli(*compared, tmp_path / "FILE.npz", "--layout", "NHWC") == 2
    message = f"those of {tmp_path / 'theirs.npy'}, which are 4x28: draw larger ones, or add --features perceptual"
    assert message in one_error_line(capsys)


def test_files_are_scored_in_their_own_size(tmp_path, capsys):
    """Above 64 pixels too, to which pictures are shrunk where they are trained on."""
    random = np.random.default_rng(0)
    for name in ("real", "fake"):
        np.save(tmp_path / f"{name}.npy", random.integers(0, 256, (12, 72, 90, 3), np.uint8))
    assert run_cli("evaluate", tmp_path / "fake.npy", "--dataset", tmp_path / "real.npy", "--json") == 0
    out, err = capsys.readouterr()
    assert list(json.loads(out)["scores"]["swd"])[0] == "72x90"
    assert "resized" not in err
