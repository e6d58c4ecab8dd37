"""The examples as they are; with small networks where the tutorial's are not what they show."""

import functools
import importlib.util
import re
import runpy
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROOT, assert_close, assert_same_bits, quick_jit, run_cli

from dcgan_jax import Discriminator, Generator, TrainConfig, generate, init_state, load_run, train_step
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.recipe import read_recipe
from dcgan_jax.training.run import create_run

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def example(name):
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small(monkeypatch):
    """An example whose `init_state` makes small networks; ``quick`` where it compiles a step that no other does."""
    own = example("own_modules")
    modules = {"generator": own.MyGenerator(), "discriminator": own.MyDiscriminator(), "latent_size": 8}

    def load(name, quick=False):
        module = example(name)
        monkeypatch.setattr(module, "init_state", functools.partial(init_state, **modules))
        if quick:
            monkeypatch.setattr(module, "train_step", quick_jit(train_step))
        return module

    return load


@pytest.fixture
def narrow(monkeypatch):
    """An example whose `init_state` makes the tutorial's layers with an eighth of their widths."""
    modules = {"generator": Generator(width=8), "discriminator": Discriminator(width=8)}

    def load(name):
        module = example(name)
        monkeypatch.setattr(module, "init_state", functools.partial(init_state, **modules))
        return module

    return load


@pytest.fixture(scope="module")
def narrow_run(tmp_path_factory):
    """The directory of an untrained run of such networks."""
    config = TrainConfig(batch_size=2, width=8, workdir=str(tmp_path_factory.mktemp("narrow") / "run"))
    return create_run(config, *create_state(config))


def test_scan_equals_single_steps(small):
    module = small("scan")
    state, metrics = module.main(steps=3, batch_size=4)
    assert state.step == 3
    assert metrics["d_loss"].shape == (3,)

    key = jax.random.key(0)
    images = module.load_dataset()
    images = images[jax.random.permutation(key, len(images))[:12]].reshape(3, 4, 28, 28, 1)
    one_by_one = module.init_state(key)
    for batch, step_key in zip(images, jax.random.split(key, 3), strict=True):
        one_by_one, last = train_step(one_by_one, batch, step_key)
    assert_close(metrics["d_loss"][-1], last["d_loss"], 1e-3)  # RMSprop multiplies what rounding has made different


def test_several_d_steps_per_g_step(small):
    state = small("several_d_steps").main(steps=2, batch_size=4)
    assert state.discriminator.opt_state.count == 10
    assert state.generator.opt_state.count == 2
    assert state.step == 2


def test_own_modules_learn(capsys):
    module = example("own_modules")
    state = module.main(steps=101, batch_size=32)
    losses = [float(line.split("D's loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < losses[0] / 2
    # Spectral norm in training mode: the layer's largest singular value is 1.
    d = state.discriminator
    scale = d.batch_stats["SpectralNorm_0"]["Dense_0/kernel/sigma"]
    assert scale == pytest.approx(np.linalg.norm(d.params["Dense_0"]["kernel"], 2), rel=0.1)


def test_own_run_leaves_all_that_a_run_does(tmp_path, monkeypatch):
    """Checkpoints, samples, scores beside their floor and a report; killed and resumed it has the same bits."""
    monkeypatch.chdir(tmp_path)
    recipe = ROOT / "examples" / "own_run.py"
    for flags in (["--steps", "3"], ["--steps", "6", "--resume"]):
        monkeypatch.setattr(sys, "argv", ["own_run.py", *flags])
        runpy.run_path(str(recipe), run_name="__main__")
    flags = ["--batch-size", 64, "--eval-every", 500, "--steps", 6]
    assert run_cli("train", "--recipe", recipe, "--workdir", "whole", *flags) == 0
    init = read_recipe(recipe)
    ours, theirs = (load_run(tmp_path / name, 6, init=init) for name in ("runs/own", "whole"))
    assert_same_bits(ours.state, theirs.state)
    assert run_cli("sample", "runs/own", "--recipe", recipe, "--out", "digits.png") == 0
    assert run_cli("evaluate", "runs/own", "--recipe", recipe, "--samples", 129, "--json") == 0
    assert {"report.html", "recipe.py", "samples", "checkpoints", "metrics.jsonl"} <= {
        path.name for path in (tmp_path / "runs" / "own").iterdir()
    }
    assert len(recipe.read_text().splitlines()) <= 50


def test_r3gan_compares_pairs(monkeypatch, capsys):
    module = example("r3gan")
    monkeypatch.setattr(module, "Generator", lambda shape, **_: example("own_modules").MyGenerator())
    monkeypatch.setattr(module, "Discriminator", lambda **_: example("own_modules").MyDiscriminator())
    state = module.main(steps=2, batch_size=4)
    assert state.step == 2
    assert state.losses.pairwise
    assert capsys.readouterr().out.count("accuracy of pairs") == 2
    assert module.init(jax.random.key(0), (28, 28, 1)).classes is None


@pytest.mark.slow
def test_augment_compares_seen_with_unseen(small, capsys):
    module = small("augment", quick=True)
    for name in ("none", "fixed", "adaptive"):
        assert module.main(steps=2, batch_size=4, augment=name).step == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert ["augmented" in line for line in lines] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("penalty", ["r1", "wgan-gp"])
def test_gradient_penalty(penalty, small, monkeypatch, capsys):
    module = small("gradient_penalty", quick=True)
    monkeypatch.setattr(module, "Discriminator", lambda dropout_rate: example("own_modules").MyDiscriminator())
    assert module.main(steps=2, batch_size=4, penalty=penalty).step == 2
    first, second = [float(line.split("penalty ")[1]) for line in capsys.readouterr().out.splitlines()]
    assert first > 0
    assert (second == 0) == (penalty == "r1")  # the next is in step 5


def test_own_metrics_and_noise(small, capsys):
    module = small("own_metrics", quick=True)
    state = module.main(steps=1, batch_size=4)
    names = [entry.split()[-2] for entry in capsys.readouterr().out.split(", ")]
    own = ["d_change", "d_gap", "d_grad_norm", "g_change", "g_grad_norm"]
    assert names == sorted([*own, "d_accuracy", "d_loss", "g_accuracy", "g_loss"])
    assert state.noise is module.gaussian


def test_gradient_accumulation_of_four(small):
    module = small("gradient_accumulation", quick=True)
    before, after = module.main(steps=0, batch_size=4), module.main(steps=1, batch_size=4)
    assert after.step == 4
    assert after.generator.opt_state.gradient_step == 1
    assert after.generator.opt_state.inner_opt_state.count == 1
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), before.generator.params, after.generator.params)
    # RMSprop's first update, and no other; parameters near 1 are rounded to 2^-24.
    assert max(jax.tree.leaves(moved)) <= 10**0.5 * 1e-4 + 2**-23


def test_iterator_continues_to_the_same_bits(small):
    """Stopped halfway, and not."""
    module = small("iterator")
    key, images = jax.random.key(0), module.load_data(labels=False)
    whole = module.train_on(module.init_state(key), images, key, 4, 4)
    assert_same_bits(module.main(steps=4, batch_size=4), whole)


def test_frozen_layers_keep_their_bits(narrow, monkeypatch):
    module = narrow("freeze")
    monkeypatch.setattr(module, "train_step", quick_jit(train_step))
    first, last = module.main(steps=1, batch_size=2)
    for name in ("conv_1", "conv_2"):
        assert_same_bits(first.discriminator.params[name], last.discriminator.params[name])
    for name in ("conv_3", "conv_4", "dense"):
        assert (first.discriminator.params[name]["kernel"] != last.discriminator.params[name]["kernel"]).any()


def test_latent_reduces_the_error(narrow_run, tmp_path):
    module = example("latent")
    errors = module.main(narrow_run, images=2, steps=5, out=tmp_path / "pairs.png")
    assert errors[-1] < errors[0]
    assert (tmp_path / "pairs.png").read_bytes().startswith(b"\x89PNG")


def test_nnx_generator_is_the_states(narrow, key):
    module = narrow("nnx_generator")
    model, state = module.main(steps=1, batch_size=4)
    z = state.noise(key, (3, state.latent_size))
    untrained = module.to_nnx(state)
    # Alone and inside the jit of `generate`, XLA may fuse the layers of one network in two ways: a few roundings.
    np.testing.assert_allclose(untrained(z), generate(state, z), atol=1e-6)
    assert jnp.abs(model.norm_0["mean"] - untrained.norm_0["mean"]).max() > 0
    assert jnp.abs(model.conv_4["kernel"] - untrained.conv_4["kernel"]).max() > 0


@pytest.mark.slow
def test_population_equals_single_gans(monkeypatch):
    module = example("population")
    means = SimpleNamespace(evaluate=lambda images: SimpleNamespace(scores=SimpleNamespace(fid=float(images.mean()))))
    monkeypatch.setattr(module, "evaluate_images", means.evaluate)  # the evaluation itself is tested elsewhere
    population, fids = module.main(steps=3, batch_size=8, samples=16)
    assert len(fids) == len(set(fids)) == 8
    rates = population.generator.opt_state.learning_rate
    assert rates.shape == (8,)
    # The third member is the GAN that trains alone.
    keys, data = jax.random.split(jax.random.key(0), 8), module.load_dataset()
    alone = module.member(keys[2], rates[2])
    for i in range(3):
        batch_key, *step_keys = jax.random.split(jax.random.fold_in(jax.random.key(1), i), 9)
        images = data[jax.random.randint(batch_key, (8,), 0, len(data))]
        alone, _ = train_step(alone, images, step_keys[2])
    third = jax.tree.map(lambda leaf: leaf[2], population)
    assert_close(third.discriminator.params, alone.discriminator.params, 1e-2)
    assert third.step == alone.step == 3


def test_readme_runs(tmp_path, monkeypatch):
    """Its programs, with as few steps and images as show that they run."""
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert len(programs) == 2
    for program in programs:
        names = {}
        exec(program.replace("range(100)", "range(1)").replace("(64,)", "(2,)").replace("[:64]", "[:2]"), names)
        assert names["state"].step == 1
        assert np.isfinite(names["metrics"]["d_loss"])
    assert names["digits"].shape == (16, 28, 28, 1)
    assert (tmp_path / "digits.png").exists()


def test_every_example_is_short_tested_and_named():
    source, readme = (ROOT / "tests" / "test_examples.py").read_text(), (ROOT / "README.md").read_text()
    for name in EXAMPLES:
        assert len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) <= 120, name
        loads = (f'example("{name}")', f'small("{name}"', f'narrow("{name}")', f'"{name}.py"')
        assert any(load in source for load in loads), name
        assert f"examples/{name}.py" in readme, name


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs_as_a_command(name, narrow_run, tmp_path):
    flags = {
        "population": ["--steps", 20, "--samples", 150],
        "latent": [narrow_run, "--images", 2, "--steps", 3],
        "own_modules": ["--steps", 20],
        "own_run": ["--steps", 2],
    }
    given = flags.get(name, ["--steps", 2, "--batch-size", 4])
    command = [sys.executable, ROOT / "examples" / f"{name}.py", *map(str, given)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout
