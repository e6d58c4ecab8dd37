"""The commands that draw pictures of a run: seeds, ways between them, animations and curves.

The run on MNIST is of the small recipe's networks. That on pictures is of the tutorial's layers with an eighth of their
widths: the way from class to class needs the package's generator. tests/test_pretrained.py draws with the tutorial's.
"""

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
from helpers import FLAGS, RECIPE, all_files, one_error_line, run_cli, run_program, score_by_fewer_digits
from PIL import Image

from dcgan_jax import TrainConfig, load_data, load_run
from dcgan_jax.evaluation.nearest import nearest_images
from dcgan_jax.images import save_grid
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.run import create_run
from dcgan_jax.training.setup import prepare_run

RANDOM = np.random.default_rng(0)
OWN = ["--recipe", RECIPE]


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """A conditional run on pictures of 12x8 pixels and three classes, untrained."""
    folder = tmp_path_factory.mktemp("coloured")
    for name in ("cats", "dogs", "새"):
        (folder / "pictures" / name).mkdir(parents=True)
        for i in range(4):
            pixels = RANDOM.integers(0, 256, (8, 12, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{i}.png")
    run_dir = folder / "내 run"
    flags = {"dataset": str(folder / "pictures"), "conditional": True, "batch_size": 4, "workdir": str(run_dir)}
    config, record, *_ = prepare_run(TrainConfig(**flags, width=8), run_dir, resume=False)
    state, keys = create_state(config, record)
    # As trained for a while: the images are neither grey nor all the same.
    params = dict(state.generator.params)
    params["conv_4"] = {**params["conv_4"], "kernel": 300 * params["conv_4"]["kernel"]}
    return create_run(config, state.replace(generator=state.generator.replace(params=params)), keys)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A run of eleven steps on MNIST."""
    run_dir = tmp_path_factory.mktemp("digits") / "run"
    assert run_cli("train", *OWN, *FLAGS, "--steps", 11, "--workdir", run_dir) == 0
    return run_dir


@pytest.fixture
def draw(coloured, tmp_path):
    """Draw into an .npy with these flags, and read it."""

    def drawn(*flags, run_dir=coloured):
        out = tmp_path / "drawn.npy"
        recipe = [] if run_dir == coloured else OWN
        assert run_cli("sample", *recipe, run_dir, "--out", out, *flags) == 0
        images = np.load(out)
        out.unlink()
        return images

    return drawn


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_seed_draws_its_image_of_a_grid_again(digits_run, draw):
    """To the byte, in any order; the default is the seeds from 0 on."""
    run_dir = digits_run
    whole = draw(run_dir=run_dir)
    assert len(whole) == 16
    np.testing.assert_array_equal(draw("--seeds", "7", run_dir=run_dir), whole[[7]])
    np.testing.assert_array_equal(draw("--seeds", "9, 2-4,15", run_dir=run_dir), whole[[9, 2, 3, 4, 15]])
    np.testing.assert_array_equal(draw("--seed", 12, "--samples", 3, run_dir=run_dir), whole[12:15])
    assert (whole[0] != whole[1]).any()


def test_run_is_drawn_in_another_dtype(coloured, draw):
    """Other bits, and within the roundings of five layers the same images: each is of 2^-8 of its values."""
    own, narrow = (draw("--samples", 3, *flags, "--classes", "cats") for flags in ((), ("--dtype", "bfloat16")))
    np.testing.assert_array_equal(own, draw("--samples", 3, "--dtype", "float32", "--classes", "cats"))
    assert (own != narrow).any()
    assert np.abs(own.astype(float) - narrow).mean() < 5 * 2**-8 * 255


def test_seed_draws_its_image_of_each_class_again(draw):
    """A row of the same seeds for each class; without classes, the one that the seed draws."""
    assert draw("--seeds", "0-4").shape == (5, 8, 12, 3)
    rows = draw("--grid", "--samples", 5).reshape(3, 5, 8, 12, 3)
    assert (rows[0] != rows[1]).any()
    np.testing.assert_array_equal(
        draw("--classes", "새,dogs", "--seeds", "3,1"), rows[[2, 1]][:, [3, 1]].reshape(-1, 8, 12, 3)
    )
    for seed, image in enumerate(draw("--seeds", "0-4")):
        assert any((image == row[seed]).all() for row in rows)


@pytest.mark.parametrize("classes", [(), ("--classes", "2,cats")])
def test_directory_holds_a_picture_of_each_seed(classes, coloured, draw, tmp_path, capsys):
    out = tmp_path / "새 pictures"
    flags = ("--seeds", "17,3,1000000", *classes)
    assert run_cli("sample", coloured, "--out", out, *flags) == 0
    assert f"images of {coloured} at step 0, last weights, in {out}" in capsys.readouterr().out
    seeds = ["000017", "000003", "1000000"]
    names = [f"{row}-{seed}.png" for row in (2, 0) for seed in seeds] if classes else [f"{seed}.png" for seed in seeds]
    assert {path.name for path in out.iterdir()} == set(names)
    np.testing.assert_array_equal([read(out / name) for name in names], draw(*flags))


def test_directory_is_read_by_evaluate(digits_run, tmp_path, monkeypatch, capsys):
    """As the same images in an .npy."""
    score_by_fewer_digits(monkeypatch)
    scores = []
    for out in ("folder", "images.npy"):
        assert run_cli("sample", *OWN, digits_run, "--samples", 129, "--out", tmp_path / out) == 0
        capsys.readouterr()
        assert run_cli("evaluate", tmp_path / out, "--json") == 0
        scores.append(json.loads(capsys.readouterr().out)["scores"])
    assert scores[0] == scores[1]


def test_directory_may_be_empty(digits_run, tmp_path, monkeypatch, capsys):
    """Not if it holds anything, nor if it is the current one, which would be replaced."""
    out = tmp_path / "v1.5"
    out.mkdir()
    monkeypatch.chdir(out)
    assert run_cli("sample", *OWN, digits_run, "--samples", 2, "--out", ".") == 2
    assert "would be replaced: name a new one in it" in one_error_line(capsys)
    monkeypatch.chdir(tmp_path)
    assert run_cli("sample", *OWN, digits_run, "--samples", 2, "--out", "v1.5") == 0
    before = all_files(tmp_path)
    assert set(before) == {"v1.5/000000.png", "v1.5/000001.png"}
    capsys.readouterr()
    assert run_cli("sample", *OWN, digits_run, "--out", "v1.5") == 2
    assert "v1.5" in one_error_line(capsys)
    assert all_files(tmp_path) == before


def test_interrupted_directory_is_not_there(digits_run, tmp_path, monkeypatch, capsys):
    """And what a killed command left is named before anything is drawn."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", interrupt)
        assert run_cli("sample", *OWN, digits_run, "--out", tmp_path / "new") == 130
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new.partial").mkdir()
    capsys.readouterr()
    assert run_cli("sample", "absent", "--out", tmp_path / "new") == 2
    assert "new.partial exists: another command writes it, or one that was killed left it" in one_error_line(capsys)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("sample a --no-labels --out new", "--no-labels is for a .png, got --out new"),
        ("sample a --nearest --out new.npy", "--nearest is for a .png, got --out new.npy"),
        ("interpolate a --fps 9", "--fps is for a .gif or .webp or .mp4, got --out interpolation.png"),
        ("export a --format hub --network generator", "--network is of one network, and --format hub has both"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(argv, message, tmp_path, monkeypatch, capsys):
    """Before a run is looked for."""
    monkeypatch.chdir(tmp_path)
    assert run_cli(*argv.split()) == 2
    assert message in one_error_line(capsys)


def test_grid_has_labels_unless_they_are_not_wanted(coloured, draw, tmp_path):
    for name, flags in {"with": [], "without": ["--no-labels"]}.items():
        assert run_cli("sample", coloured, "--grid", "--samples", 4, *flags, "--out", tmp_path / f"{name}.png") == 0
    labelled, bare = read(tmp_path / "with.png"), read(tmp_path / "without.png")
    assert bare.shape == (3 * 40 + 8, 4 * 56 + 8, 3)
    assert labelled.shape[0] > bare.shape[0] and labelled.shape[1] > bare.shape[1]
    np.testing.assert_array_equal(labelled[-120:, -224:], bare[-120:, -224:])
    np.testing.assert_array_equal(bare[8:][:32:4, 8:][:, :48:4], draw("--classes", "0", "--seeds", "0")[0])


def test_nearest_training_images_stand_below(coloured, draw, tmp_path, capsys):
    """In rows of their own, the nearest of all by brute force; the last row of three images is filled with white."""
    config = load_run(coloured).config
    train = load_data(config.dataset).images.astype(float)
    drawn = draw("--samples", 3)
    out = tmp_path / "grid.png"
    assert run_cli("sample", coloured, "--samples", 3, "--nearest", "--no-labels", "--out", out) == 0
    pixels = read(out)[::4, ::4]  # each pixel is four by four, and two of white are around images
    h, w = drawn.shape[1:3]
    cells = [[pixels[2 + i * (h + 2) :, 2 + j * (w + 2) :][:h, :w] for j in range(2)] for i in range(4)]
    expected = [train[np.square(train - image).sum((1, 2, 3)).argmin()] for image in drawn.astype(float)]
    np.testing.assert_array_equal([*cells[0], cells[2][0]], drawn)
    np.testing.assert_array_equal([*cells[1], cells[3][0]], expected)
    assert (cells[2][1] == 255).all()
    assert (cells[3][1] == 255).all()
    assert run_cli("sample", coloured, "--samples", 3, "--nearest", "--out", tmp_path / "labelled.png") == 0
    assert read(tmp_path / "labelled.png").shape > read(out).shape
    capsys.readouterr()
    assert run_cli("sample", coloured, "--nearest", "--out", tmp_path / "a.npy") == 2
    assert "--nearest is for a .png" in one_error_line(capsys)


def test_copies_are_nearest_to_what_they_copy():
    train = RANDOM.integers(0, 256, (3000, 8, 12, 3), np.uint8)
    numbers, distances = nearest_images(train[[7, 2999, 7]], train)
    assert (numbers.tolist(), distances.tolist()) == ([7, 2999, 7], [0, 0, 0])
    darker = train[[5]] // 2
    numbers, distances = nearest_images(darker, train)
    all_distances = np.sqrt(np.square((train - darker.astype(float)) / 255).sum((1, 2, 3)))
    assert numbers[0] == all_distances.argmin()
    np.testing.assert_allclose(distances, all_distances.min(), rtol=1e-5)


def test_grid_that_nothing_opens_is_refused(digits_run, tmp_path, capsys):
    """Before anything is drawn."""
    assert run_cli("sample", *OWN, digits_run, "--samples", 20_000, "--out", tmp_path / "a.png") == 2
    assert "a grid of 20,000 images of 28x28 has 288 million pixels" in one_error_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [(), ("--classes", "dogs"), ("--classes", "0,2,0")])
def test_interpolation_ends_in_its_seeds(classes, coloured, draw, tmp_path):
    """To the byte: a row from each seed to the next."""
    out = tmp_path / "a.png"
    flags = ("--seeds", "3,9,4", *classes)
    assert run_cli("interpolate", coloured, *flags, "--frames", 5, "--no-labels", "--out", out) == 0
    grid = read(out)
    tiles = [[grid[8 + r * 40 :][:32:4, 8 + c * 56 :][:, :48:4] for c in range(5)] for r in range(2)]
    chosen = [0, 2, 0] if "0,2,0" in classes else [1, 1, 1]
    for i, (seed, class_) in enumerate(zip((3, 9, 4), chosen, strict=True)):
        (expected,) = draw("--seeds", seed, *(("--classes", class_) if classes else ()))
        for row, column in ((i, 0), (i - 1, 4)):
            if 0 <= row < 2:
                np.testing.assert_array_equal(tiles[row][column], expected)
    assert (tiles[0][1] != tiles[0][0]).any()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_interpolation_is_an_animation(suffix, coloured, tmp_path, capsys):
    """Each seed once: two ways of four images have seven."""
    out = tmp_path / f"a{suffix}"
    assert run_cli("interpolate", coloured, "--seeds", "3,9,4", "--frames", 4, "--straight", "--out", out) == 0
    assert f"seeds 3,9,4 of {coloured} at step 0" in capsys.readouterr().out
    with Image.open(out) as animation:
        assert animation.n_frames >= 7
        assert min(animation.size) >= 256


def test_interpolation_needs_a_class_for_each_seed(coloured, digits_run, tmp_path, capsys):
    out = ["--seeds", "0-2", "--out", tmp_path / "a.png"]
    for run, classes, message in (
        ([coloured], "0,1", "--classes must be one class, or one for each of the 3 seeds, got 2"),
        ([coloured], "birds", "there is no class 'birds': choose from cats, dogs, 새"),
        ([digits_run, *OWN], "1", "draws no classes"),
    ):
        assert run_cli("interpolate", *run, *out, "--classes", classes) == 2
        assert message in one_error_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_animation_shows_the_samples_by_step(digits_run, tmp_path, capsys):
    run_dir = digits_run
    before = all_files(run_dir)
    assert run_cli("animate", run_dir, "--fps", 10, "--no-labels", "--out", tmp_path / "a.gif") == 0
    assert f"6 pictures of {run_dir}, steps 0 to 10, in {tmp_path / 'a.gif'}" in capsys.readouterr().out
    with Image.open(tmp_path / "a.gif") as animation:
        for i, step in enumerate((0, 1, 2, 4, 5, 10)):
            animation.seek(i)
            shown = np.asarray(animation.convert("L"))
            np.testing.assert_array_equal(shown, read(run_dir / "samples" / f"{step:06d}.png"))
    assert run_cli("animate", run_dir, "--out", tmp_path / "b.webp") == 0
    with Image.open(tmp_path / "b.webp") as animation:
        assert animation.height > 488  # the step is above the samples
    assert all_files(run_dir) == before


@pytest.fixture
def sampled(digits_run, tmp_path):
    """The files of a run that need no networks."""
    run_dir = tmp_path / "run"
    shutil.copytree(digits_run, run_dir, ignore=shutil.ignore_patterns("checkpoints"))
    return run_dir


def test_samples_that_do_not_fit_are_left_out(sampled, tmp_path, capsys):
    """A picture that is being written, one of another shape, and files of other names."""
    samples = sampled / "samples"
    (samples / "000010.png").write_bytes((samples / "000005.png").read_bytes()[:900])
    save_grid(samples / "000011.png", np.zeros((1, 8, 8, 1)))
    (samples / "mine.png").write_bytes(b"")
    (samples / "000012.png.partial").write_bytes(b"")
    assert run_cli("animate", sampled, "--out", tmp_path / "a.gif") == 0
    out, err = capsys.readouterr()
    assert "5 pictures of" in out
    assert err.count("\n") == 1
    assert f"warning: left out 2 of the samples: cannot read {samples / '000010.png'}" in err


def test_run_without_samples_has_no_animation(sampled, tmp_path, capsys):
    shutil.rmtree(sampled / "samples")
    assert run_cli("animate", sampled, "--out", tmp_path / "a.gif") == 2
    assert "there are no samples in" in one_error_line(capsys)
    assert not (tmp_path / "a.gif").exists()


def test_plot_draws_runs_over_one_another(sampled, coloured, tmp_path, capsys):
    """One is being written: its last row is half there. One has no rows yet."""
    with (sampled / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "d_lo')
    out = tmp_path / "a.png"
    assert run_cli("plot", sampled, coloured, "--out", out) == 0
    printed = capsys.readouterr()
    assert printed.out == f"curves of {sampled}, in {out}\n"
    assert printed.err == f"warning: left out {coloured}: it has no rows yet\n"
    assert read(out).shape[1] > 500
    assert run_cli("plot", coloured, "--out", tmp_path / "b.svg") == 2
    assert "there are no rows in" in one_error_line(capsys)
    assert run_cli("plot", sampled, "--out", out) == 2
    assert "already exists" in one_error_line(capsys)


def test_plot_keeps_other_fids_apart(sampled, coloured, tmp_path):
    """FIDs of 500 images of MNIST, and of 1,000 of others in other features, are in axes of their own, which say so."""
    for run_dir, features, samples in ((sampled, {}, 500), (coloured, {"features": "abc123"}, 1000)):
        evaluation = {"samples": samples, **features, "scores": {"fid": 9.0}, "floor": {"fid": 1.0}}
        row = {"step": 7, "weights": "last", "evaluation": evaluation}
        (run_dir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert run_cli("plot", sampled, coloured, "--out", tmp_path / "a.svg") == 0
    text = (tmp_path / "a.svg").read_text()
    assert text.count("FID (lower is better)") == 2
    assert "of 500 images, of mnist, 28x28 grey<" in text
    assert "of 1,000 images in the features abc123, of" in text  # and a path, in as many lines as it takes


def test_plot_without_matplotlib_is_one_line(sampled, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run_cli("plot", sampled, "--out", tmp_path / "a.png") == 2
    assert "pip install 'dcgan-jax[plot]'" in one_error_line(capsys)


def test_torch_fidelity_reads_the_directory(coloured, draw, tmp_path):
    """It is given the pixels of each picture once."""
    if importlib.util.find_spec("torch_fidelity") is None:
        pytest.skip("torch-fidelity is not installed: it comes with the extra bench, which needs PyTorch")
    for name, flags in {"one": ["--seeds", "0-7"], "two": ["--seeds", "8-15"]}.items():
        assert run_cli("sample", coloured, "--out", tmp_path / name, *flags) == 0
    seen = tmp_path / "seen.npy"
    distance = run_program("torch_fidelity_scores.py", tmp_path / "one", tmp_path / "two", seen)
    assert float(distance.splitlines()[-1]) > 0
    np.testing.assert_array_equal(np.load(seen), draw("--seeds", "0-15"))


def test_default_out_is_a_new_file_each_time(digits_run, tmp_path, monkeypatch, capsys):
    """A picture that is there stays, whatever drew it."""
    monkeypatch.chdir(tmp_path)
    commands = [
        (["sample", *OWN, digits_run], "samples.png", "samples-2.png"),
        (["interpolate", *OWN, digits_run], "interpolation.png", "interpolation-2.png"),
        (["animate", digits_run], "samples.gif", "samples-2.gif"),
        (["plot", digits_run], "curves.png", "curves-2.png"),
        (["export", *OWN, digits_run, "--format", "safetensors"], "gan.safetensors", "gan-2.safetensors"),
    ]
    for command, first, second in commands:
        (tmp_path / first).write_text("mine")
        assert run_cli(*command) == 0
        assert f"in {second}" in capsys.readouterr().out
        assert (tmp_path / first).read_text() == "mine"


@pytest.mark.parametrize("command", ["animate", "plot", "report"])
def test_pretrained_weights_have_no_history(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli(command, "mnist") == 2
    assert "mnist names pretrained weights, which have no curves" in one_error_line(capsys)
    assert not any(tmp_path.iterdir())
