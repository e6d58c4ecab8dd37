"""One training step: update the discriminator, then the generator against the updated discriminator."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dcgan_jax.dtypes import at_least_float32
from dcgan_jax.judging import (
    accuracy_of_discriminator,
    accuracy_of_generator,
    adapted_probability,
    augmented,
    judge_real,
    penalty_value,
)
from dcgan_jax.sampling import generate, sample_noise
from dcgan_jax.sharding import shard_like, state_shardings, with_auto_axes
from dcgan_jax.state import GANState, Update, own_metrics
from dcgan_jax.step_arguments import check_scalar, to_unit_range, with_checked_arguments
from dcgan_jax.types import Key, Labels, RealImages

Metrics = dict[str, jax.Array]


@jax.jit
@with_auto_axes(state_shardings)
@with_checked_arguments
def train_step(state: GANState, images: RealImages, key: Key, labels: Labels | None = None) -> tuple[GANState, Metrics]:
    """One step of both networks: `discriminator_step`, then `generator_step` with as many fakes.

    Pure and jit-compiled; it donates no buffers, and works under the caller's ``jit``, ``vmap``, ``lax.scan``
    and sharding. The same inputs give the same bits. Images that are sharded over devices stay so, and the fakes are
    sharded like them; losses and batch statistics are those of the whole batch.

    With ``state.d_steps`` above 1 the discriminator has that many updates, each on its share of the images.

    Args:
      state: from `init_state`.
      images: a batch of real images [B, H, W, C], uint8 in [0, 255] or floating point in [0, 1]; with several updates
        of the discriminator [d_steps B, H, W, C], of which update i takes every ``d_steps``-th, starting at image i.
      key: a PRNG key, a new one for each step.
      labels: the classes of the images, integers [B], for a state with classes; the fakes have the same classes.

    Returns:
      The new state, with its ``step`` advanced, and the scalars ``d_loss``, ``d_accuracy``, ``g_loss`` and
      ``g_accuracy``, on the device; with a penalty ``d_penalty``, which is not part of ``d_loss``; with an adaptive
      augmentation its probability ``d_augment``; and the caller's own metrics. Discriminator metrics
      are those of its last update.

    Raises:
      TypeError: if the images are neither uint8 nor floating point, or the labels are not integers.
      ValueError: if the images do not have the generator's shape, or there are none, or the labels do not fit the
        images and the state. Values are not checked, because a traced array has none: see `dcgan_jax.check_images`.
    """
    discriminator_key, generator_key = jax.random.split(key)
    state, images, labels, d_metrics = _discriminator_steps(state, images, discriminator_key, labels)
    state, g_metrics = generator_step(state, generator_key, images.shape[0], images, labels)
    return state.replace(step=state.step + 1), {**d_metrics, **g_metrics}


@jax.jit
@with_auto_axes(state_shardings)
@with_checked_arguments
def discriminator_step(
    state: GANState, images: RealImages, key: Key, labels: Labels | None = None
) -> tuple[GANState, Metrics]:
    """Update only the discriminator, on the real images and as many fakes in one batch.

    The fakes carry no gradient. They are generated in inference mode, as by Keras's ``predict``, or with
    ``state.fakes == "training"`` as in the generator's update; the moving statistics are unchanged.

    Args, raises: as `train_step`.

    Returns:
      The state with the updated discriminator, and its metrics before the update.
    """
    noise_key, discriminator_key, generator_key = jax.random.split(key, 3)
    z = shard_like(sample_noise(state, noise_key, images.shape[0]), images)  # [B, latent]
    if state.fakes == "training":
        fake, _ = state.generator.train(state.generator.params, z, generator_key, labels)  # [B, H, W, C]
    else:
        fake = generate(state, z, labels)  # [B, H, W, C]
    fake = fake.astype(at_least_float32(fake.dtype))
    real = to_unit_range(images, fake)  # [B, H, W, C]
    # Real, fake, real, fake, ...: if the batch is sharded, no image moves to another device.
    both = jnp.stack([real, fake], axis=1).reshape(-1, *real.shape[1:])  # [2 B, H, W, C]
    both = augmented(state, both, discriminator_key)
    of_both = None if labels is None else jnp.repeat(labels, 2)  # [2 B]

    def loss(params):
        logits, batch_stats = state.discriminator.train(params, both, discriminator_key, of_both)  # [2 B, 1]
        logits = logits[0::2], logits[1::2]
        d_loss = check_scalar(state.losses.discriminator(*logits), "the discriminator's loss")
        metrics = {"d_loss": d_loss, "d_accuracy": accuracy_of_discriminator(state, *logits)}
        if state.losses.penalty is not None:
            metrics["d_penalty"] = penalty_value(state, params, real, fake, discriminator_key, labels)
            d_loss += metrics["d_penalty"]
        return d_loss, (metrics, logits, batch_stats)

    value, grads = jax.value_and_grad(loss, has_aux=True)(state.discriminator.params)
    d_loss, (metrics, logits, batch_stats) = value
    discriminator = state.discriminator.update(grads, batch_stats, d_loss)
    metrics |= own_metrics(state, Update("discriminator", state.discriminator, discriminator, grads, d_loss, *logits))
    if state.augment_probability is not None:
        metrics["d_augment"] = state.augment_probability
    return state.replace(discriminator=discriminator, augment_probability=adapted_probability(state, *logits)), metrics


@functools.partial(jax.jit, static_argnames="batch_size")
@with_auto_axes(state_shardings)
@with_checked_arguments
def generator_step(
    state: GANState,
    key: Key,
    batch_size: int,
    images: RealImages | None = None,
    labels: Labels | None = None,
) -> tuple[GANState, Metrics]:
    """Update only the generator, so that the discriminator classifies ``batch_size`` fresh fakes as real.

    Both networks are in training mode. The gradient flows through the discriminator to the generator and stops at the
    discriminator's parameters, which are unchanged. A gradient that a caller takes through a whole step stops
    there too.

    Args:
      state: from `init_state`.
      key: a PRNG key.
      batch_size: the number of fakes.
      images: real images [batch_size, H, W, C], as in `train_step`, required by a pairwise loss. The fakes are sharded
        over devices like them; other losses ignore their values.
      labels: the classes of the fakes, and of the images, integers [batch_size], for a state with classes.

    Returns:
      The state with the updated generator (and its updated moving average, if one is kept), and its metrics before the
      update.

    Raises:
      ValueError: if ``batch_size`` is below 1, ``images`` has another number of rows, a pairwise loss lacks them, or
        the labels do not fit the state and ``batch_size``.
      TypeError: if the labels are not integers.
    """
    noise_key, generator_key, discriminator_key = jax.random.split(key, 3)
    z = sample_noise(state, noise_key, batch_size)  # [B, latent]
    if images is not None:
        z = shard_like(z, images)
    frozen = jax.lax.stop_gradient(state.discriminator.params)

    def loss(params):
        fake, batch_stats = state.generator.train(params, z, generator_key, labels)  # [B, H, W, C]
        seen = augmented(state, fake, discriminator_key)
        logits, _ = state.discriminator.train(frozen, seen, discriminator_key, labels)  # [B, 1]
        real_logits = judge_real(state, frozen, images, fake, discriminator_key, labels)  # [B, 1] if pairwise
        of_pairs = () if real_logits is None else (real_logits,)
        g_loss = check_scalar(state.losses.generator(*of_pairs, logits), "the generator's loss")
        return g_loss, (real_logits, logits, batch_stats)

    (g_loss, (real_logits, logits, batch_stats)), grads = jax.value_and_grad(loss, has_aux=True)(state.generator.params)
    generator = state.generator.update(grads, batch_stats, g_loss)
    ema = None if state.ema is None else state.ema.update(generator.params, generator.batch_stats)
    metrics = {"g_loss": g_loss, "g_accuracy": accuracy_of_generator(logits, real_logits)}
    metrics |= own_metrics(state, Update("generator", state.generator, generator, grads, g_loss, real_logits, logits))
    return state.replace(generator=generator, ema=ema), metrics


def _discriminator_steps(
    state: GANState, images: RealImages, key: Key, labels: Labels | None
) -> tuple[GANState, jax.Array, jax.Array | None, Metrics]:
    """The discriminator's updates in a step: the state, images and labels of the last one, and its metrics."""
    n = state.d_steps
    if n == 1:
        state, metrics = discriminator_step(state, images, key, labels)
        return state, images, labels, metrics
    if images.shape[0] % n:
        raise ValueError(f"images must be a multiple of d_steps = {n}, got {images.shape[0]}")

    def share(rows: jax.Array) -> jax.Array:  # [n B, ...] -> [n, B, ...], on the devices of a sharded batch
        return jnp.moveaxis(rows.reshape(-1, n, *rows.shape[1:]), 1, 0)

    def update(state: GANState, part: Any) -> tuple[GANState, Metrics]:
        return discriminator_step(state, *part)

    parts = share(images), jax.random.split(key, n), None if labels is None else share(labels)
    state, metrics = jax.lax.scan(update, state, parts)
    images, _, labels, metrics = jax.tree.map(lambda each: each[-1], (*parts, metrics))
    return state, images, labels, metrics
