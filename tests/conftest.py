import os
import subprocess
import sys
import textwrap

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is first imported

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcgan_jax import init_state, load_dataset


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


@pytest.fixture
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
