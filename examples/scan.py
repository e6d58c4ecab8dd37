"""Many steps in one call to the device: `train_step` inside your own `lax.scan`.

    python examples/scan.py --steps 100 --batch-size 64

Nothing is fetched before the last step: metrics come back stacked, one row per step.
"""

import argparse

import jax
import jax.numpy as jnp

from dcgan_jax import GANState, init_state, load_dataset, train_step


@jax.jit
def epoch(state: GANState, batches: jax.Array, keys: jax.Array) -> tuple[GANState, dict[str, jax.Array]]:
    """One step for each of ``batches`` [steps, B, H, W, C]; returns the last state, and metrics [steps]."""
    return jax.lax.scan(lambda state, batch: train_step(state, *batch), state, (batches, keys))


def main(steps: int, batch_size: int) -> tuple[GANState, dict[str, jax.Array]]:
    key = jax.random.key(0)
    images = load_dataset()
    images = images[jax.random.permutation(key, len(images))[: steps * batch_size]]
    batches = jnp.reshape(images, (steps, batch_size, *images.shape[1:]))  # [steps, B, 28, 28, 1]
    state, metrics = epoch(init_state(key), batches, jax.random.split(key, steps))
    print(f"D's loss went from {metrics['d_loss'][0]:.3f} to {metrics['d_loss'][-1]:.3f} in {state.step} steps")
    return state, metrics


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    main(**vars(parser.parse_args()))
