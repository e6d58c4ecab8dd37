"""Commands on a run of networks of one's own: ``--recipe FILE.py``."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import all_files, compare_fewer_patches, one_error_line, run_cli
from PIL import Image

from dcgan_jax import load_run
from dcgan_jax.interop import import_weights
from dcgan_jax.training.recipe import read_recipe

RECIPE = """
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from dcgan_jax import init_state

class Painter(nn.Module):
    shape: tuple[int, int, int]
    classes: int | None

    @nn.compact
    def __call__(self, z, train, labels=None):
        if self.classes is not None:
            z = jnp.concatenate([z, nn.one_hot(labels, self.classes)], -1)
        return nn.sigmoid(nn.Dense(int(np.prod(self.shape)))(z)).reshape(-1, *self.shape)

class Critic(nn.Module):
    classes: int | None

    @nn.compact
    def __call__(self, images, train, labels=None):
        logits = nn.Dense(1)(images.reshape(images.shape[0], -1))
        return logits if self.classes is None else logits + nn.Embed(self.classes, 1)(labels)

def init(key, shape, classes):
    networks = {"generator": Painter(shape, classes), "discriminator": Critic(classes)}
    return init_state(key, **networks, latent_size=4, classes=classes)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "own.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def own_run(recipe, tmp_path_factory):
    """Two steps of a recipe's networks on 8x8 images."""
    folder = tmp_path_factory.mktemp("own")
    np.save(folder / "a.npy", np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), np.uint8))
    flags = ["--dataset", folder / "a.npy", "--steps", 2, "--batch-size", 2]
    assert run_cli("train", "--recipe", recipe, *flags, "--workdir", folder / "run") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def own_classes(recipe, tmp_path_factory):
    """One step of a recipe's networks on three classes of 8x8 images."""
    folder = tmp_path_factory.mktemp("classes")
    random = np.random.default_rng(0)
    np.savez(folder / "a.npz", images=random.integers(0, 256, (32, 8, 8, 1), np.uint8), labels=np.arange(32) % 3)
    flags = ["--dataset", folder / "a.npz", "--conditional", "--steps", 1, "--batch-size", 2]
    assert run_cli("train", "--recipe", recipe, *flags, "--workdir", folder / "run") == 0
    return folder / "run"


def test_samples_are_those_of_the_recipe(own_run, recipe, tmp_path):
    assert run_cli("sample", own_run, "--recipe", recipe, "--samples", 3, "--out", tmp_path / "a.npy") == 0
    images = np.load(tmp_path / "a.npy")
    assert images.shape == (3, 8, 8, 1)
    assert len(np.unique(images.reshape(3, -1), axis=0)) == 3


def test_dtype_of_modules_without_a_choice_is_refused(own_run, recipe, tmp_path, capsys):
    capsys.readouterr()
    out = tmp_path / "x.png"
    assert run_cli("sample", "--recipe", recipe, own_run, "--dtype", "bfloat16", "--out", out) == 2
    line = one_error_line(capsys)
    assert "the dtype of Painter cannot be chosen" in line
    assert "leave --dtype out" in line
    assert not out.exists()


def test_way_between_seeds_is_drawn(own_run, recipe, tmp_path):
    out = tmp_path / "a.png"
    assert run_cli("interpolate", own_run, "--recipe", recipe, "--frames", 3, "--no-labels", "--out", out) == 0
    with Image.open(out) as grid:
        assert min(grid.size) > 3 * 8


def test_way_within_a_class_is_drawn(own_classes, recipe, tmp_path):
    flags = ["--recipe", recipe, "--frames", 3, "--classes", "1", "--out", tmp_path / "a.png"]
    assert run_cli("interpolate", own_classes, *flags) == 0


def test_way_between_classes_is_refused(own_classes, recipe, tmp_path, capsys):
    flags = ["--recipe", recipe, "--seeds", "0,1", "--classes", "0,1", "--out", tmp_path / "a.png"]
    assert run_cli("interpolate", own_classes, *flags) == 2
    assert one_error_line(capsys) == (
        "error: a way between classes needs the generator dcgan_jax.Generator, got Painter: name one class with "
        "--classes\n"
    )
    assert all_files(tmp_path) == {}


def test_samples_by_class_are_drawn(own_classes, recipe, tmp_path):
    out = tmp_path / "a.npy"
    assert run_cli("sample", own_classes, "--recipe", recipe, "--grid", "--samples", 2, "--out", out) == 0
    assert np.load(out).shape == (6, 8, 8, 1)


def test_run_is_evaluated(own_run, recipe, tmp_path, monkeypatch, capsys):
    """What the recipe prints is not among the JSON."""
    compare_fewer_patches(monkeypatch)
    loud = tmp_path / "loud.py"
    loud.write_text(f"print('loud')\n{recipe.read_text()}")
    capsys.readouterr()
    assert run_cli("evaluate", own_run, "--recipe", loud, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["run"] == str(own_run)
    assert scores["step"] == 2


def test_animation_and_report_need_no_recipe(own_run, tmp_path):
    """They show what the run has written, and load no network."""
    assert run_cli("animate", own_run, "--out", tmp_path / "a.gif") == 0
    marker, named = tmp_path / "executed", tmp_path / "named.py"
    named.write_text(f"open({str(marker)!r}, 'w')")
    assert run_cli("animate", own_run, "--recipe", named, "--out", tmp_path / "b.gif") == 0
    assert not marker.exists()  # one that is named as for other commands is taken, and not needed
    assert run_cli("report", own_run, "--out", tmp_path / "a.html") == 0


def test_safetensors_hold_both_networks(own_run, recipe, tmp_path):
    out = tmp_path / "own.safetensors"
    assert run_cli("export", own_run, "--recipe", recipe, "--format", "safetensors", "--out", out) == 0
    state = load_run(own_run, init=read_recipe(recipe)).state
    imported = import_weights(out, state)
    for ours, theirs in ((imported.generator, state.generator), (imported.discriminator, state.discriminator)):
        kernel = ours.params["Dense_0"]["kernel"]
        np.testing.assert_array_equal(kernel, theirs.params["Dense_0"]["kernel"])


@pytest.mark.parametrize(("format", "module"), [("stablehlo", "flatbuffers"), ("onnx", "jax2onnx")])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_networks_are_exported(format, module, network, own_run, recipe, tmp_path):
    pytest.importorskip(module, reason=f"the package {module} is not installed")
    out = tmp_path / f"a.{format}"
    flags = ["--format", format, "--network", network, "--out", out]
    assert run_cli("export", own_run, "--recipe", recipe, *flags) == 0
    assert out.stat().st_size > 1_000


def test_batch_size_by_len_is_explained(own_run, recipe, tmp_path, capsys):
    pytest.importorskip("flatbuffers", reason="the package flatbuffers is not installed")
    (tmp_path / "own.py").write_text(recipe.read_text().replace("images.shape[0]", "len(images)"))
    flags = ["--format", "stablehlo", "--network", "discriminator", "--out", tmp_path / "a.stablehlo"]
    capsys.readouterr()
    assert run_cli("export", own_run, "--recipe", tmp_path / "own.py", *flags) == 2
    assert "the network needs x.shape[0] in place of len(x)" in capsys.readouterr().err
    assert not (tmp_path / "a.stablehlo").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["export", "--format", "keras"],
            "only the tutorial's networks have weights in Keras",
        ),
        (["report", "--explore"], "an explorer needs the generator dcgan_jax.Generator, got Painter"),
    ],
)
def test_what_needs_the_tutorials_is_refused(argv, message, own_run, recipe, tmp_path, monkeypatch, capsys):
    pytest.importorskip("h5py", reason="the package h5py is not installed")
    monkeypatch.chdir(tmp_path)
    before = all_files(own_run)
    assert run_cli(argv[0], own_run, *argv[1:], "--recipe", recipe) == 2
    assert message in one_error_line(capsys)
    assert all_files(tmp_path) == {}
    assert all_files(own_run) == before


@pytest.mark.parametrize("command", [["sample"], ["interpolate"], ["evaluate"], ["report", "--explore"]])
def test_run_of_a_recipe_needs_it(command, own_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = all_files(own_run)
    assert run_cli(command[0], own_run, *command[1:]) == 2
    assert "--recipe" in one_error_line(capsys)
    assert all_files(tmp_path) == {}
    assert all_files(own_run) == before


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("absent.py", "absent.py"),
        ("https://example.org/own.py", "--recipe must be a local path, not a URL"),
        ("own\n.py", "--recipe must name a Python file in printable text, got 'own\\n.py'"),
        ("", "--recipe must name a Python file in printable text, got ''"),
        (os.devnull, f"cannot read the recipe {os.devnull} (no regular file)"),
        (".", "cannot read the recipe . (no regular file)"),
    ],
)
def test_file_that_is_no_recipe_is_refused(file, message, own_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli("sample", own_run, "--recipe", file) == 2
    assert message in one_error_line(capsys)
    assert all_files(tmp_path) == {}


def test_no_file_of_a_run_is_executed(own_run, tmp_path, monkeypatch, capsys):
    """Not the copy of the recipe either, which is there to be read."""
    monkeypatch.chdir(tmp_path)
    copies = [path for path in own_run.iterdir() if path.suffix == ".py"]
    assert len(copies) == 1
    text = copies[0].read_text()
    try:
        copies[0].write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n{text}")
        assert run_cli("sample", own_run) == 2
    finally:
        copies[0].write_text(text)
    assert "--recipe" in one_error_line(capsys)
    assert all_files(tmp_path) == {}


def test_modules_of_a_run_directory_are_not_imported(own_run, recipe, tmp_path):
    """Not from the working directory, and not beside a recipe that a person names there."""
    marker = tmp_path / "executed"
    added = {name: own_run / f"{name}.py" for name in ("sitecustomize", "optax", "colorsys", "neighbour")}
    try:
        for path in added.values():
            path.write_text(f"open({str(marker)!r}, 'w')\n")
        command = [sys.executable, "-m", "dcgan_jax", "sample", ".", "--no-compilation-cache"]
        done = subprocess.run([*command, "--recipe", recipe], cwd=own_run, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        added["own"] = own_run / "own.py"
        added["own"].write_text(f"import colorsys\nimport neighbour\n{recipe.read_text()}")
        assert run_cli("sample", own_run, "--recipe", added["own"], "--out", tmp_path / "b.png") == 2
    finally:
        for path in (*added.values(), own_run / "samples.png"):
            path.unlink(missing_ok=True)
    assert all_files(tmp_path) == {}


def test_file_of_images_takes_no_recipe(recipe, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((4, 8, 8, 1), np.uint8))
    assert run_cli("evaluate", tmp_path / "a.npy", "--recipe", recipe) == 2
    assert one_error_line(capsys) == f"error: --recipe is for runs: {tmp_path / 'a.npy'} holds images\n"
