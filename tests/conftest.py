import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is first imported

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcgan_jax import init_state, load_dataset
from dcgan_jax.training.checkpoint import restore_checkpoint

ROOT = Path(__file__).parent.parent
FLAGS = [
    "--batch-size",
    "2",
    "--log-every",
    "3",
    "--sample-every",
    "5",
    "--checkpoint-every",
    "4",
    "--seed",
    "3",
]


class SmallGenerator(nn.Module):
    """A user's own generator: one dense layer, batch norm, dropout, 8x8 images."""

    @nn.compact
    def __call__(self, z, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(64)(z))
        x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
        return nn.sigmoid(nn.Dense(64)(x)).reshape(-1, 8, 8, 1)


class SmallDiscriminator(nn.Module):
    """A user's own discriminator: two dense layers and dropout."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.leaky_relu(nn.Dense(32)(images.reshape(images.shape[0], -1)))
        return nn.Dense(1)(nn.Dropout(0.1, deterministic=not train)(x))


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def mnist():
    return load_dataset()


@pytest.fixture(scope="session")
def digits(mnist):
    """Four real digits, uint8 [4, 28, 28, 1]."""
    return jnp.asarray(mnist[:4])


@pytest.fixture(scope="session")
def state():
    """The tutorial's GAN, untrained."""
    return init_state(jax.random.key(1))


@pytest.fixture(scope="session")
def small_state():
    """A GAN of a user's own modules, quick to compile."""
    return init_state(jax.random.key(1), generator=SmallGenerator(), discriminator=SmallDiscriminator(), latent_size=5)


@pytest.fixture(scope="session")
def small_images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8))


def assert_same_bits(a, b):
    """Both trees have the same structure, and each leaf the same type, shape and bytes."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert x.tobytes() == y.tobytes()


def assert_close(a, b, tolerance):
    """Both trees agree to ``tolerance``, each leaf relative to its largest element."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        assert x.shape == y.shape
        assert np.abs(x - y).max() <= tolerance * np.abs(y).max()


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory):
    """The user's cache folder: programs that one child process has compiled, the next one reads."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def run_python(cache_home):
    """Run a piece of Python in a process of its own, with these environment variables; its output."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(cache_home / "dcgan-jax" / "xla"),  # the command line's
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def run(code, **environment):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**os.environ, **cache, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """A folder with nothing but what the project's wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "runs"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source]
    subprocess.run(built, check=True, capture_output=True)
    (archive,) = folder.glob("*.whl")
    installed = [*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", archive]
    subprocess.run(installed, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="session")
def command(wheel, cache_home):
    """How to start ``python -m dcgan_jax train`` from the wheel: keyword arguments of `subprocess.Popen`."""

    def start(*flags, cwd, environment=(), **options):
        return subprocess.Popen(
            [sys.executable, "-m", "dcgan_jax", "train", *map(str, flags)],
            cwd=cwd,
            env={
                **os.environ,
                "XDG_CACHE_HOME": str(cache_home),
                "PYTHONPATH": str(wheel),
                "PYTHONSAFEPATH": "1",
                "PYTHONUNBUFFERED": "1",
                **dict(environment),
            },
            text=True,
            **options,
        )

    return start


@pytest.fixture(scope="session")
def finished(command, tmp_path_factory):
    """A run of eleven steps under ``runs/``, and what it printed."""
    cwd = tmp_path_factory.mktemp("elsewhere")
    process = command("--steps", 11, *FLAGS, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return cwd / "runs" / "0001", out


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and "checkpoints" not in p.parts and p.name != "lock"
    }


def assert_same_checkpoints(ours, theirs):
    """Two checkpoints of the tutorial's GAN hold the same bits."""
    like = init_state(jax.random.key(0))
    ours, theirs = restore_checkpoint(ours, like), restore_checkpoint(theirs, like)
    assert_same_bits(ours.state, theirs.state)
    assert (jax.random.key_data(ours.key) == jax.random.key_data(theirs.key)).all()


def one_line(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err
