"""The training step of the search: the tutorial's two updates, with what a `Setting` adds to them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from benchmarks.search_settings import Setting
from dcgan_jax import Discriminator, GANState, Generator, discriminator_loss, generator_loss, init_state, muon, rmsprop
from dcgan_jax.losses import discriminator_accuracy
from dcgan_jax.optimizers import InverseSqrt
from dcgan_jax.penalties import r1_penalty
from dcgan_jax.sampling import sample_noise
from dcgan_jax.state import NetworkState, uniform_noise

Metrics = dict[str, jax.Array]
_LIBRARY_MOMENTUM = 0.9  # of `Generator`'s moving statistics


class SearchState(struct.PyTreeNode):
    """Everything that a run of the search changes.

    Attributes:
      gan: both networks.
      params: averaged parameters of the generator.
      batch_stats: averaged moving statistics of the generator.
      images: real images seen so far, a float32 scalar.
    """

    gan: GANState
    params: Any
    batch_stats: Any
    images: jax.Array

    def averaged(self) -> NetworkState:
        """The generator with its averaged weights and statistics."""
        return self.gan.generator.replace(params=self.params, batch_stats=self.batch_stats)


def create_state(setting: Setting, key: jax.Array) -> SearchState:
    """A fresh state. The average starts as a copy: the step donates its buffers."""
    gan = init_state(
        key,
        generator=Generator(dropout_rate=setting.dropout_g),
        discriminator=Discriminator(dropout_rate=setting.dropout_d),
        generator_tx=optimizer(setting, setting.rate_g, 3e-8),
        discriminator_tx=optimizer(setting, setting.rate_d, 6e-8),
        fakes=setting.fakes,
    )
    params, batch_stats = jax.tree.map(jnp.copy, (gan.generator.params, gan.generator.batch_stats))
    return SearchState(gan, params, batch_stats, jnp.zeros((), jnp.float32))


def optimizer(setting: Setting, rate: float, decay: float) -> optax.GradientTransformation:
    """One network's optimizer; ``decay`` is the time decay that the article gives its RMSprop."""
    schedule = _schedule(setting, rate)
    if setting.optimizer == "adam":
        tx = optax.adam(schedule, b1=setting.beta1, b2=setting.rho, eps=setting.eps)
    elif setting.optimizer == "relative":
        tx = _relative(schedule, setting.rate_vectors / rate, setting)
    elif setting.optimizer == "muon":
        tx = muon(schedule, setting.beta1, vector_rate=setting.rate_vectors, b2=setting.rho)
    elif setting.rho == 0.9:
        return rmsprop(schedule, decay, clip=setting.clip, eps=setting.eps)
    else:
        scale = optax.scale_by_rms(decay=setting.rho, eps=setting.eps, eps_in_sqrt=False)
        tx = optax.chain(scale, optax.scale_by_learning_rate(schedule))
    return tx if setting.clip is None else optax.chain(optax.clip(setting.clip), tx)


def _schedule(setting: Setting, rate: float) -> float | optax.Schedule:
    """The rate of each step, if it is not the same in all."""
    if setting.fall_from is not None:
        return optax.linear_schedule(rate, 0.0, setting.horizon - setting.fall_from, setting.fall_from)
    if setting.decay_steps is not None:
        return InverseSqrt(rate, setting.decay_steps)
    return rate


def _relative(rate: optax.ScalarOrSchedule, vectors: float, setting: Setting) -> optax.GradientTransformation:
    """Each kernel moves by ``rate`` of its norm along Adam's direction; the rest by Adam at ``vectors`` times that."""
    return optax.chain(
        optax.scale_by_adam(b1=setting.beta1, b2=setting.rho, eps=setting.eps),
        optax.masked(optax.scale_by_trust_ratio(), lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)),
        optax.masked(optax.scale(vectors), lambda tree: jax.tree.map(lambda x: x.ndim <= 1, tree)),
        optax.scale_by_learning_rate(rate),
    )


def losses(setting: Setting) -> tuple[Callable[..., jax.Array], Callable[..., jax.Array]]:
    """D's loss and G's, both of ``(real_logits, fake_logits)`` [B, 1]."""

    def smoothed(real: jax.Array, fake: jax.Array) -> jax.Array:
        target = jnp.full_like(real, setting.label)
        on_real = optax.sigmoid_binary_cross_entropy(real, target).mean()
        on_fake = optax.sigmoid_binary_cross_entropy(fake, jnp.zeros_like(fake)).mean()
        return (on_real + on_fake) / 2

    match setting.loss:
        case "cross-entropy":
            return discriminator_loss if setting.label == 1 else smoothed, lambda _, fake: generator_loss(fake)
        case "hinge":  # Lim and Ye, arXiv:1705.02894
            return (
                lambda real, fake: (jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)).mean(),
                lambda _, fake: -fake.mean(),
            )
        case "relativistic":  # in pairs: Jolicoeur-Martineau, arXiv:1807.00734
            return (
                lambda real, fake: jax.nn.softplus(fake - real).mean(),
                lambda real, fake: jax.nn.softplus(real - fake).mean(),
            )
    raise ValueError(f"unknown loss {setting.loss!r}")


@functools.partial(jax.jit, static_argnames=("setting", "batch_size", "penalised"), donate_argnames="state")
def search_step(
    state: SearchState, dataset: jax.Array, key: jax.Array, *, setting: Setting, batch_size: int, penalised: bool
) -> tuple[SearchState, Metrics]:
    """One update of D, one of G, and one of the average. ``state`` is donated.

    Args:
      state: from `create_state`.
      dataset: all real images, uint8 [N, 28, 28, 1].
      key: the run's; what a step draws is a function of it and of the step's number.
      setting: what to do.
      batch_size: real images in the step.
      penalised: whether this step has the penalties of ``r1`` and ``r2``.

    Returns:
      The new state, and the scalars ``d_loss`` (without penalties), ``d_accuracy``, ``g_loss`` and ``penalty``.
    """
    gan = state.gan
    key = jax.random.fold_in(key, gan.step)
    batch_key, d_key, g_key = jax.random.split(key, 3)
    chosen = jax.random.randint(batch_key, (batch_size,), 0, len(dataset))
    real = dataset[chosen].astype(jnp.float32) / 255  # [B, 28, 28, 1]
    d_loss, g_loss = losses(setting)

    # The discriminator, on real images and fakes that carry no gradient.
    noise_key, generator_key, see_key, dropout_key, penalty_key = jax.random.split(d_key, 5)
    z = sample_noise(gan, noise_key, batch_size)
    if setting.fakes == "training":
        fake, _ = gan.generator.train(gan.generator.params, z, generator_key)
    else:
        fake = gan.generator.infer(z)
    both = _seen(jnp.concatenate([real, jax.lax.stop_gradient(fake)]), see_key, gan.step, setting)  # [2 B, 28, 28, 1]

    def discriminator_objective(params: Any) -> tuple[jax.Array, Metrics]:
        logits, _ = gan.discriminator.train(params, both, dropout_key)  # [2 B, 1]
        value = d_loss(logits[:batch_size], logits[batch_size:])
        penalty = jnp.zeros(())
        if penalised:
            judge = functools.partial(gan.discriminator.train, params, key=penalty_key)
            for gamma, images in ((setting.r1, both[:batch_size]), (setting.r2, both[batch_size:])):
                if gamma:
                    penalty += r1_penalty(gamma)(lambda x: judge(x)[0], images, images, penalty_key)
        accuracy = discriminator_accuracy(logits[:batch_size], logits[batch_size:])
        metrics = {"d_loss": value, "d_accuracy": accuracy, "penalty": penalty}
        return value + setting.penalty_every * penalty, metrics

    (_, metrics), grads = jax.value_and_grad(discriminator_objective, has_aux=True)(gan.discriminator.params)
    discriminator = gan.discriminator.update(grads, gan.discriminator.batch_stats, metrics["d_loss"])

    # The generator, against the updated discriminator.
    noise_key, generator_key, see_key, dropout_key = jax.random.split(g_key, 4)
    z = sample_noise(gan, noise_key, batch_size)

    def generator_objective(params: Any) -> tuple[jax.Array, Any]:
        fake, batch_stats = gan.generator.train(params, z, generator_key)
        if setting.loss != "relativistic":
            logits, _ = discriminator.train(discriminator.params, _seen(fake, see_key, gan.step, setting), dropout_key)
            return g_loss(None, logits), batch_stats
        pair = _seen(jnp.concatenate([real, fake]), see_key, gan.step, setting)
        logits, _ = discriminator.train(discriminator.params, pair, dropout_key)
        return g_loss(logits[:batch_size], logits[batch_size:]), batch_stats

    objective = jax.value_and_grad(generator_objective, has_aux=True)
    (metrics["g_loss"], batch_stats), grads = objective(gan.generator.params)
    share = (1 - setting.momentum) / (1 - _LIBRARY_MOMENTUM)  # of the change that the library's momentum makes
    batch_stats = jax.tree.map(lambda old, new: old + share * (new - old), gan.generator.batch_stats, batch_stats)
    generator = gan.generator.update(grads, batch_stats, metrics["g_loss"])

    images = state.images + batch_size
    decay = jnp.exp2(-batch_size / jnp.minimum(setting.half_life, setting.ramp * images))
    old, new = (state.params, state.batch_stats), (generator.params, generator.batch_stats)
    params, batch_stats = jax.tree.map(lambda mean, x: x + decay * (mean - x), old, new)
    gan = gan.replace(step=gan.step + 1, generator=generator, discriminator=discriminator)
    return SearchState(gan, params, batch_stats, images), metrics


def with_recomputed_statistics(generator: NetworkState, key: jax.Array, latent_size: int = 100) -> NetworkState:
    """The generator with statistics of batch normalisation taken anew from its own weights, without dropout.

    Moving statistics, and an average of them, belong to older weights, and to activations that dropout made wider.
    The new ones are means over ten batches of 200.
    """
    module = generator.module.clone(dropout_rate=0.0)  # pyright: ignore[reportCallIssue]
    zeros = jax.tree.map(jnp.zeros_like, generator.batch_stats)

    @jax.jit
    def of_batch(params: Any, key: jax.Array) -> Any:
        z = uniform_noise(key, (200, latent_size))
        variables = {"params": params, "batch_stats": zeros}
        _, updates = module.apply(variables, z, train=True, rngs={"dropout": key}, mutable=["batch_stats"])
        return jax.tree.map(lambda x: x / (1 - _LIBRARY_MOMENTUM), updates["batch_stats"])

    batches = [of_batch(generator.params, each) for each in jax.random.split(key, 10)]
    return generator.replace(batch_stats=jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *batches))


def _seen(images: jax.Array, key: jax.Array, step: jax.Array, setting: Setting) -> jax.Array:
    """What the discriminator is shown of images [B, H, W, 1]: shifted and noisy, if the setting says so."""
    shift_key, noise_key = jax.random.split(key)
    if setting.translate:
        images = _translate(images, shift_key, setting.translate)
    if setting.noise:
        scale = setting.noise * jnp.maximum(0, 1 - step / setting.noise_until)
        images = images + scale * jax.random.normal(noise_key, images.shape)
    return images


def _translate(images: jax.Array, key: jax.Array, most: int) -> jax.Array:
    """Each image shifted by whole pixels, up to ``most`` along each axis, with black moved in: [B, H, W, 1], the same.

    As two products with shifted unit matrices, which differentiate as products do.
    """
    b, h, w, _ = images.shape
    shifts = jax.random.randint(key, (2, b, 1, 1), -most, most + 1)
    rows = (jnp.arange(h)[:, None] + shifts[0] == jnp.arange(h)).astype(images.dtype)  # [B, H, H]
    columns = (jnp.arange(w)[:, None] + shifts[1] == jnp.arange(w)).astype(images.dtype)  # [B, W, W]
    return jnp.einsum("bij,bjk,blk->bil", rows, images[..., 0], columns)[..., None]
