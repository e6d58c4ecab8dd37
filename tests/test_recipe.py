"""Recipes: a run of a person's own networks starts, resumes and is read back, and what cannot is said in one line."""

import functools
import importlib
import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import SmallDiscriminator, SmallGenerator, all_files, assert_same_bits, one_error_line, run_cli, small_gan

from dcgan_jax import TrainConfig, load_run, train
from dcgan_jax.errors import UserError
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.distributed import data_mesh
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.history import read_history
from dcgan_jax.training.loop import _broadcast_run
from dcgan_jax.training.recipe import RecipeError, as_recipe, read_recipe
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run import create_run

# A whole recipe; the parts in capitals are what tests replace.
SOURCE = """
import flax.linen as nn
import jax.numpy as jnp
import optax
from dcgan_jax import Losses, generator_loss, init_state, discriminator_loss, train, TrainConfig
import widths

class Generator(nn.Module):
    shape: tuple

    @nn.compact
    def __call__(self, z, train=False, labels=None):
        x = nn.relu(nn.Dense(widths.GENERATOR)(z))
        size = self.shape[0] * self.shape[1] * self.shape[2]
        return nn.sigmoid(nn.Dense(size)(x)).reshape(-1, *self.shape)

class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, images, train=False, labels=None):
        x = nn.leaky_relu(nn.Dense(8)(images.reshape(len(images), -1)))
        return nn.Dense(1)(x)

def init(key, shape, classes):
    return init_state(
        key, generator=Generator(shape), discriminator=Discriminator(), latent_size=5, classes=classes,
        generator_tx=optax.adam(1e-3), discriminator_tx=optax.adam(1e-3), ema=0.9,
    )

if __name__ == "__main__":
    train(TrainConfig(), init=init)
"""
NEIGHBOUR = "GENERATOR = 8\n"


@pytest.fixture
def own(tmp_path):
    """The recipe's file, in a directory of its own beside a module that it imports."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "widths.py").write_text(NEIGHBOUR)
    (folder / "own.py").write_text(SOURCE)
    yield folder / "own.py"
    for name in ("own", "widths"):
        sys.modules.pop(name, None)


@pytest.fixture
def images(tmp_path):
    """Twelve random images of 8x8, as a file."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8))
    return tmp_path / "a.npy"


def flags(images, run_dir):
    return ["--dataset", images, "--batch-size", 4, "--checkpoint-every", 2, "--workdir", run_dir]


def small(key, shape, classes):
    """The small networks of other tests, which draw 8x8 images."""
    assert (shape, classes) == ((8, 8, 1), None)
    return small_gan(key, ema=0.9)


def test_run_of_a_recipe_resumes_to_same_bits(own, images, tmp_path):
    """It keeps a copy, the name and the digest, and draws and is read by the file alone."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_cli("train", "--recipe", own, *flags(images, whole), "--steps", 5) == 0
    assert run_cli("train", "--recipe", own, *flags(images, parts), "--steps", 3) == 0
    assert run_cli("train", "--recipe", own, "--workdir", parts, "--resume", "--steps", 5) == 0
    init = read_recipe(own)
    runs = [load_run(run_dir, init=init) for run_dir in (whole, parts)]
    assert_same_bits(runs[0].state, runs[1].state)
    assert runs[0].state.step == 5
    assert (runs[0].record.recipe, runs[0].record.recipe_digest) == ("own.py:init", init.sha256)
    assert (whole / "recipe.py").read_bytes() == own.read_bytes()
    assert (whole / "metrics.jsonl").read_bytes() == (parts / "metrics.jsonl").read_bytes()


def test_function_builds_the_first_state(images, tmp_path):
    config = TrainConfig(steps=2, batch_size=4, dataset=str(images), workdir=str(tmp_path / "run"))
    outcome = train(config, init=small)
    run = load_run(tmp_path / "run", 0, init=small)
    first, keys = create_state(config, RunRecord((8, 8, 1)), init=small)
    assert_same_bits(run.state, first)
    assert outcome.state.step == 2
    assert run.record.recipe == f"{__name__}:small"
    copied = create_run(
        TrainConfig(batch_size=4, dataset=str(images), workdir=str(tmp_path / "copy")), first, keys, init=small
    )
    assert_same_bits(load_run(copied, init=small).state, first)


def test_nothing_of_a_run_directory_is_executed(own, images, tmp_path, capsys):
    """Each command without a recipe is one line that says what to add, and the copy is not read."""
    run_dir = tmp_path / "run"
    assert run_cli("train", "--recipe", own, *flags(images, run_dir), "--steps", 1) == 0
    (run_dir / "recipe.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    before = all_files(run_dir)
    add = "was built by the recipe own.py:init: add --recipe FILE.py with the file that defines it (in Python, init=)"
    for command in (["train", "--resume", "--steps", 2, "--workdir", run_dir], ["sample", run_dir]):
        capsys.readouterr()
        assert run_cli(*command) == 2
        assert f"the run in {run_dir} {add}" in one_error_line(capsys)
    start = ["train", *flags(images, tmp_path / "new"), "--steps", 1]
    assert run_cli(*start, "--init-from", run_dir) == 2
    assert f"the run in {run_dir} {add}" in one_error_line(capsys)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="add `recipe=FILE.py`"):
        load_run(run_dir)
    assert all_files(run_dir) == before
    assert not (tmp_path / "executed").exists()
    assert run_cli(*start, "--recipe", own, "--init-from", run_dir) == 0


def test_recipe_of_a_tutorial_run_is_refused(own, tmp_path, capsys):
    """Whether its config names a width or not."""
    narrow = TrainConfig(batch_size=2, width=2, latent_size=4, workdir=str(tmp_path / "narrow"))
    create_run(narrow, *create_state(narrow))
    shutil.copytree(tmp_path / "narrow", tmp_path / "run")
    text = (tmp_path / "run" / "config.json").read_text()
    assert text.count('"width": 2,') == 1
    (tmp_path / "run" / "config.json").write_text(text.replace('"width": 2,', '"width": null,'))
    before = all_files(tmp_path / "run")
    assert run_cli("train", "--recipe", own, "--workdir", tmp_path / "run", "--resume") == 2
    assert "is of the tutorial's networks: leave --recipe out" in one_error_line(capsys)
    with pytest.raises(ConfigError, match="is of the tutorial's networks: leave `recipe` out"):
        load_run(tmp_path / "run", init=small)
    assert run_cli("train", "--recipe", own, "--workdir", tmp_path / "narrow", "--resume") == 2
    assert "is of the tutorial's networks: leave --recipe out" in one_error_line(capsys)
    assert all_files(tmp_path / "run") == before


def test_another_tree_is_refused_by_its_path(own, images, tmp_path, capsys):
    """Of another recipe whose arrays are the same, one note is printed, and the copy follows."""
    run_dir = tmp_path / "run"
    assert run_cli("train", "--recipe", own, *flags(images, run_dir), "--steps", 1) == 0
    own.write_text(SOURCE.replace("Dense(8)", "Dense(6)"))
    before = all_files(run_dir)
    capsys.readouterr()
    resume = ["train", "--recipe", own, "--workdir", run_dir, "--resume"]
    changed = "bias is float32[8] in the checkpoint, and float32[6] in the state"
    for more in ([], ["--dry-run"]):
        assert run_cli(*resume, "--steps", 2, *more) == 2
        assert changed in (line := one_error_line(capsys))
        assert "discriminator/" in line
    assert {n: c for n, c in all_files(run_dir).items() if n != "lock"} == {
        n: c for n, c in before.items() if n != "lock"
    }
    own.write_text(SOURCE.replace("1e-3", "1e-4"))
    for steps, notes in ((2, 1), (3, 0)):
        assert run_cli(*resume, "--steps", steps) == 0
        assert capsys.readouterr().out.count("note: own.py:init is no longer the recipe that") == notes
    assert (run_dir / "recipe.py").read_bytes() == own.read_bytes()


BAD = {
    "def init(key, shape, classes):": ("def other(key, shape, classes):", "own.py defines no function init: a recipe"),
    "import widths\n": ("import widths, nowhere\n", "own.py, line 6: ModuleNotFoundError: No module named 'nowhere'"),
    "    return init_state(": ("    return init_state[", "own.py, line 27: SyntaxError:"),
    "import optax\n": ("import optax\nraise SystemExit('no')\n", "own.py, line 5: SystemExit: no"),
    "latent_size=5": ("latent_size=int('x')", "own.py, line 25: ValueError: invalid literal for int() with base 10"),
    "generator=Generator(shape)": (
        "generator=Generator((4, 4, 1))",
        "own.py:init builds a generator of images 4x4x1, and those of the data are 8x8x1: build it by shape",
    ),
    "classes=classes": ("classes=3", "own.py:init returns a state of 3 classes, and the run has none"),
    "x = nn.relu(": ("self.make_rng('dropout'); x = nn.relu(", "draws random numbers in inference mode"),
    "ema=0.9,\n    )": (
        "\n    ).params",
        "own.py, line 27: AttributeError: 'GANState' object has no attribute",
    ),
    "    return init_state(\n": (
        "    return (lambda *_, **__: 0)(\n",
        "own.py:init must return a GANState, as dcgan_jax.init_state makes one, got int",
    ),
    "ema=0.9,": (
        "losses=Losses(lambda real, fake: real, generator_loss),",
        "own.py:init: a step of its state: ValueError: the discriminator's loss must return a scalar",
    ),
    "latent_size=5,": (
        "latent_size=5, losses=Losses(lambda real, fake: jnp.zeros(3) + jnp.zeros(4), generator_loss),",
        "own.py, line 25: TypeError: add got incompatible shapes for broadcasting: (3,), (4,).",
    ),
    "classes=classes,": (
        "classes=classes, metrics=lambda update: {'all': update.fake_logits},",
        "own.py:init: a run logs metrics that are scalars, got d_all [4, 1], g_all [4, 1]",
    ),
    "    )\n\nif": (
        "    ).replace(step=jnp.int32(7))\n\nif",
        "own.py:init returns a state at step 7: a run begins at step 0",
    ),
}


# Values that only the networks' outputs show: what is replaced, by what, and the message.
RANGES = {
    "nn.sigmoid(": ("nn.tanh(", "own.py:init: ValueError: the generator's images must be in [0, 1], got -0."),
    "return nn.Dense(1)(x)": (
        "return nn.sigmoid(nn.Dense(1)(x))",
        "own.py:init: ValueError: the discriminator's outputs are all in [0, 1]",
    ),
    "ema=0.9,": (
        "augment=lambda images, key: 2 * images - 1,",
        "own.py:init: ValueError: an augmentation must keep images in [0, 1]",
    ),
    "x = nn.relu(nn.Dense(widths.GENERATOR)(z))": (
        "x = nn.Dense(widths.GENERATOR, bias_init=nn.initializers.constant(jnp.nan))(z)",
        "own.py:init: ValueError: generator/params/Dense_0/bias has numbers that are NaN",
    ),
}
BAD_RETURNS = {
    "ema=0.9,": (
        "augment=lambda images, key: None,",
        "own.py:init: a step of its state: TypeError: an augmentation must return images, got NoneType",
    ),
    "classes=classes,": (
        "losses=Losses(lambda real, fake: {}, generator_loss),",
        "TypeError: the discriminator's loss must return a floating-point scalar, got dict",
    ),
    "import optax\n": ("import optax, sys\nsys.exit()\n", "own.py, line 5: SystemExit\n"),
}


@pytest.mark.parametrize(("part", "changed", "message"), [(a, *b) for d in (RANGES, BAD_RETURNS) for a, b in d.items()])
def test_bad_values_are_one_line(part, changed, message, own, images, tmp_path, capsys):
    """Before anything is written, as what a shape shows."""
    assert SOURCE.count(part) == 1
    own.write_text(SOURCE.replace(part, changed))
    before = all_files(images.parent)
    assert run_cli("train", "--recipe", own, *flags(images, tmp_path / "run"), "--steps", 1) == 2
    assert message in one_error_line(capsys)
    assert {n for n in all_files(images.parent) if "__pycache__" not in n} == set(before)


def test_last_layer_may_start_at_zero(own, images, tmp_path):
    """Then all images are grey, and both networks have gradients."""
    own.write_text(SOURCE.replace("nn.Dense(size)", "nn.Dense(size, kernel_init=nn.initializers.zeros)"))
    assert run_cli("train", "--recipe", own, *flags(images, tmp_path / "run"), "--steps", 1) == 0


@pytest.mark.parametrize("part", BAD)
def test_bad_recipe_is_one_line(part, own, images, tmp_path, capsys):
    """Which names the file, and the line in it; nothing is written."""
    assert SOURCE.count(part) == 1
    changed, message = BAD[part]
    own.write_text(SOURCE.replace(part, changed))
    before = all_files(images.parent)
    assert run_cli("train", "--recipe", own, *flags(images, tmp_path / "run"), "--steps", 1) == 2
    line = one_error_line(capsys)
    assert message in line
    assert line.startswith("error: own.py")
    assert {n for n in all_files(images.parent) if "__pycache__" not in n} == set(before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--preset", "article"], "--preset article is for the tutorial's networks, and own.py:init builds others"),
        (["--ema", 0.5], "--ema 0.5 is for the tutorial's networks"),
        (["--dtype", "bfloat16"], "--dtype bfloat16 is for the tutorial's networks"),
        (["--fakes", "training"], "--fakes training is for the tutorial's networks"),
        (["--generator-learning-rate", 0.1], "--generator-learning-rate 0.1 is for the tutorial's networks"),
        (["--r1", 0], "--r1 0.0 is for the tutorial's networks"),
        (["--width", 32], "--width 32 is for the tutorial's networks"),
        (["--augment", "flip"], "--augment flip is for the tutorial's networks"),
        (["--d-steps", 2], "--d-steps 2 is for the tutorial's networks"),
        (["--d-steps", 1], "--d-steps 1 is for the tutorial's networks"),  # the recipe's may be others
        (["--preset", "tutorial"], "--preset tutorial is for the tutorial's networks"),
    ],
)
def test_flags_of_the_tutorials_networks(given, message, own, images, tmp_path, capsys):
    """They cannot be given together with a recipe."""
    assert run_cli("train", "--recipe", own, *flags(images, tmp_path / "run"), *given) == 2
    assert message in one_error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_dry_run_builds_the_state(own, images, tmp_path, capsys):
    assert run_cli("train", "--recipe", own, *flags(images, tmp_path / "run"), "--dry-run") == 0
    out = capsys.readouterr().out
    assert '"recipe": "own.py:init"' in out
    assert not (tmp_path / "run").exists()


def test_missing_file_is_named(tmp_path, capsys):
    assert run_cli("train", "--recipe", tmp_path / "none.py", "--workdir", tmp_path / "run") == 2
    assert f"cannot read the recipe {tmp_path / 'none.py'} (No such file or directory)" in one_error_line(capsys)
    assert run_cli("train", "--recipe", "gs://bucket/a.py") == 2
    assert "--recipe must be a local path, not a URL" in one_error_line(capsys)
    with pytest.raises(RecipeError, match="init must be a function of .key, shape, classes., got int"):
        as_recipe(3)


def test_path_and_modules_are_as_before(own):
    before = list(sys.path)
    recipe = read_recipe(own)
    assert sys.path == before
    assert recipe.init.__module__ == "own"
    own.write_text("import sys\nraise ValueError('first\\nsecond')\n")
    with pytest.raises(RecipeError, match=r"^own.py, line 2: ValueError: first$"):
        read_recipe(own)
    assert sys.path == before


def test_arguments_are_those_of_the_file_alone(own):
    before = list(sys.argv)
    own.write_text("import argparse\nargparse.ArgumentParser().parse_args()\n" + SOURCE)
    assert read_recipe(own).name == "own.py:init"
    assert sys.argv == before


def test_state_of_a_new_run_is_what_init_builds(images, tmp_path):
    """A run that could not be read is not created."""
    config = TrainConfig(batch_size=4, dataset=str(images), workdir=str(tmp_path / "run"))
    state, keys = create_state(config, RunRecord((8, 8, 1)), init=small)
    for init in (None, lambda key, shape, classes: small_gan(key)):
        with pytest.raises(ConfigError, match="the state is not one of this run: "):
            create_run(config, state, keys, init=init)
    assert not (tmp_path / "run").exists()


def test_recipe_named_as_a_module_replaces_none(tmp_path):
    """Neither one that is imported, nor one that will be."""
    (tmp_path / "colorsys.py").write_text("def init(key, shape, classes):\n    return 0\n")
    sys.modules.pop("colorsys", None)
    assert read_recipe(tmp_path / "colorsys.py").init.__module__ == "colorsys_recipe"
    assert importlib.import_module("colorsys").rgb_to_hls
    (tmp_path / "json.py").write_text("def init(key, shape, classes):\n    return 0\n")
    assert read_recipe(tmp_path / "json.py").name == "json.py:init"
    assert sys.modules["json"] is json


def test_function_and_file_have_one_digest(own):
    recipe = read_recipe(own)
    of_function = as_recipe(recipe.init)
    assert (of_function.name, of_function.sha256) == ("own:init", recipe.sha256)
    partial = as_recipe(functools.partial(recipe.init, classes=None))
    assert partial.sha256 == recipe.sha256
    assert as_recipe(recipe) is recipe


def test_processes_must_have_one_recipe(images, monkeypatch):
    """Each builds the state by its own file; the digests are compared before any array is exchanged."""
    config, record = TrainConfig(dataset=str(images)), RunRecord((8, 8, 1), recipe="a.py:init", recipe_digest="0" * 64)
    monkeypatch.setattr("dcgan_jax.training.loop.broadcast_json", lambda value: [vars(config), vars(record)])
    for init in (None, small):
        with pytest.raises(UserError, match="the first process has the recipe a.py:init, and this one"):
            _broadcast_run(None, init)


def test_step_is_traced_with_the_batch(images):
    """Of any batch size; nothing is computed."""
    state = small_gan(jax.random.key(0))
    as_recipe(small).check_state(state, 3)
    assert data_mesh(1).size == 1
    assert isinstance(state.generator.module, SmallGenerator)
    assert isinstance(state.discriminator.module, SmallDiscriminator)


def test_loading_needs_the_recipe_of_the_run(own, images, tmp_path):
    """A copy of the run elsewhere, and the recipe under another name with the same content."""
    assert run_cli("train", "--recipe", own, *flags(images, tmp_path / "run"), "--steps", 1) == 0
    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    other = own.with_name("other.py")
    other.write_bytes(own.read_bytes())
    assert load_run(copy, init=read_recipe(other)).state.step == 1
    sys.modules.pop("other", None)


def ratios(update):
    return {"above": update.loss / 0, "neither": jnp.inf * 0}


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.contrib.prodigy,  # its first state holds the parameters, and steps donate both
        lambda: optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau(accumulation_size=9)),  # infinity too
        lambda: optax.noisy_sgd(1e-3, key=jax.random.key(0)),
    ],
    ids=["prodigy", "plateau", "key"],
)
def test_optimizers_of_any_state_train(optimizer, tmp_path, capsys):
    """And metrics of any value are written: None where they are NaN or infinite."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8))
    config = TrainConfig(dataset=str(tmp_path / "a.npy"), steps=2, batch_size=2, workdir=str(tmp_path / "run"))
    outcome = train(config, init=lambda key, *_: small_gan(key, generator_tx=optimizer(), metrics=ratios))
    assert outcome.state.step == 2
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=int) for line in lines]
    assert [(row["d_above"], row["g_neither"]) for row in rows] == [(None, None)]
    (row,) = read_history(tmp_path / "run").metrics
    assert set(row) == {"step", "d_loss", "d_accuracy", "g_loss", "g_accuracy"}
