"""Five updates of the discriminator per update of the generator, as in the training of Wasserstein GANs.

    python examples/several_d_steps.py --steps 20 --batch-size 64

`train_step` is `discriminator_step` followed by `generator_step`; here they are composed differently.
"""

import argparse

import jax
import jax.numpy as jnp

from dcgan_jax import GANState, discriminator_step, generator_step, init_state, load_dataset

D_STEPS = 5


@jax.jit
def step(state: GANState, batches: jax.Array, key: jax.Array) -> tuple[GANState, dict[str, jax.Array]]:
    """D learns from each of ``batches`` [D_STEPS, B, H, W, C] in turn, then G learns once."""
    d_key, g_key = jax.random.split(key)
    d_keys = jax.random.split(d_key, len(batches))
    state, d_metrics = jax.lax.scan(lambda state, batch: discriminator_step(state, *batch), state, (batches, d_keys))
    state, g_metrics = generator_step(state, g_key, batches.shape[1])
    last = {name: values[-1] for name, values in d_metrics.items()}
    return state.replace(step=state.step + 1), {**last, **g_metrics}


def main(steps: int, batch_size: int) -> GANState:
    data, key = jnp.asarray(load_dataset()), jax.random.key(0)
    state = init_state(key)
    for i in range(steps):
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
        chosen = jax.random.randint(batch_key, (D_STEPS, batch_size), 0, len(data))
        state, metrics = step(state, data[chosen], step_key)
        print(f"{i + 1}: D's loss {metrics['d_loss']:.3f}, G's {metrics['g_loss']:.3f}")
    return state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    main(**vars(parser.parse_args()))
