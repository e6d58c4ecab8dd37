"""Evaluations in a run, and the commands that evaluate a run and sample from it.

The runs are of the small recipe's networks, which draw images of 28x28: what is scored are images.
"""

import contextlib
import dataclasses
import io
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    FLAGS,
    RECIPE,
    all_files,
    assert_same_bits,
    metric_rows,
    one_error_line,
    run_cli,
    score_by_fewer_digits,
)
from PIL import Image

from dcgan_jax import TrainConfig, evaluate_images, load_run, train
from dcgan_jax.evaluation.classifier import SHA256
from dcgan_jax.evaluation.comparability import Comparability
from dcgan_jax.evaluation.image_files import as_digits, load_images
from dcgan_jax.evaluation.results import Evaluation, Scores
from dcgan_jax.images import image_grid
from dcgan_jax.training import scorer
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.history import figures, read_history
from dcgan_jax.training.metrics_file import truncate_metrics
from dcgan_jax.training.recipe import read_recipe
from dcgan_jax.training.run import create_run


@pytest.fixture(autouse=True, scope="module")
def fewer_digits():
    with pytest.MonkeyPatch.context() as patch:
        score_by_fewer_digits(patch)
        yield


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """The small recipe with a moving average of the generator, as a file."""
    path, end = tmp_path_factory.mktemp("recipe") / "averaged.py", "classes=classes,\n    )\n"
    assert RECIPE.read_text().endswith(end)
    path.write_text(RECIPE.read_text().replace(end, "classes=classes,\n        ema=0.9,\n    )\n"))
    return path


@pytest.fixture(scope="module")
def init(averaged):
    return read_recipe(averaged)


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """A run of eleven steps without an average."""
    run_dir = tmp_path_factory.mktemp("plain") / "run"
    assert run_cli("train", "--recipe", RECIPE, *FLAGS, "--steps", 11, "--workdir", run_dir) == 0
    return run_dir


@pytest.fixture(scope="module")
def evaluated(averaged, tmp_path_factory):
    """Two runs of ten steps with a moving average and evaluations, one of them resumed after seven steps."""
    folder = tmp_path_factory.mktemp("evaluated")
    whole, halves = folder / "whole", folder / "halves"
    flags = ["--sample-every", 5, "--checkpoint-every", 3, "--keep-checkpoints", 1, "--log-every", 3]
    flags += ["--eval-every", 4, "--eval-samples", 129, "--batch-size", 2, "--recipe", averaged]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run_cli("train", "--steps", 10, "--workdir", whole, *flags) == 0
        assert run_cli("train", "--steps", 7, "--workdir", halves, *flags) == 0
        assert run_cli("train", "--steps", 10, "--workdir", halves, "--resume", "--recipe", averaged) == 0
    message = "samples and evaluations use the moving average of the generator"
    assert out.getvalue().count(message) == 3
    return whole, halves


def test_run_keeps_its_best_and_newest_checkpoints(evaluated):
    run_dir, _ = evaluated
    scored = {row["step"]: row for row in metric_rows(run_dir) if "evaluation" in row}
    assert list(scored) == [4, 8]
    assert {row["weights"] for row in scored.values()} == {"average 0.9"}
    best = min(scored, key=lambda step: scored[step]["evaluation"]["scores"]["fid"])
    assert checkpoint_steps(run_dir / "checkpoints") == sorted({10, best}, reverse=True)
    assert [row["step"] for row in metric_rows(run_dir) if "d_loss" in row] == [1, 3, 6, 9]


def test_resumed_run_has_the_same_evaluations(evaluated, init):
    """And the same checkpoints, moving average and samples."""
    whole, halves = evaluated
    assert metric_rows(whole) == metric_rows(halves)
    assert checkpoint_steps(whole / "checkpoints") == checkpoint_steps(halves / "checkpoints")
    assert_same_bits(load_run(whole, init=init).state, load_run(halves, init=init).state)
    for name in ("000005.png", "000010.png"):
        assert (whole / "samples" / name).read_bytes() == (halves / "samples" / name).read_bytes()


def test_commands_use_the_average_if_there_is_one(evaluated, averaged, tmp_path, capsys):
    run_dir, recipe = evaluated[0], ["--recipe", averaged]
    step = checkpoint_steps(run_dir / "checkpoints")[-1]
    (row,) = [row for row in metric_rows(run_dir) if row["step"] == step and "evaluation" in row]
    assert run_cli("evaluate", run_dir, *recipe, "--checkpoint", step, "--samples", 129, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["weights"] == "average 0.9"
    assert result["scores"] == row["evaluation"]["scores"]  # the same noise as in training
    assert run_cli("sample", run_dir, *recipe, "--out", tmp_path / "a.npy") == 0
    assert "average of the weights (decay 0.9)" in capsys.readouterr().out
    assert run_cli("sample", run_dir, *recipe, "--weights", "last", "--out", tmp_path / "b.npy") == 0
    assert "last weights" in capsys.readouterr().out
    assert (np.load(tmp_path / "a.npy") != np.load(tmp_path / "b.npy")).any()


def scored(monkeypatch, fids):
    """Evaluations at the steps that are the keys have these FIDs."""

    def evaluate(state, key, samples):
        scores = Scores(fids[int(state.step)], *[0.0] * 5, dict.fromkeys("0123456789", 0.1), 0.0, [], 0.0, 0.0)
        return Evaluation(samples, scores, scores, SHA256)

    monkeypatch.setattr(scorer, "evaluate", evaluate)


def test_best_checkpoint_is_kept_after_each_stop(init, tmp_path, monkeypatch):
    """Evaluations at steps 3, 6 and 9 score 1, 3 and 2; the run stops at some of them, between them and at the end.

    If it is resumed without evaluations, there are no more of them, and the best one's checkpoint stays.
    """
    scored(monkeypatch, {3: 1.0, 6: 3.0, 9: 2.0})
    config = TrainConfig(
        workdir=str(tmp_path / "run"), checkpoint_every=2, keep_checkpoints=1, eval_every=3, batch_size=2
    )
    for stop in (3, 4, 7, 9, 10):
        train(dataclasses.replace(config, steps=stop), init=init, resume=stop > 3)
        assert checkpoint_steps(tmp_path / "run" / "checkpoints") == sorted({stop, 3}, reverse=True)
    train(dataclasses.replace(config, steps=12, eval_every=None), init=init, resume=True)
    assert checkpoint_steps(tmp_path / "run" / "checkpoints") == [12, 3]
    assert [row["step"] for row in metric_rows(tmp_path / "run") if "evaluation" in row] == [3, 6, 9]


def test_best_checkpoint_of_another_kind_is_kept(init, tmp_path, monkeypatch):
    """Of evaluations of another number of images, whose FID is not comparable."""
    scored(monkeypatch, {2: 1.0, 4: 3.0, 6: 2.0, 8: 4.0})
    config = TrainConfig(
        workdir=str(tmp_path / "run"), checkpoint_every=2, keep_checkpoints=1, eval_every=2, batch_size=2
    )
    train(dataclasses.replace(config, steps=4), init=init)
    train(dataclasses.replace(config, steps=8, eval_samples=config.eval_samples + 1), init=init, resume=True)
    assert checkpoint_steps(tmp_path / "run" / "checkpoints") == [8, 6, 2]


def test_run_stops_at_a_fid(averaged, tmp_path, monkeypatch, capsys):
    scored(monkeypatch, {2: 30.0, 4: 10.0, 6: 8.0})
    run_dir = tmp_path / "run"
    flags = ["--recipe", averaged, "--workdir", run_dir]
    assert run_cli("train", *flags, "--steps", 9, "--eval-every", 2, "--batch-size", 2, "--stop-at-fid", 10) == 0
    assert (
        f"reached --stop-at-fid 10 with FID 10.00: stopped and saved at step 4 in {run_dir}\n"
        in capsys.readouterr().out
    )
    assert checkpoint_steps(run_dir / "checkpoints")[0] == 4
    assert run_cli("train", *flags, "--resume", "--eval-every", "none") == 2
    assert "--stop-at-fid needs evaluations: add --eval-every N" in capsys.readouterr().err
    assert run_cli("train", *flags, "--resume") == 2
    assert "already has FID 10.00: ask for less than --stop-at-fid 10, or for none" in capsys.readouterr().err
    assert run_cli("train", *flags, "--resume", "--stop-at-fid", 9.5) == 0
    assert "FID 8.00" in capsys.readouterr().out
    assert checkpoint_steps(run_dir / "checkpoints")[0] == 6
    assert not (run_dir / "fakes.png").exists()


def test_trend_of_the_evaluations_is_printed(init, tmp_path, monkeypatch, capsys):
    scored(monkeypatch, {1: 30.0, 2: 20.0, 3: 25.0, 4: 21.0, 5: 19.0})
    config = TrainConfig(workdir=str(tmp_path / "run"), eval_every=1, batch_size=2)
    train(dataclasses.replace(config, steps=3), init=init)
    train(dataclasses.replace(config, steps=5), init=init, resume=True)
    ends = [line.split(")")[-1] for line in capsys.readouterr().out.splitlines() if "FID" in line]
    assert ends == [
        "",
        "; the best so far, 30.00 before",
        "; no better for this evaluation than 20.00 at step 2",
        "; no better for 2 evaluations than 20.00 at step 2",
        "; the best so far, 20.00 before",
    ]


def test_rows_edited_by_hand_are_passed_over(evaluated, tmp_path):
    """They neither end a run nor count as its best evaluation."""
    run_dir = shutil.copytree(evaluated[0], tmp_path / "run")
    before = (run_dir / "metrics.jsonl").read_text()
    odd = ['{"step": 4, "evaluation": 7}', '{"step": 4, "evaluation": {"scores": {}}}', "[" * 100_000, '{"step": "x"}']
    text = "\ufeff" + before + "\n".join(odd)
    (run_dir / "metrics.jsonl").write_text(text, encoding="utf-8")
    truncate_metrics(run_dir / "metrics.jsonl", 9)
    assert [step for _, step in figures(read_history(run_dir))[Comparability(SHA256, 129)]] == [4, 8]
    assert Comparability(SHA256, 150) not in figures(read_history(run_dir))  # of another number of images
    assert (run_dir / "metrics.jsonl").read_text().startswith(before)
    (run_dir / "metrics.jsonl").write_text(before.replace(SHA256, "0" * 64))
    assert Comparability(SHA256, 129) not in figures(read_history(run_dir))  # and those in other features
    (run_dir / "metrics.jsonl").write_text(before.replace(f'"features": "{SHA256}", ', ""))
    # Those of a revision that did not name them.
    assert [step for _, step in figures(read_history(run_dir))[Comparability(SHA256, 129)]] == [4, 8]


def test_config_other_than_its_checkpoints(evaluated, averaged, tmp_path, capsys):
    """A config.json that was edited is reported."""
    run_dir = shutil.copytree(evaluated[0], tmp_path / "run")
    text = (run_dir / "config.json").read_text()
    (run_dir / "config.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    assert run_cli("evaluate", run_dir, "--recipe", averaged, "--samples", 129) == 2
    assert "has --seed 0, not 1" in one_error_line(capsys)


def test_failed_evaluation_does_not_end_a_run(init, tmp_path, capsys):
    """The generator starts with a bias so large that every pixel is white, and has no gradient."""
    config = TrainConfig(workdir=str(tmp_path / "run"), steps=2, eval_every=1, eval_samples=129, batch_size=2)
    state, keys = create_state(config, init=init)
    params = dict(state.generator.params)
    params["Dense_1"] = {**params["Dense_1"], "bias": jnp.full(784, 100.0)}
    create_run(config, state.replace(generator=state.generator.replace(params=params)), keys, init=init)
    assert train(config, init=init, resume=True).state.step == 2
    assert "warning: the evaluation at step 1 failed: all images are the same" in capsys.readouterr().out
    assert [row["evaluation"] for row in metric_rows(tmp_path / "run") if "evaluation" in row] == [None, None]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--eval-every", 5, "--stop-at-fid", 9, "--image-size", 16], "images of mnist have no FID without a class"),
        (["--eval-every", 5, "--eval-samples", 100], "--eval-samples must be 129 to 60000, got 100"),
        (["--eval-every", 0], "--eval-every must be between 1 and"),
        (["--ema", 1], "--ema must be a number above 0 and below 1, got 1.0"),
        (["--ema", "nan"], "--ema must be a number above 0 and below 1, got nan"),
        (["--fakes", "eval"], "--fakes must be one of inference, training"),
    ],
)
def test_evaluation_flags_are_checked(flags, message, tmp_path, capsys):
    assert run_cli("train", *flags, "--workdir", tmp_path / "run") == 2
    assert message in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_evaluate_prints_a_table_or_json(plain_run, capsys):
    """And changes nothing in the run directory."""
    run_dir, flags = plain_run, ["--recipe", RECIPE, "--samples", 129]
    before = all_files(run_dir)
    assert run_cli("evaluate", run_dir, *flags) == 0
    out = capsys.readouterr().out
    assert (
        out.splitlines()[0]
        == f"{run_dir} at step 11, last weights: 129 images; floor: as many real ones; features e979495a3cf3"
    )
    assert "FID (lower is better)" in out
    assert run_cli("evaluate", run_dir, *flags, "--checkpoint", 8, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["run"], result["step"], result["weights"], result["samples"]) == (str(run_dir), 8, "last", 129)
    assert set(result["scores"]) == set(result["floor"])
    assert result["scores"]["fid"] > result["floor"]["fid"]
    assert all_files(run_dir) == before


def test_imported_run_is_evaluated(plain_run, tmp_path):
    recipe, out = ["--recipe", RECIPE], tmp_path / "gan.safetensors"
    assert run_cli("export", plain_run, *recipe, "--format", "safetensors", "--out", out) == 0
    assert run_cli("import", out, *recipe, "--workdir", tmp_path / "run", "--batch-size", 2, "--steps", 3) == 0
    assert run_cli("evaluate", tmp_path / "run", *recipe, "--samples", 129, "--json") == 0


def test_evaluate_scores_images_of_any_program(mnist, tmp_path, capsys):
    """An .npy, or a folder of PNGs."""
    np.save(tmp_path / "theirs.npy", mnist[:129])
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(mnist[:129, ..., 0]):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{i:03d}.png")
    expected = evaluate_images(mnist[:129]).to_json()["scores"]
    for source in (tmp_path / "theirs.npy", tmp_path / "pictures"):
        assert run_cli("evaluate", source, "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert result["images"] == str(source)
        assert result["scores"] == expected


def test_flags_for_reading_describe_the_files(mnist, tmp_path, capsys):
    """And not MNIST, which the files are compared with."""
    digits = mnist[:129]
    np.save(tmp_path / "signed.npy", digits / np.float32(127.5) - 1)
    np.save(tmp_path / "hwn.npy", np.moveaxis(digits[..., 0], 0, -1))
    np.savez(tmp_path / "two.npz", gen=digits, other=digits[::-1], kinds=np.arange(129) % 3)
    expected = evaluate_images(digits).to_json()["scores"]
    for name, *flags in (
        ("signed.npy", "--range=-1,1"),
        ("hwn.npy", "--layout", "HWN"),
        ("two.npz", "--images", "gen", "--labels", "kinds", "--data-dir", tmp_path),
    ):
        assert run_cli("evaluate", tmp_path / name, *flags, "--json") == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["scores"] == expected
        assert "kinds" not in err


@pytest.mark.parametrize("layout", ["nhwc", "nchw", "nhw", "flat", "grey rgb", "grey rgb nchw", "floats"])
def test_arrays_of_other_layouts_are_read(layout, mnist, tmp_path):
    images = mnist[:5]
    array = {
        "nhwc": images,
        "nchw": np.moveaxis(images, -1, 1),
        "nhw": images[..., 0],
        "flat": images.reshape(5, 784),
        "grey rgb": images.repeat(3, -1),
        "grey rgb nchw": np.moveaxis(images.repeat(3, -1), -1, 1),
        "floats": images / np.float32(255),
    }[layout]
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "only.npz", digits=array)
    np.savez_compressed(tmp_path / "named.npz", labels=np.arange(5), images=array)
    for name in ("a.npy", "only.npz", "named.npz"):
        read = as_digits(load_images(tmp_path / name), name)
        assert read.dtype == np.uint8
        assert (read == images).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_png_of_any_mode_is_read_if_grey(mode, mnist, tmp_path):
    for i, image in enumerate(mnist[:3, ..., 0]):
        Image.fromarray(image).convert(mode).save(tmp_path / f"{i}.PNG")
    (tmp_path / "._0.png").write_bytes(b"what macOS leaves")
    (tmp_path / "notes.txt").write_text("mine")
    assert (as_digits(load_images(tmp_path), tmp_path) == mnist[:3]).all()


def test_png_of_16_bits_is_read(mnist, tmp_path):
    for i, image in enumerate(mnist[:3, ..., 0]):
        Image.fromarray(image * np.uint16(257)).save(tmp_path / f"{i}.png")
    assert (as_digits(load_images(tmp_path), tmp_path) == mnist[:3]).all()


def test_pictures_are_in_the_order_of_names(mnist, tmp_path):
    for i in (2, 0, 1):
        Image.fromarray(mnist[i, ..., 0]).save(tmp_path / f"{i}.png")
    assert (as_digits(load_images(tmp_path), tmp_path) == mnist[:3]).all()


def test_digits_are_not_altered(mnist, tmp_path, capsys):
    """Not even one among many."""
    digits = [Image.fromarray(image) for image in mnist[:20, ..., 0]]
    clear = digits[0].convert("RGBA")
    clear.putpixel((5, 5), (255, 255, 255, 254))
    for name, odd, message in (
        ("size", Image.new("L", (32, 32)), "1 of 21 pictures resized to 28x28"),
        ("clear", clear, "transparent pixels made white in 1 of 21 pictures"),
        ("broken", None, "left out 1 picture that cannot be read"),
    ):
        (tmp_path / name).mkdir()
        for i, digit in enumerate(digits):
            digit.save(tmp_path / name / f"{i}.png")
        odd.save(tmp_path / name / "odd.png") if odd else (tmp_path / name / "odd.png").write_bytes(b"broken")
        for _ in range(2):  # the second time from the cache
            assert run_cli("evaluate", tmp_path / name) == 2
            assert f"is not scored as it is: {message}" in one_error_line(capsys)


def test_images_that_cannot_be_scored_are_named(mnist, tmp_path, capsys):
    """What is wrong with them, and what to do."""
    (tmp_path / "empty").mkdir()
    for name, picture in {
        "grid": Image.fromarray(image_grid(mnist[:16])[..., 0]),
        "large": Image.new("L", (32, 32)),
        "deep": Image.new("I;16", (28, 28)),
        "colour": Image.fromarray((mnist[:1] * np.array([1, 0, 0], np.uint8))[0]),
        "clear": Image.new("RGBA", (28, 28)),
    }.items():
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "a.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes((tmp_path / "large" / "a.png").read_bytes()[:20])
    (tmp_path / "weights.pt").write_text("torch's")
    (tmp_path / "text.npz").write_text("no array")
    np.save(tmp_path / "hwn.npy", np.moveaxis(mnist[:200, ..., 0], 0, -1))
    np.save(tmp_path / "colour.npy", (mnist[:200] * np.array([1, 0, 0], np.uint8)))
    np.savez(tmp_path / "two.npz", a=mnist[:2], b=mnist[:2])
    np.savez(tmp_path / "objects.npz", np.array([{}, None]))
    np.savez(tmp_path / "none.npz")
    for name, message in {
        "empty": f"{tmp_path / 'empty'} is not a run directory, and there are no pictures in",
        "grid": "holds pictures that are grids of images: draw them into an .npy, by sample with --out FILE.npy",
        "grid/a.png": "a.png is a grid of images: draw them into an .npy",
        "large": "images of digits must be 28x28, ",
        "large/a.png": "a.png is a single picture: give the folder",
        "deep": "at least 129 images are needed",
        "colour": "are coloured, and digits are grey: --dataset says",
        "clear": "transparent pixels made white in 1 of 1 pictures",
        "broken": "1 of the 1 pictures in",
        "weights.pt": "is of no kind that is known, or is damaged: choose from",
        "text.npz": "is no file of NumPy's, or is damaged",
        "absent.npz": "there is no file or folder",
        "hwn.npy": "save array.transpose(2, 0, 1), or add --layout HWN",
        "colour.npy": "are coloured, and digits are grey: --dataset says",
        "two.npz": "holds the arrays a, b: name the images images or x_train or train_images or samples or x or arr_0",
        "objects.npz": "holds Python objects",
        "none.npz": "holds the arrays none",
    }.items():
        assert run_cli("evaluate", tmp_path / name) == 2
        assert message in one_error_line(capsys)


def test_evaluate_reports_errors_in_one_line(plain_run, tmp_path, capsys):
    run_dir = plain_run
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "objects.npy", np.array([{}, None]))
    for argv, message in [
        ([tmp_path / "nowhere"], "nowhere: it does not exist"),
        ([tmp_path / "empty"], "is not a run directory, and there are no pictures in"),
        (["a" * 300], "File name too long"),
        ([run_dir, "--checkpoint", 7], "has no checkpoint 7 to read: it has"),
        ([run_dir, "--samples", 128], "--samples must be 129 to 60000, got 128"),
        ([run_dir, "--samples", "many"], "invalid int value: 'many'"),
        ([run_dir, "--weights", "average"], "keeps no average: small_recipe.py:init has none"),
        ([tmp_path / "none.npy"], "there is no file or folder"),
        ([tmp_path / "text.npy"], "is no file of NumPy's, or is damaged"),
        ([tmp_path / "objects.npy"], "holds Python objects"),
        ([tmp_path / "text.npy", "--samples", 200], "--samples is for runs"),
        (["caf\udce9.npy"], "file names must be printable text, got 'caf\\udce9.npy'"),
    ]:
        recipe = ["--recipe", RECIPE] if argv[0] == run_dir else []
        assert run_cli("evaluate", *argv, *recipe) == 2
        assert message in one_error_line(capsys)


def test_sample_writes_a_png_or_an_npy(plain_run, tmp_path, capsys):
    command = ["sample", plain_run, "--recipe", RECIPE]
    assert run_cli(*command, "--samples", 5, "--out", tmp_path / "five.npy") == 0
    assert "5 images" in capsys.readouterr().out
    images = np.load(tmp_path / "five.npy")
    assert (images.shape, images.dtype) == ((5, 28, 28, 1), np.uint8)
    assert run_cli(*command, "--samples", 5, "--seed", 1, "--out", tmp_path / "other.npy") == 0
    assert (np.load(tmp_path / "other.npy") != images).any()
    assert run_cli(*command, "--out", tmp_path / "grid.png") == 0
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    for flags in (
        ["--out", tmp_path / "five.npy"],
        ["--out", "x.jpg"],
        ["--samples", 0],
        ["--seed", -1],
        ["--out", "\udce9.png"],
        ["--out", tmp_path],
    ):
        capsys.readouterr()
        assert run_cli(*command, *flags) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (np.load(tmp_path / "five.npy") == images).all()


def test_npz_that_expands_to_too_much_is_refused(tmp_path, monkeypatch, capsys):
    """Before NumPy allocates it."""
    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((2000, 28, 28), np.uint8))
    monkeypatch.setattr("dcgan_jax.data.fitting.free_memory", lambda: 1_000_000)
    monkeypatch.setattr("numpy.lib.format.read_array", lambda *_, **__: pytest.fail("an array was read"))
    assert run_cli("evaluate", tmp_path / "bomb.npz") == 2
    assert "bomb.npz take 0.0 GiB of memory" in one_error_line(capsys)


def test_too_many_images_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dcgan_jax.evaluation.images.MAX_SAMPLES", 150)
    np.save(tmp_path / "many.npy", np.arange(151 * 784, dtype=np.uint8).reshape(-1, 28, 28))
    assert run_cli("evaluate", tmp_path / "many.npy") == 2
    assert "at most 150 images can be scored, got 151" in one_error_line(capsys)


@pytest.mark.parametrize("command", [["sample"], ["export", "--format", "safetensors"]])
def test_directory_of_out_is_checked_first(command, tmp_path, monkeypatch, capsys):
    """Before the run is read: there is none."""
    suffix = ".png" if command == ["sample"] else ".safetensors"
    (tmp_path / "file").write_text("mine")
    (tmp_path / ("link" + suffix)).symlink_to("nowhere")
    for out, message in (
        (f"nodir/x{suffix}", f"the directory {tmp_path / 'nodir'} of --out does not exist: create it"),
        (f"file/x{suffix}", f"the directory {tmp_path / 'file'} of --out is not a directory"),
        (f"link{suffix}", f"{tmp_path / 'link'}{suffix} already exists: choose another --out"),
    ):
        assert run_cli(*command, "absent", "--out", tmp_path / out) == 2
        assert message in one_error_line(capsys)
    monkeypatch.setattr("os.access", lambda *_: False)  # this may be root, who writes everywhere
    assert run_cli(*command, "absent", "--out", tmp_path / f"x{suffix}") == 2
    assert f"cannot write in the directory {tmp_path} of --out" in one_error_line(capsys)
