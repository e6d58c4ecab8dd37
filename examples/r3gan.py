"""R3GAN's losses on the tutorial's networks: a relativistic (pairwise) loss with R1 and R2 (arXiv:2501.05441).

    python train.py --recipe examples/r3gan.py --batch-size 64 --steps 3000
    python examples/r3gan.py --steps 100

The generator's update compares fakes with the step's real images. Both penalties are applied in every fourth step, with
four times the weight.
"""

import argparse

import jax
import jax.numpy as jnp
import optax

from dcgan_jax import (
    RELATIVISTIC,
    Discriminator,
    GANState,
    Generator,
    init_state,
    load_dataset,
    r1_penalty,
    r2_penalty,
    sum_penalties,
    train_step,
)

GAMMA = 0.3  # of both penalties
LOSSES = RELATIVISTIC._replace(penalty=sum_penalties(r1_penalty(GAMMA), r2_penalty(GAMMA)), penalty_every=4)


def init(key: jax.Array, shape: tuple[int, int, int], classes: int | None = None) -> GANState:
    return init_state(
        key,
        generator=Generator(shape, dropout_rate=0.0, classes=classes),
        discriminator=Discriminator(dropout_rate=0.0, classes=classes),
        generator_tx=optax.adam(2e-4, b1=0.0, b2=0.99),
        discriminator_tx=optax.adam(2e-4, b1=0.0, b2=0.99),
        losses=LOSSES,
        ema=0.998,
        ema_ramp=0.05,
        classes=classes,
    )


def main(steps: int, batch_size: int) -> GANState:
    data, key = jnp.asarray(load_dataset()), jax.random.key(0)
    state = init(key, (28, 28, 1))
    for i in range(steps):
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = train_step(state, data[jax.random.randint(batch_key, (batch_size,), 0, len(data))], step_key)
        if i % 20 == 0 or i == steps - 1:
            # The share of pairs in which the real image looks more real.
            print(f"{i + 1}: D's loss {metrics['d_loss']:.3f}, accuracy of pairs {metrics['d_accuracy']:.2f}")
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    main(**vars(parser.parse_args()))
