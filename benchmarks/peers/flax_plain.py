"""The same GAN as one writes it in Flax with the layers that come with it."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax


class Generator(nn.Module):
    """The tutorial's, with images upsampled and then convolved."""

    @nn.compact
    def __call__(self, z: jax.Array, train: bool) -> jax.Array:
        def normalise(x: jax.Array) -> jax.Array:
            return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-3)(x))

        x = normalise(nn.Dense(7 * 7 * 256)(z)).reshape(-1, 7, 7, 256)
        x = nn.Dropout(0.4, deterministic=not train)(x)
        for features, upsample in [(128, True), (64, True), (32, False)]:
            if upsample:
                x = x.repeat(2, axis=1).repeat(2, axis=2)
            x = normalise(nn.ConvTranspose(features, (5, 5))(x))
        return nn.sigmoid(nn.ConvTranspose(1, (5, 5))(x))


class Discriminator(nn.Module):
    """The tutorial's, with logits."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for features, stride in [(64, 2), (128, 2), (256, 2), (512, 1)]:
            x = nn.leaky_relu(nn.Conv(features, (5, 5), stride)(x), 0.2)
            x = nn.Dropout(0.4, deterministic=not train)(x)
        return nn.Dense(1)(x.reshape(x.shape[0], -1))


def prepare(images: np.ndarray) -> tuple[Callable[[], None], str]:
    """A function that does one whole step and waits for it, and the device's name."""
    generator, discriminator = Generator(), Discriminator()
    tx = optax.rmsprop(lambda t: 1e-4 / (1 + 3e-8 * t), 0.9, 1e-7)
    n = len(images)
    real = jnp.asarray(images, jnp.float32) / 255
    variables = jax.jit(generator.init, static_argnums=2)(jax.random.key(0), jnp.zeros((1, 100)), False)
    g_params, stats = variables["params"], variables["batch_stats"]
    d_params = jax.jit(discriminator.init, static_argnums=2)(jax.random.key(1), real[:1], False)["params"]
    state = (g_params, stats, tx.init(g_params), d_params, tx.init(d_params), jax.random.key(2))

    def noise(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (n, 100), minval=-1, maxval=1)

    def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.sigmoid_binary_cross_entropy(logits, labels).mean()

    @jax.jit
    def update(state, real):
        g_params, stats, g_opt, d_params, d_opt, key = state
        key, fake_key, d_key, z_key, g_key, through_key = jax.random.split(key, 6)
        labels = jnp.concatenate([jnp.ones((n, 1)), jnp.zeros((n, 1))])
        fake = generator.apply({"params": g_params, "batch_stats": stats}, noise(fake_key), False)
        both = jnp.concatenate([real, fake])

        def d_loss(params):
            logits = discriminator.apply({"params": params}, both, True, rngs={"dropout": d_key})
            return cross_entropy(logits, labels), ((logits > 0) == (labels > 0.5)).mean()

        d_metrics, grads = jax.value_and_grad(d_loss, has_aux=True)(d_params)
        updates, d_opt = tx.update(grads, d_opt)
        d_params = optax.apply_updates(d_params, updates)

        def g_loss(params):
            fake, new = generator.apply(
                {"params": params, "batch_stats": stats},
                noise(z_key),
                True,
                rngs={"dropout": g_key},
                mutable=["batch_stats"],
            )
            logits = discriminator.apply({"params": d_params}, fake, True, rngs={"dropout": through_key})
            return cross_entropy(logits, jnp.ones((n, 1))), ((logits > 0).mean(), new["batch_stats"])

        (loss, (accuracy, stats)), grads = jax.value_and_grad(g_loss, has_aux=True)(g_params)
        updates, g_opt = tx.update(grads, g_opt)
        g_params = optax.apply_updates(g_params, updates)
        return (g_params, stats, g_opt, d_params, d_opt, key), (d_metrics, loss, accuracy)

    def step() -> None:
        nonlocal state
        state, metrics = update(state, real)
        jax.block_until_ready((state, metrics))

    return step, jax.devices()[0].device_kind
