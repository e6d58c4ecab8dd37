"""Images from a generator in inference mode."""

import functools

import jax
import jax.numpy as jnp

from dcgan_jax.sharding import as_the_noise, automatic
from dcgan_jax.state import GANState


def draw_noise(key: jax.Array, n: int, latent_size: int) -> jax.Array:
    """``n`` noise vectors [n, latent_size], uniform on [-1, 1) as in the tutorial."""
    return jax.random.uniform(key, (n, latent_size), jnp.float32, -1.0, 1.0)


@jax.jit
@automatic(as_the_noise)
def generate(state: GANState, z: jax.Array) -> jax.Array:
    """The generator's images of ``z`` [B, latent_size]: [B, H, W, C] in [0, 1].

    Inference mode: moving batch statistics, no dropout, so each image depends on its own noise only.
    """
    return state.generator.infer(z)


@functools.partial(jax.jit, static_argnames="n")
def sample(state: GANState, key: jax.Array, n: int) -> jax.Array:
    """``n`` images of fresh noise, [n, H, W, C] in [0, 1], in inference mode."""
    return generate(state, draw_noise(key, n, state.latent_size))
