"""One training step: update the discriminator, then the generator against the updated discriminator."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dcgan_jax.dtypes import at_least_float32
from dcgan_jax.losses import discriminator_accuracy, generator_accuracy
from dcgan_jax.prng import pin_key
from dcgan_jax.sampling import check_labels, generate, sample_noise
from dcgan_jax.sharding import shard_like, state_shardings, with_auto_axes
from dcgan_jax.state import GANState, Update

Metrics = dict[str, jax.Array]


@jax.jit
@with_auto_axes(state_shardings)
def train_step(
    state: GANState, images: jax.Array, key: jax.Array, labels: jax.Array | None = None
) -> tuple[GANState, Metrics]:
    """One step of both networks: `discriminator_step`, then `generator_step` with as many fakes.

    Pure and jit-compiled; it donates nothing, and works under the caller's ``jit``, ``vmap``, ``lax.scan``
    and sharding. The same inputs give the same bits. Images that are sharded over devices stay so, and the fakes are
    sharded as they are; losses and batch statistics are those of the whole batch.

    Args:
      state: from `init_state`.
      images: a batch of real images [B, H, W, C], uint8 in [0, 255] or floating point in [0, 1].
      key: a PRNG key, a new one each step.
      labels: the classes of the images, integers [B], for a state with classes; the fakes are of the same.

    Returns:
      The new state, one step on, and the scalars ``d_loss``, ``d_accuracy``, ``g_loss`` and
      ``g_accuracy``, on the device; with a penalty ``d_penalty``, which ``d_loss`` is without; and the caller's own
      metrics.

    Raises:
      TypeError: if the images are neither uint8 nor floating point, or the labels no integers.
      ValueError: if their shape is not that of the generator's images, or there is none, or labels are missing or too
        many. Values are not checked, for a traced array has none: see `dcgan_jax.check_images`.
    """
    discriminator_key, generator_key = jax.random.split(pin_key(key))
    state, d_metrics = discriminator_step(state, images, discriminator_key, labels)
    state, g_metrics = generator_step(state, generator_key, images.shape[0], like=images, labels=labels)
    return state.replace(step=state.step + 1), {**d_metrics, **g_metrics}


@jax.jit
@with_auto_axes(state_shardings)
def discriminator_step(
    state: GANState, images: jax.Array, key: jax.Array, labels: jax.Array | None = None
) -> tuple[GANState, Metrics]:
    """Update the discriminator alone, on the real images and as many fakes in one batch.

    The fakes carry no gradient. They are generated in inference mode, as Keras's ``predict`` does, or with
    ``state.fakes == "training"`` as for the generator's update; the moving statistics stay as they are.

    Args, raises: as `train_step`.

    Returns:
      The state with a new discriminator, and its metrics before the update.
    """
    _check_batch_size(images.shape[0] if images.ndim else 0)
    check_labels(state, labels, images.shape[0])
    noise_key, discriminator_key, generator_key = jax.random.split(pin_key(key), 3)
    z = shard_like(sample_noise(state, noise_key, images.shape[0]), images)  # [B, latent]
    if state.fakes == "training":
        fake, _ = state.generator.train(state.generator.params, z, generator_key, labels)  # [B, H, W, C]
    else:
        fake = generate(state, z, labels)  # [B, H, W, C]
    fake = fake.astype(at_least_float32(fake.dtype))
    real = _to_unit_range(images, fake)  # [B, H, W, C]
    # Real, fake, real, fake, ...: where the batch is sharded, no image moves to another device.
    both = jnp.stack([real, fake], axis=1).reshape(-1, *real.shape[1:])  # [2 B, H, W, C]
    of_both = None if labels is None else jnp.repeat(labels, 2)  # [2 B]

    def loss(params):
        logits, batch_stats = state.discriminator.train(params, both, discriminator_key, of_both)  # [2 B, 1]
        logits = logits[0::2], logits[1::2]
        d_loss = state.losses.discriminator(*logits)
        metrics = {"d_loss": d_loss, "d_accuracy": discriminator_accuracy(*logits)}
        if state.losses.penalty is not None:
            metrics["d_penalty"] = _penalty(state, params, real, fake, discriminator_key, labels)
            d_loss += metrics["d_penalty"]
        return d_loss, (metrics, logits, batch_stats)

    value, grads = jax.value_and_grad(loss, has_aux=True)(state.discriminator.params)
    d_loss, (metrics, logits, batch_stats) = value
    discriminator = state.discriminator.update(grads, batch_stats, d_loss)
    metrics |= _own_metrics(state, Update("discriminator", state.discriminator, discriminator, grads, d_loss, *logits))
    return state.replace(discriminator=discriminator), metrics


@functools.partial(jax.jit, static_argnames="batch_size")
@with_auto_axes(state_shardings)
def generator_step(
    state: GANState,
    key: jax.Array,
    batch_size: int,
    like: jax.Array | None = None,
    labels: jax.Array | None = None,
) -> tuple[GANState, Metrics]:
    """Update the generator alone, so that the discriminator classifies ``batch_size`` fresh fakes as real.

    Both networks are in training mode. The gradient flows through the discriminator to the generator and stops at the
    discriminator's parameters, which stay as they are. A gradient that a caller takes through a whole step stops
    there too.

    Args:
      state: from `init_state`.
      key: a PRNG key.
      batch_size: the number of fakes.
      like: an array [batch_size, ...]; the fakes are sharded over devices as it is. Its values do not matter.
      labels: the classes of the fakes, integers [batch_size], for a state with classes.

    Returns:
      The state with a new generator (and a new moving average of it, if one is kept), and its metrics before the
      update.

    Raises:
      ValueError: if ``batch_size`` is below 1, ``like`` has another number of rows, or labels are missing or too many.
      TypeError: if the labels are no integers.
    """
    _check_batch_size(batch_size)
    check_labels(state, labels, batch_size)
    noise_key, generator_key, discriminator_key = jax.random.split(pin_key(key), 3)
    z = sample_noise(state, noise_key, batch_size)  # [B, latent]
    if like is not None:
        if like.shape[0] != batch_size:
            raise ValueError(f"like must have batch_size = {batch_size} rows, got {like.shape[0]}")
        z = shard_like(z, like)
    frozen = jax.lax.stop_gradient(state.discriminator.params)

    def loss(params):
        fake, batch_stats = state.generator.train(params, z, generator_key, labels)  # [B, H, W, C]
        logits, _ = state.discriminator.train(frozen, fake, discriminator_key, labels)  # [B, 1]
        return state.losses.generator(logits), (logits, batch_stats)

    (g_loss, (logits, batch_stats)), grads = jax.value_and_grad(loss, has_aux=True)(state.generator.params)
    generator = state.generator.update(grads, batch_stats, g_loss)
    ema = None if state.ema is None else state.ema.update(generator.params, generator.batch_stats)
    metrics = {"g_loss": g_loss, "g_accuracy": generator_accuracy(logits)}
    metrics |= _own_metrics(state, Update("generator", state.generator, generator, grads, g_loss, None, logits))
    return state.replace(generator=generator, ema=ema), metrics


def _penalty(
    state: GANState, params: Any, real: jax.Array, fake: jax.Array, key: jax.Array, labels: jax.Array | None
) -> jax.Array:
    """The penalty of the losses in the steps that have one, and 0 in the others.

    Its discriminator judges images by the labels of the batch, in its order, once or several times.
    """
    penalty, every = state.losses.penalty, state.losses.penalty_every
    assert penalty is not None
    dropout_key, key = jax.random.split(jax.random.fold_in(key, 2))  # 1 is that of the update's own streams

    def value(params: Any) -> jax.Array:
        def discriminator(x: jax.Array) -> jax.Array:
            if labels is not None and x.shape[0] % real.shape[0]:
                raise ValueError(
                    f"a penalty's discriminator judges images by the labels of the batch: give it all {real.shape[0]}, "
                    f"in their order, once or several times, got {x.shape[0]}"
                )
            of_x = None if labels is None else jnp.tile(labels, x.shape[0] // real.shape[0])
            return state.discriminator.train(params, x, dropout_key, of_x)[0]

        return every * penalty(discriminator, real, fake, key)

    if every == 1:
        return value(params)
    zero = jax.eval_shape(value, params)
    return jax.lax.cond(state.step % every == 0, value, lambda _: jnp.zeros(zero.shape, zero.dtype), params)


def _own_metrics(state: GANState, update: Update) -> Metrics:
    """The caller's metrics of one update, if there are any, under the network's letter."""
    own = {} if state.metrics is None else state.metrics(update)
    for name in ("loss", "accuracy", "penalty"):
        if name in own:
            raise ValueError(f"own metrics must not be named {name}: the step has that")
    return {f"{update.name[0]}_{name}": value for name, value in own.items()}


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"a batch must have at least one image, got {batch_size}")


def _to_unit_range(images: jax.Array, fake: jax.Array) -> jax.Array:
    """Real images in [0, 1] in the dtype of the fakes, checked against their shape."""
    if images.shape != fake.shape:
        raise ValueError(f"real images must have the generator's shape {fake.shape}, got {images.shape}")
    if images.dtype == jnp.uint8:
        return images.astype(fake.dtype) / 255
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(fake.dtype)
    raise TypeError(f"real images must be uint8 or floating point in [0, 1], got {images.dtype}")
