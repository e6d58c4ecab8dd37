"""Images from a generator in inference mode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.pinning import jax_defaults, pin_key
from dcgan_jax.sharding import image_sharding, with_auto_axes
from dcgan_jax.state import GANState

_BATCH = 500  # images that are drawn at a time: a few hundred megabytes


def sample_noise(state: GANState, key: jax.Array, n: int) -> jax.Array:
    """``n`` vectors of the state's noise, float32 [n, latent_size]; n at least 1.

    Raises:
      ValueError: for any other n, or if the state's noise has another shape.
    """
    if n < 1:
        raise ValueError(f"the number of images must be at least 1, got {n}")
    shape = (n, state.latent_size)
    z = state.noise(pin_key(key), shape)
    if z.shape != shape:
        raise ValueError(f"noise must have the shape that it is asked for, {shape}, got {z.shape}")
    return z.astype(jnp.float32)


@jax.jit
@with_auto_axes(image_sharding)
def generate(state: GANState, z: jax.Array) -> jax.Array:
    """The generator's images of ``z`` [B, latent_size]: [B, H, W, C] in [0, 1].

    Inference mode: moving batch statistics, no dropout, so each image depends on its own noise only.
    """
    return state.generator.infer(z)


def image_shape(state: GANState) -> tuple[int, ...]:
    """The shape [H, W, C] of the generator's images; nothing is computed."""
    noise = jax.ShapeDtypeStruct((1, state.latent_size), jnp.float32)
    return jax.eval_shape(generate, state, noise).shape[1:]


@functools.partial(jax.jit, static_argnames="n")
def sample(state: GANState, key: jax.Array, n: int) -> jax.Array:
    """``n`` images of fresh noise, [n, H, W, C] in [0, 1], in inference mode; n at least 1."""
    return generate(state, sample_noise(state, key, n))


@jax_defaults()
def sample_in_batches(state: GANState, key: jax.Array, n: int) -> np.ndarray:
    """As `sample`, for any ``n``: a few hundred images at a time, by one compiled program, as a NumPy array."""
    noise = sample_noise(state, key, n)
    noise = jnp.pad(noise, ((0, -n % _BATCH), (0, 0)))
    parts = [jax.device_get(generate(state, part)) for part in jnp.split(noise, len(noise) // _BATCH)]
    return np.concatenate(parts)[:n]
