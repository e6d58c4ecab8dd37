"""Images from a generator in inference mode."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.counts import check_counts
from dcgan_jax.dtypes import jax_defaults
from dcgan_jax.prng import pin_key, seed_keys
from dcgan_jax.sharding import image_sharding, with_auto_axes
from dcgan_jax.state import GANState, check_is_state
from dcgan_jax.types import Images, Key, Labels, Noise, NoiseVector

_BATCH = 100  # images drawn at a time: a hundred megabytes or two
_CALL = 100  # images per call that draws one at a time


def sample_noise(state: GANState, key: Key, n: int) -> Noise:
    """``n`` vectors of the state's noise, float32 [n, latent_size]; n at least 1.

    Raises:
      ValueError: if n is not an integer of at least 1, or the state's noise has another shape.
    """
    check_counts(n=n)
    shape = (n, state.latent_size)
    z = state.noise(pin_key(key), shape)
    if z.shape != shape:
        raise ValueError(f"noise must have the shape that it is asked for, {shape}, got {z.shape}")
    return z.astype(jnp.float32)


def sample_labels(state: GANState, key: Key, n: int) -> Labels | None:
    """``n`` classes drawn uniformly, int32 [n]; None if the state has no classes. Raises: TypeError for no state."""
    check_is_state(state)
    if state.classes is None:
        return None
    return jax.random.randint(jax.random.fold_in(pin_key(key), 1), (n,), 0, state.classes, jnp.int32)


def check_labels(state: GANState, labels: jax.Array | None, n: int) -> None:
    """Check the labels of a batch of ``n`` images. Their values are not checked: a traced array has none.

    Raises:
      ValueError: if the state has classes and there are no labels, or the reverse, or their shape is not [n].
      TypeError: if they are not integers, or the state is none.
    """
    check_is_state(state)
    if labels is None:
        if state.classes is not None:
            raise ValueError(f"this state has {state.classes} classes: pass labels, integers [{n}]")
        return
    if state.classes is None:
        raise ValueError("labels need a state with classes: init_state(key, classes=10)")
    if not hasattr(labels, "shape"):
        raise TypeError(f"labels must be an array of integers, as jnp.asarray makes one, got {type(labels).__name__}")
    if labels.shape != (n,):
        raise ValueError(f"labels must have shape [{n}], one for each image, got {list(labels.shape)}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}")


@jax.jit
@with_auto_axes(image_sharding)
def generate(state: GANState, z: Noise, labels: Labels | None = None) -> Images:
    """The generator's images of noise ``z`` [B, latent_size] and classes ``labels`` [B]: [B, H, W, C] in [0, 1].

    In inference mode (moving batch statistics, no dropout), so each image depends only on its own noise and class.

    Raises:
      ValueError: if ``z`` has another shape, and as `check_labels`.
      TypeError: if ``z`` is not an array, and as `check_labels`.
    """
    check_is_state(state)
    if not hasattr(z, "shape"):
        raise TypeError(f"z must be an array [B, {state.latent_size}], got {type(z).__name__}")
    if z.ndim != 2 or z.shape[1] != state.latent_size:
        raise ValueError(f"z must be noise [B, {state.latent_size}], got {list(z.shape)}")
    check_labels(state, labels, z.shape[0])
    return state.generator.infer(z, labels)


def image_shape(state: GANState) -> tuple[int, ...]:
    """The shape [H, W, C] of the generator's images, without computing any."""
    noise = jax.ShapeDtypeStruct((1, state.latent_size), jnp.float32)
    labels = None if state.classes is None else jax.ShapeDtypeStruct((1,), jnp.int32)
    return jax.eval_shape(generate, state, noise, labels).shape[1:]


@functools.partial(jax.jit, static_argnames="n")
def sample(state: GANState, key: Key, n: int, labels: Labels | None = None) -> Images:
    """``n`` images of fresh noise, [n, H, W, C] in [0, 1], in inference mode; n at least 1.

    Args:
      state: from training.
      key: a PRNG key.
      n: the number of images.
      labels: integers [n], the class of each image; random if None and the state has classes.

    Raises:
      ValueError: if n is not an integer of at least 1, and as `check_labels`.
      TypeError: as `check_labels`.
    """
    labels = sample_labels(state, key, n) if labels is None else labels
    return generate(state, sample_noise(state, key, n), labels)


@jax_defaults()
def sample_in_batches(
    state: GANState,
    key: Key,
    n: int,
    labels: Labels | None = None,
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """As `sample`, for any ``n``: in batches, with one compiled program, as a NumPy array.

    ``convert`` is applied to each batch: bytes, for example, take a quarter of the memory.
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


@jax_defaults()
def sample_seeds(state: GANState, seeds: np.ndarray) -> tuple[Noise, Labels | None]:
    """The noise [N, latent_size] of each seed, integers [N] below 2^32, and its class [N] if the state has classes.

    They are those of the one image of ``sample(state, jax.random.key(seed), 1)``.
    """
    noise, labels = jax.vmap(lambda key: (sample_noise(state, key, 1), sample_labels(state, key, 1)))(seed_keys(seeds))
    return noise[:, 0], None if labels is None else labels[:, 0]


@jax_defaults()
def generate_singly(state: GANState, z: Noise, labels: Labels | None = None) -> np.ndarray:
    """As `generate`, with each image in its own batch: it has the same bits alone and among any others.

    In a larger batch the last bit of a pixel depends on the position of the image.
    """
    check_labels(state, labels, len(z))
    inputs = jax.tree.map(lambda x: np.pad(x, [(0, -len(x) % _CALL)] + [(0, 0)] * (x.ndim - 1)), (z, labels))
    calls = range(0, len(inputs[0]), _CALL)
    parts = [jax.tree.map(lambda x, i=i: jnp.asarray(x[i : i + _CALL]), inputs) for i in calls]
    return np.concatenate([jax.device_get(_generate_singly(state, *part)) for part in parts])[: len(z)]


@jax.jit
def _generate_singly(state: GANState, z: Noise, labels: Labels | None) -> Images:
    return jax.lax.map(lambda one: generate(state, *jax.tree.map(lambda x: x[None], one))[0], (z, labels))


@jax_defaults()
def interpolate(start: NoiseVector, end: NoiseVector, n: int, *, straight: bool = False) -> Noise:
    """Noise for ``n`` images on the path from one noise vector to another, both included: [n, latent_size].

    The path is an arc of the great circle through their directions (White, "Sampling Generative Networks",
    arXiv:1609.04468). In many dimensions all noise vectors have nearly the same length: of 100 uniform numbers it is
    5.77 within 0.26. Two vectors are nearly orthogonal, so the middle of a straight line is shorter by the square root
    of 2, unlike any noise in training; on the arc the length stays between those of the ends, if they are at most a
    right angle apart. Individual numbers may leave the range of uniform noise.

    Args:
      start: noise, [latent_size].
      end: noise, [latent_size].
      n: the number of images, at least 2.
      straight: use a straight line, with even steps, as is always done for vectors of the same or opposite directions.

    Raises:
      ValueError: if n is not an integer of at least 2, or the noise is not two vectors of one size.
      TypeError: if the noise is not an array.
    """
    check_counts(2, n=n)
    _check_vectors(start, end)
    t = jnp.linspace(0, 1, n)[:, None]  # [n, 1]
    weights = 1 - t, t
    if not straight:
        lengths = jnp.linalg.norm(start) * jnp.linalg.norm(end)
        cosine = jnp.where(lengths > 0, jnp.vdot(start, end) / jnp.where(lengths > 0, lengths, 1), 1)
        angle = jnp.arccos(jnp.clip(cosine, -1, 1))
        arc = jnp.sin(angle) > 1e-3
        angle = jnp.where(arc, angle, 1)  # no division by 0, also where JAX reports NaN
        weights = [jnp.where(arc, jnp.sin(weight * angle) / jnp.sin(angle), weight) for weight in weights]
    way = weights[0] * start + weights[1] * end
    return way.at[0].set(start).at[-1].set(end)  # exact


def _check_vectors(start: jax.Array, end: jax.Array) -> None:
    if not (hasattr(start, "shape") and hasattr(end, "shape")):
        raise TypeError(f"start and end must be arrays, got {type(start).__name__} and {type(end).__name__}")
    if len(start.shape) != 1 or start.shape != end.shape:
        shapes = f"{list(start.shape)} and {list(end.shape)}"
        raise ValueError(f"start and end must be vectors of one size, [latent_size], got {shapes}")


def between_classes(state: GANState, start: int, end: int, n: int) -> GANState:
    """A state with ``n`` classes that lead evenly from class ``start`` to class ``end`` of the package's own generator.

    Their vectors are on the straight line between the two learned ones.
    """
    generator = state.generator
    t = jnp.linspace(0, 1, n)[:, None]
    vectors = generator.params["embedding"]["embedding"]  # [classes, 50]
    way = (1 - t) * vectors[start] + t * vectors[end]
    params = {**generator.params, "embedding": {"embedding": way.at[0].set(vectors[start]).at[-1].set(vectors[end])}}
    module = generator.module.clone(classes=n)
    return state.replace(generator=generator.replace(module=module, params=params), classes=n)
