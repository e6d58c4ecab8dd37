"""Gradient accumulation for batches that do not fit: one update per four micro-batches, with their mean gradient.

    python examples/gradient_accumulation.py --steps 5 --batch-size 16

`optax.MultiSteps` does it inside the optimizer, so the step is unchanged. Batch normalisation and D's accuracy are
those of each micro-batch; G's last gradient of four is against the discriminator that has just been updated.
"""

import argparse

import jax
import jax.numpy as jnp
import optax

from dcgan_jax import GANState, init_state, load_dataset, preset, train_step

PARTS = 4


def accumulated(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer, updating once in ``PARTS`` calls, with the mean of their gradients."""
    return optax.MultiSteps(tx, every_k_schedule=PARTS).gradient_transformation()


def main(steps: int, batch_size: int) -> GANState:
    data, key, tutorial = jnp.asarray(load_dataset()), jax.random.key(0), preset("tutorial")
    state = init_state(
        key,
        generator_tx=accumulated(tutorial.generator),
        discriminator_tx=accumulated(tutorial.discriminator),
    )
    for i in range(PARTS * steps):
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = train_step(state, data[jax.random.randint(batch_key, (batch_size,), 0, len(data))], step_key)
        if (i + 1) % PARTS == 0:
            print(f"{(i + 1) // PARTS}: D's loss {metrics['d_loss']:.3f}, G's {metrics['g_loss']:.3f}")
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    main(**vars(parser.parse_args()))
