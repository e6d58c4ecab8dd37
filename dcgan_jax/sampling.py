"""Images from a generator in inference mode."""

import functools
from collections.abc import Callable

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


def sample_labels(state: GANState, key: jax.Array, n: int) -> jax.Array | None:
    """``n`` classes drawn uniformly, int32 [n]; None if the state has no classes."""
    if state.classes is None:
        return None
    return jax.random.randint(jax.random.fold_in(pin_key(key), 1), (n,), 0, state.classes, jnp.int32)


def check_labels(state: GANState, labels: jax.Array | None, n: int) -> None:
    """Check the labels of a batch of ``n`` images. Their values are not checked: a traced array has none.

    Raises:
      ValueError: if the state has classes and there are no labels, or the other way round, or they are not [n].
      TypeError: if they are not integers.
    """
    if labels is None:
        if state.classes is not None:
            raise ValueError(f"this state has {state.classes} classes: pass labels, integers [{n}]")
        return
    if state.classes is None:
        raise ValueError("labels need a state with classes: init_state(key, classes=10)")
    if labels.shape != (n,):
        raise ValueError(f"labels must have shape [{n}], one for each image, got {list(labels.shape)}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}")


@jax.jit
@with_auto_axes(image_sharding)
def generate(state: GANState, z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
    """The generator's images of ``z`` [B, latent_size], and of the classes ``labels`` [B]: [B, H, W, C] in [0, 1].

    Inference mode: moving batch statistics, no dropout, so each image depends on its own noise and class only.

    Raises:
      ValueError, TypeError: as `check_labels`.
    """
    check_labels(state, labels, z.shape[0])
    return state.generator.infer(z, labels)


def image_shape(state: GANState) -> tuple[int, ...]:
    """The shape [H, W, C] of the generator's images; nothing is computed."""
    noise = jax.ShapeDtypeStruct((1, state.latent_size), jnp.float32)
    labels = None if state.classes is None else jax.ShapeDtypeStruct((1,), jnp.int32)
    return jax.eval_shape(generate, state, noise, labels).shape[1:]


@functools.partial(jax.jit, static_argnames="n")
def sample(state: GANState, key: jax.Array, n: int, labels: jax.Array | None = None) -> jax.Array:
    """``n`` images of fresh noise, [n, H, W, C] in [0, 1], in inference mode; n at least 1.

    Args:
      state: from training.
      key: a PRNG key.
      n: the number of images.
      labels: integers [n], the class of each; drawn at random if None and the state has classes.

    Raises:
      ValueError, TypeError: as `check_labels`.
    """
    labels = sample_labels(state, key, n) if labels is None else labels
    return generate(state, sample_noise(state, key, n), labels)


@jax_defaults()
def sample_in_batches(
    state: GANState,
    key: jax.Array,
    n: int,
    labels: jax.Array | None = None,
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """As `sample`, for any ``n``: a few hundred images at a time, by one compiled program, as a NumPy array.

    ``convert`` is applied to these few hundred: bytes, for example, are a quarter of the memory of all images.
    """
    noise, labels = sample_noise(state, key, n), sample_labels(state, key, n) if labels is None else labels
    check_labels(state, labels, n)
    noise = jnp.pad(noise, ((0, -n % _BATCH), (0, 0)))
    parts = jnp.split(noise, len(noise) // _BATCH)
    if labels is None:
        classes: list[jax.Array | None] = [None] * len(parts)
    else:
        classes = [*jnp.split(jnp.pad(jnp.asarray(labels), (0, -n % _BATCH)), len(parts))]
    images = [convert(jax.device_get(generate(state, *each))) for each in zip(parts, classes, strict=True)]
    return np.concatenate(images)[:n]
