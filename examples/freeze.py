"""Frozen layers: D's first two convolutions stay fixed with `optax.masked`, and the others learn.

    python examples/freeze.py --steps 20 --batch-size 64

Layers are frozen by name. The mask zeroes their updates, whichever optimizer comes before it.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dcgan_jax import GANState, init_state, load_dataset, preset, train_step

FROZEN = ("conv_1", "conv_2")


def frozen(params: Any) -> Any:
    """True for each frozen parameter."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key in FROZEN, params)


def main(steps: int, batch_size: int) -> tuple[GANState, GANState]:
    data, key = jnp.asarray(load_dataset()), jax.random.key(0)
    tx = optax.chain(preset("tutorial").discriminator, optax.masked(optax.set_to_zero(), frozen))
    state = first = init_state(key, discriminator_tx=tx)
    for i in range(steps):
        batch_key, step_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = train_step(state, data[jax.random.randint(batch_key, (batch_size,), 0, len(data))], step_key)
        print(f"{i + 1}: D's loss {metrics['d_loss']:.3f}, G's {metrics['g_loss']:.3f}")
    for name, layer in state.discriminator.params.items():
        moved = jnp.abs(layer["kernel"] - first.discriminator.params[name]["kernel"]).max()
        print(f"{name} moved by at most {moved:.1e}")
    return first, state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    main(**vars(parser.parse_args()))
