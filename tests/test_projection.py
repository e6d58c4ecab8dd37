"""`project`: the noise of a picture is found, by the library and by the command."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RECIPE, all_files, assert_same_bits, one_error_line, run_cli
from PIL import Image
from programs.small_recipe import SmallDiscriminator, SmallGenerator

from dcgan_jax import TrainConfig, generate, init_state, project
from dcgan_jax.images import as_bytes
from dcgan_jax.projection import MAX_STARTS
from dcgan_jax.sampling import generate_singly, sample_noise, sample_seeds
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.run import create_run, load_run
from dcgan_jax.training.setup import prepare_run

KEY = jax.random.key(4)
ROUNDING = 1 / math.sqrt(12)  # levels: root mean square of what rounding to bytes changes
QUICK = ["--starts", 2, "--steps", 30]


def by_class(key, classes=3):
    modules = {"generator": SmallGenerator(classes=classes), "discriminator": SmallDiscriminator(classes=classes)}
    return init_state(key, **modules, latent_size=5, classes=classes)


@pytest.fixture(scope="module")
def own(small_state):
    """Three images of the small generator."""
    return jnp.asarray(generate_singly(small_state, *sample_seeds(small_state, np.arange(3))))


def squares(a, b):
    return np.square(np.asarray(a) - np.asarray(b)).mean((1, 2, 3))


def test_own_images_are_found_again(small_state, own):
    """Nearer than bytes are: what is found is the image itself, drawn by the noise that is returned."""
    found = project(small_state, own, KEY)
    assert found.labels is None
    assert (np.asarray(found.distances) < ROUNDING).all()
    np.testing.assert_allclose(found.images, generate(small_state, found.noise), atol=1e-6)
    np.testing.assert_allclose(found.distances, 255 * np.sqrt(squares(found.images, own)), rtol=1e-4)


def test_bytes_are_found_as_floats_are(small_state, own):
    """To roundings of float32: they are two programs."""
    pixels = as_bytes(own)
    ours, floats = (project(small_state, each, KEY, starts=2, steps=3) for each in (pixels, pixels / np.float32(255)))
    np.testing.assert_allclose(ours.images, floats.images, atol=1e-4)


def test_same_key_finds_the_same_bits(small_state, own):
    keys = (KEY, KEY, jax.random.key(5))
    first, again, other = (project(small_state, own, key, starts=2, steps=3) for key in keys)
    assert_same_bits(first, again)
    assert (first.noise != other.noise).any()


def test_result_is_no_worse_than_any_start(small_state):
    """Of 400 random ones, by what falls: pixels, and of normal noise its density. No noise draws white."""
    white = jnp.ones((1, 8, 8, 1))
    for noise, weight in ((small_state.noise, 0), (jax.random.normal, (4 / 255) ** 2 / 64)):
        state = small_state.replace(noise=noise)
        drawn = sample_noise(state, jax.random.fold_in(KEY, 2), MAX_STARTS)
        best = (squares(generate(state, drawn), white) + weight * np.square(drawn).sum(-1)).min()
        found = project(state, white, KEY, starts=4, steps=20)
        ours = squares(found.images, white) + weight * np.square(found.noise).sum(-1)
        assert ours[0] < best


def test_noise_stays_where_the_state_draws_it(small_state):
    """Also for the image of noise of twice its greatest number, to which the gradient leads outwards."""
    ranges = {small_state.noise: (-1, 1), lambda key, shape: jax.random.uniform(key, shape, minval=3, maxval=4): (3, 4)}
    for noise, (low, high) in ranges.items():
        beyond = generate(small_state, jnp.full((1, 5), 2.0 * high))
        found = np.asarray(project(small_state.replace(noise=noise), beyond, KEY, steps=100).noise)
        assert low <= found.min() <= found.max() <= high
        assert np.isclose(found, high, atol=0.02).any()


def test_class_is_found_or_given():
    state = by_class(jax.random.key(1))
    labels = jnp.array([2, 0, 1])
    own = generate(state, sample_noise(state, jax.random.key(2), 3), labels)
    found = project(state, own, KEY, labels)
    np.testing.assert_array_equal(found.labels, labels)
    assert (np.asarray(found.distances) < ROUNDING).all()
    best = project(state, own, KEY)
    assert (np.asarray(best.distances) < ROUNDING).all()
    np.testing.assert_allclose(best.images, generate(state, best.noise, best.labels), atol=1e-6)


def test_projection_composes(small_state, own):
    """Within a caller's own jit."""
    inside = jax.jit(lambda state, images: project(state, images, KEY, starts=2, steps=3).distances)(small_state, own)
    np.testing.assert_allclose(inside, project(small_state, own, KEY, starts=2, steps=3).distances, rtol=1e-3)


def test_settings_from_outside_change_no_bit(small_state, own):
    expected = project(small_state, own, KEY, starts=2, steps=3)
    with jax.threefry_partitionable(False), jax.numpy_rank_promotion("raise"):
        assert_same_bits(project(small_state, own, KEY, starts=2, steps=3), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((1, 8, 9, 1), np.uint8)}, r"images must be \[N, 8, 8, 1\] with N at least 1, got \[1, 8"),
        ({"images": np.zeros((0, 8, 8, 1), np.uint8)}, "with N at least 1"),
        ({"images": np.zeros((1, 8, 8, 1), np.int32)}, r"uint8 or floating point in \[0, 1\], got int32"),
        ({"labels": np.zeros(1, np.int32)}, "labels need a state with classes"),
        ({"images": [[[[0.0]]]]}, r"images must be an array \[N, 8, 8, 1\], got list"),
        ({"starts": 0}, "starts must be an integer from 1 to 400, got 0"),
        ({"starts": 401}, "starts must be an integer from 1 to 400, got 401"),
        ({"starts": 1.5}, "starts must be an integer from 1 to 400, got 1.5"),
        ({"steps": -1}, "steps must be an integer of at least 0, got -1"),
        ({"steps": 1.5}, "steps must be an integer of at least 0, got 1.5"),
        ({"steps": None}, "steps must be an integer of at least 0, got None"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_wrong_arguments_are_named(change, message, small_state):
    with pytest.raises((ValueError, TypeError), match=message):
        project(small_state, **{"images": np.zeros((1, 8, 8, 1), np.uint8), "key": KEY, **change})


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """An untrained run by class on MNIST, of a thirty-second of the widths, whose images are not all the same."""
    run_dir = tmp_path_factory.mktemp("narrow") / "run"
    config = TrainConfig(conditional=True, batch_size=4, workdir=str(run_dir), width=2)
    config, record, *_ = prepare_run(config, run_dir, resume=False)
    state, keys = create_state(config, record)
    params = dict(state.generator.params)
    params["conv_4"] = {**params["conv_4"], "kernel": 300 * params["conv_4"]["kernel"]}
    return create_run(config, state.replace(generator=state.generator.replace(params=params)), keys)


@pytest.fixture
def pictures(run_dir, tmp_path, monkeypatch):
    """The working directory, with two pictures that the run has drawn, of the classes 3 and 5."""
    monkeypatch.chdir(tmp_path)
    assert run_cli("sample", run_dir, "--classes", "3,5", "--seeds", 17, "--out", "drawn") == 0
    (tmp_path / "drawn" / "3-000017.png").rename("three.png")
    (tmp_path / "drawn" / "5-000017.png").rename("five.png")
    (tmp_path / "drawn").rmdir()
    return tmp_path


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def cells(grid, rows, columns):
    """The images of a grid without labels, uint8 [rows, columns, 28, 28]."""
    small = grid[::4, ::4]
    return np.array([[small[2 + 30 * i :, 2 + 30 * j :][:28, :28] for j in range(columns)] for i in range(rows)])


def test_command_writes_the_pair_and_its_noise(run_dir, pictures, capsys):
    """The noise draws what stands beside the picture; each time, the same bytes into a new file."""
    argv = ["project", run_dir, "three.png", "--class", 3, "--no-labels", *QUICK]
    capsys.readouterr()
    assert run_cli(*argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"three\.png: [\d.]+ of 255 levels from what is drawn, class 3", lines[0])
    assert lines[1].startswith("floor: ")
    assert lines[2] == f"drawn by {run_dir} at step 0, last weights, in projection.png, the noise in projection.npy"
    noise = np.load("projection.npy")
    assert (noise.shape, noise.dtype) == ((1, 100), np.float32)
    pair = cells(read("projection.png"), 1, 2)[0]
    np.testing.assert_array_equal(pair[0], read("three.png"))
    drawn = as_bytes(generate_singly(load_run(run_dir).state, noise, np.array([3])))[0, ..., 0]
    assert np.abs(pair[1].astype(int) - drawn).max() <= 1  # by another program, rounded to bytes
    before = all_files(pictures)
    assert run_cli(*argv) == 0
    after = all_files(pictures)
    assert after.items() >= before.items()
    for suffix in ("npy", "png"):
        assert after[f"projection-2.{suffix}"] == before[f"projection.{suffix}"]


def test_command_draws_the_way(run_dir, pictures, capsys):
    """From class to class; what is found of a picture is the same alone."""
    argv = ["project", run_dir, "three.png", "--no-labels", *QUICK]
    assert run_cli(*argv, "--out", "alone.png") == 0
    assert run_cli(*argv, "--to", "five.png", "--frames", 4, "--out", "both.png") == 0
    assert "in both.png, the noise in both.npy, the way in both-walk.png" in capsys.readouterr().out
    assert_same_bits(np.load("both.npy")[:1], np.load("alone.npy"))
    pairs, way = cells(read("both.png"), 2, 2), cells(read("both-walk.png"), 1, 4)[0]
    for picture, end in ((0, 0), (1, 3)):
        assert np.abs(pairs[picture, 1].astype(int) - way[end]).max() <= 1
    assert (way[1] != way[0]).any()
    assert run_cli(*argv, "--to", "five.png", "--frames", 4, "--walk", "a.gif", "--out", "c.png") == 0
    with Image.open("a.gif") as animation:
        assert animation.n_frames >= 4


def test_pictures_are_read_as_training_pictures_are(run_dir, pictures, capsys):
    """In any size and colours; black and white can be exchanged."""
    framed = 255 - np.pad(read("three.png"), 1)
    Image.fromarray(np.stack([framed] * 3, axis=-1)).save("framed.bmp")
    capsys.readouterr()
    assert run_cli("project", run_dir, "framed.bmp", "--invert", "--no-labels", *QUICK) == 0
    assert "framed.bmp: 1 of 1 pictures cropped around their centre to 28x28" in capsys.readouterr().err
    np.testing.assert_array_equal(cells(read("projection.png"), 1, 2)[0, 0], read("three.png"))


@pytest.mark.parametrize(("level", "which"), [(255, "bright"), (0, "dark")])
def test_ground_of_the_other_colour_is_noted(level, which, run_dir, pictures, capsys, monkeypatch):
    own = np.full((16, 28, 28, 1), 1 - level / 255, np.float32)
    monkeypatch.setattr("dcgan_jax.cli.project.generate_singly", lambda *_: own)
    Image.fromarray(np.full((28, 28), level, np.uint8)).save("a.png")
    capsys.readouterr()
    for flags, noted in (([], True), (["--invert"], False)):
        assert run_cli("project", run_dir, "a.png", *flags, "--starts", 1, "--steps", 1) == 0
        error = capsys.readouterr().err
        assert (f"note: a.png is mostly {which}" in error) == noted
        assert ("--invert exchanges black and white" in error) == noted


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["absent.png"], "cannot read the picture absent.png (no file)"),
        (["text.png"], "cannot read the picture text.png (no picture"),
        (["cut.png"], "cannot read the picture cut.png ("),
        (["folder"], "cannot read the picture folder (no file)"),
        (["https://a.example/b.png"], "PICTURE must be a local path, not a URL"),
        (["three.png", "--class", "10"], "--class: there is no class '10': choose from 0, 1"),
        (["three.png", "--class", "1,2"], "--class must be one class, got 1,2"),
        (["three.png", "--starts", "0"], "--starts must be between 1 and 400, got 0"),
        (["three.png", "--steps", "0"], "--steps must be between 1 and 100000, got 0"),
        (["three.png", "--seed", "-1"], "--seed must be between 0"),
        (["three.png", "--range", "5,2"], "must be two numbers LOW,HIGH"),
        (["three.png", "--frames", "4"], "--frames is of the way to another picture: name it with --to"),
        (["three.png", "--fps", "9"], "--fps is of the way to another picture: name it with --to"),
        (["three.png", "--to", "five.png", "--walk", "a.png", "--fps", "9"], "or .mp4, got --walk a.png"),
        (["three.png", "--walk", "a.gif"], "--walk is the way to another picture: name it with --to"),
        (["three.png", "--to", "five.png", "--walk", "a.txt"], "--walk must end in .png or .gif"),
        (["three.png", "--to", "five.png", "--walk", "a.png", "--out", "a.png"], "are the same file, a.png"),
        (["three.png", "--out", "five.png"], "five.png already exists"),
        (["three.png", "--out", "taken.png"], "taken.npy already exists"),
        (["three.png", "--out", "a.jpg"], "--out must end in .png, got a.jpg"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value).replace("/", ""),
)
def test_bad_input_is_one_line(flags, message, run_dir, pictures, capsys):
    (pictures / "text.png").write_text("no picture")
    (pictures / "cut.png").write_bytes((pictures / "three.png").read_bytes()[:-60])
    (pictures / "folder").mkdir()
    (pictures / "taken.npy").write_text("mine")
    before = all_files(pictures)
    capsys.readouterr()
    assert run_cli("project", run_dir, *flags) == 2
    assert message in one_error_line(capsys)
    assert all_files(pictures) == before


def test_run_without_classes_takes_none(small_run, tmp_path, capsys):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    argv = ["project", "--recipe", RECIPE, small_run, tmp_path / "a.png", "--out", tmp_path / "b.png"]
    assert run_cli(*argv, "--class", 1) == 2
    assert "draws no classes" in one_error_line(capsys)
    assert run_cli(*argv, *QUICK) == 0
    assert np.load(tmp_path / "b.npy").shape == (1, 5)
