"""Gradient penalties on the discriminator: WGAN-GP, or R1.

    python examples/gradient_penalty.py --penalty r1 --steps 200 --batch-size 64

`Losses.penalty` is given the discriminator as a function of images, the step's real and fake images, and a key. Here it
takes the gradient with respect to the images; the step then differentiates the result with respect to D's parameters.
"""

import argparse

import jax
import jax.numpy as jnp
import optax

from dcgan_jax import (
    Discriminator,
    GANState,
    Losses,
    discriminator_loss,
    generator_loss,
    init_state,
    load_dataset,
    r1_penalty,
    train_step,
)


def wgan_gp(discriminator, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """Ten times the mean of (gradient norm - 1)^2 between real and fake (Gulrajani et al., arXiv:1704.00028)."""
    share = jax.random.uniform(key, (len(real), 1, 1, 1), real.dtype)
    between = share * real + (1 - share) * fake  # [B, H, W, C]
    gradient = jax.grad(lambda images: discriminator(images).sum())(between)  # [B, H, W, C]
    slopes = jnp.sqrt(jnp.square(gradient).sum((1, 2, 3)) + 1e-12)  # [B]
    return 10 * jnp.square(slopes - 1).mean()


LOSSES = {
    "wgan-gp": Losses(lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean(), penalty=wgan_gp),
    # In every fourth step, with four times the weight.
    "r1": Losses(discriminator_loss, generator_loss, penalty=r1_penalty(1.0), penalty_every=4),
}


def main(steps: int, batch_size: int, penalty: str = "wgan-gp") -> GANState:
    data, key = jnp.asarray(load_dataset()), jax.random.key(0)
    state = init_state(
        key,
        discriminator=Discriminator(dropout_rate=0),  # the gradients are then those of the trained network
        generator_tx=optax.adam(4e-4, b1=0, b2=0.99),
        discriminator_tx=optax.adam(4e-4, b1=0, b2=0.99),
        losses=LOSSES[penalty],
    )
    for i in range(steps):
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = train_step(state, data[jax.random.randint(batch_key, (batch_size,), 0, len(data))], step_key)
        if i % 20 == 0 or i == steps - 1:
            print(f"{i + 1}: D's loss {metrics['d_loss']:.3f} and penalty {metrics['d_penalty']:.4f}")
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penalty", choices=list(LOSSES), default="wgan-gp")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    main(**vars(parser.parse_args()))
