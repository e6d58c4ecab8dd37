"""Your own networks, losses and optimizers: spectral norm in D, batch norm in G, the hinge loss, Adam.

    python examples/own_modules.py --steps 200 --batch-size 64

A generator is any Linen module called as ``module(z, train=...)`` that returns images [B, H, W, C] in [0, 1]; a
discriminator is called as ``module(images, train=...)`` and returns logits [B, 1]. Their ``batch_stats`` are carried
along.
"""

import argparse

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dcgan_jax import GANState, Losses, init_state, load_dataset, train_step


class MyGenerator(nn.Module):
    """Two dense layers with batch norm between them: [B, latent] -> [B, 28, 28, 1]."""

    @nn.compact
    def __call__(self, z: jax.Array, train: bool) -> jax.Array:
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(256)(z))
        x = nn.Dense(28 * 28)(nn.relu(x))
        return nn.sigmoid(x).reshape(-1, 28, 28, 1)


class MyDiscriminator(nn.Module):
    """Two dense layers with spectral norm, largest singular values kept at 1 (Miyato et al., arXiv:1802.05957)."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        x = images.reshape(images.shape[0], -1)  # [B, 784]
        x = nn.leaky_relu(nn.SpectralNorm(nn.Dense(256))(x, update_stats=train))
        return nn.SpectralNorm(nn.Dense(1))(x, update_stats=train)


HINGE = Losses(  # Lim and Ye, arXiv:1705.02894
    discriminator=lambda real, fake: nn.relu(1 - real).mean() + nn.relu(1 + fake).mean(),
    generator=lambda fake: -fake.mean(),
)


def main(steps: int, batch_size: int) -> GANState:
    data, key = jnp.asarray(load_dataset()), jax.random.key(0)
    state = init_state(
        key,
        generator=MyGenerator(),
        discriminator=MyDiscriminator(),
        generator_tx=optax.adam(2e-4, b1=0.5),
        discriminator_tx=optax.adam(2e-4, b1=0.5),
        latent_size=64,
        losses=HINGE,
    )
    for i in range(steps):
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = train_step(state, data[jax.random.randint(batch_key, (batch_size,), 0, len(data))], step_key)
        if i % 50 == 0 or i == steps - 1:
            print(f"{i + 1}: D's loss {metrics['d_loss']:.3f}, G's {metrics['g_loss']:.3f}")
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    main(**vars(parser.parse_args()))
