"""GAN inversion: the noise with which a generator draws a given image."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dcgan_jax.counts import check_counts
from dcgan_jax.prng import pin_key
from dcgan_jax.sampling import check_labels, generate, image_shape, sample_noise
from dcgan_jax.state import GANState, uniform_noise

MAX_STARTS = 400  # random noise vectors from which the starts are chosen
_BATCH = 100  # of these are drawn at a time
_RATE = 0.1  # Adam's learning rate, which decays to 0 along half a cosine
_PIXEL_DEVIATION = 4 / 255  # of a picture's pixels from the generated ones, for normal noise


class Projection(NamedTuple):
    """The generator's images that are nearest to given ones.

    Attributes:
      noise: of each image, float32 [N, latent_size].
      images: what the generator draws from it, [N, H, W, C] in [0, 1].
      distances: root mean square pixel differences, in levels of 255, float32 [N].
      labels: the class of each, int32 [N]; None if the state has none.
    """

    noise: jax.Array
    images: jax.Array
    distances: jax.Array
    labels: jax.Array | None


@functools.partial(jax.jit, static_argnames=("starts", "steps"))
def project(
    state: GANState,
    images: jax.Array,
    key: jax.Array,
    labels: jax.Array | None = None,
    *,
    starts: int = 8,
    steps: int = 500,
) -> Projection:
    """The noise whose images are nearest to ``images``, by gradient descent through the generator in inference mode.

    Of 400 random noise vectors, the ``starts`` whose images are nearest are each optimised by ``steps`` steps of Adam,
    and the best vector of all steps is returned. The objective is the mean squared pixel difference plus the negative
    log density of the noise, up to a constant: nothing for the tutorial's uniform noise inside [-1, 1], which it never
    leaves; half the square of normal noise (``noise=jax.random.normal``), for pixels that deviate by 4 levels. Noise of
    any other kind stays between the smallest and the largest number drawn.

    Args:
      state: from training; ``averaged(state)`` for the moving average of the generator.
      images: [N, H, W, C], uint8 or floating point in [0, 1], which `check_images` checks.
      key: a PRNG key for the random noise.
      labels: integers [N], the class of each image; the best of all classes if None and the state has classes.
      starts: at least 1 and at most 400.
      steps: at least 0.

    Raises:
      ValueError: if the images do not have the generator's shape, or a number is out of range; and for labels as
        `sample`.
      TypeError: if the images are not an array or neither uint8 nor floating point, or the labels are not integers.
    """
    targets = _as_floats(images, image_shape(state))
    check_counts(most=MAX_STARTS, starts=starts)
    check_counts(least=0, steps=steps)
    if labels is not None:
        check_labels(state, labels, len(targets))
    # Not the noise that `sample` draws with the same key: its images would be found because they are known.
    drawn = sample_noise(state, jax.random.fold_in(pin_key(key), 2), MAX_STARTS)  # [M, latent]
    low, high, weight = _prior(state, drawn, targets[0].size)
    z, classes = _nearest(state, targets, drawn, labels, starts)  # [N * starts, latent], [N * starts]
    goals = jnp.repeat(targets, starts, axis=0)
    tx = optax.adam(optax.cosine_decay_schedule(_RATE, max(steps, 1)))

    def errors(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        each = jnp.square(generate(state, z, classes) - goals).mean((1, 2, 3)) + weight * jnp.square(z).sum(-1)
        return each.sum(), each  # the gradient of the sum is that of each image alone

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        z, opt_state, best, least = carry
        (_, each), grad = jax.value_and_grad(errors, has_aux=True)(z)
        best, least = jnp.where((each < least)[:, None], z, best), jnp.minimum(each, least)
        updates, opt_state = tx.update(grad, opt_state)
        return (jnp.clip(z + updates, low, high), opt_state, best, least), None

    first = (z, tx.init(z), z, jnp.full(len(z), jnp.inf, jnp.float32))
    (z, _, best, least), _ = jax.lax.scan(step, first, length=steps)
    last = errors(z)[1]
    best, least = jnp.where((last < least)[:, None], z, best), jnp.minimum(last, least)
    rows = jnp.arange(len(targets), dtype=jnp.int32) * starts + least.reshape(-1, starts).argmin(1).astype(jnp.int32)
    noise, labels = best[rows], None if classes is None else classes[rows]
    found = generate(state, noise, labels)
    return Projection(noise, found, 255 * jnp.sqrt(jnp.square(found - targets).mean((1, 2, 3))), labels)


def _as_floats(images: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Images in [0, 1], float32. Raises: as `project`."""
    size = ", ".join(map(str, shape))
    if not hasattr(images, "shape"):
        raise TypeError(f"images must be an array [N, {size}], got {type(images).__name__}")
    images = jnp.asarray(images)
    if images.ndim != 4 or not len(images) or images.shape[1:] != shape:
        raise ValueError(f"images must be [N, {size}] with N at least 1, got {list(images.shape)}")
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be uint8 or floating point in [0, 1], got {images.dtype}")
    return images.astype(jnp.float32)


def _prior(state: GANState, drawn: jax.Array, values: int) -> tuple[jax.Array | float, jax.Array | float, float]:
    """The range of the noise's numbers, and the weight of their squares against a mean over an image's values."""
    if state.noise is uniform_noise:
        return -1.0, 1.0, 0.0
    if state.noise is jax.random.normal:
        return -jnp.inf, jnp.inf, _PIXEL_DEVIATION**2 / values
    return drawn.min(), drawn.max(), 0.0


def _nearest(
    state: GANState, targets: jax.Array, drawn: jax.Array, labels: jax.Array | None, starts: int
) -> tuple[jax.Array, jax.Array | None]:
    """For each image, the drawn noise vectors whose images are nearest: [N * starts, latent], and their classes.

    Without labels the drawn vectors take the classes in turn.
    """
    if state.classes is None or labels is None:
        turns = None if state.classes is None else jnp.arange(MAX_STARTS, dtype=jnp.int32) % state.classes
        images = _draw(state, drawn, turns)
        order = jax.lax.map(lambda target: _order(target, images, starts), targets).reshape(-1)
        return drawn[order], None if turns is None else turns[order]
    labels = labels.astype(jnp.int32)

    def of_class(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        target, label = pair
        return _order(target, _draw(state, drawn, jnp.full(MAX_STARTS, label)), starts)

    order = jax.lax.map(of_class, (targets, labels)).reshape(-1)
    return drawn[order], jnp.repeat(labels, starts)


def _draw(state: GANState, z: jax.Array, labels: jax.Array | None) -> jax.Array:
    """The images of noise [M, latent] and of classes [M], in batches."""
    parts = jax.tree.map(lambda x: x.reshape(-1, _BATCH, *x.shape[1:]), (z, labels))
    images = jax.lax.map(lambda part: generate(state, *part), parts)
    return images.reshape(-1, *images.shape[2:])


def _order(target: jax.Array, images: jax.Array, n: int) -> jax.Array:
    """The indices of the ``n`` images of [M, H, W, C] that are nearest to one."""
    return jax.lax.top_k(-jnp.square(images - target[None]).mean((1, 2, 3)), n)[1]
