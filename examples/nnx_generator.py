"""The generator as a Flax NNX module: with the weights of a state, and trained further by an NNX optimizer.

    python examples/nnx_generator.py --steps 3 --batch-size 8

`nnx.bridge.ToNNX` turns a Linen module into an NNX one. In training mode the moving statistics change, so the call
has ``mutable=["batch_stats"]``, and dropout needs a random stream of its name.
"""

import argparse

import jax
import jax.numpy as jnp
import optax
from flax import nnx, traverse_util

from dcgan_jax import GANState, generator_loss, init_state


def to_nnx(state: GANState) -> nnx.bridge.ToNNX:
    """The state's generator as an NNX module, with the same weights."""
    network = state.generator
    model = nnx.bridge.ToNNX(network.module, rngs=nnx.Rngs(0))
    model.lazy_init(jnp.zeros((1, state.latent_size)))
    weights = traverse_util.flatten_dict(network.params) | traverse_util.flatten_dict(network.batch_stats)
    variables = nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    nnx.update(model, nnx.from_flat_state([(path, variable.replace(weights[path])) for path, variable in variables]))
    return model


@nnx.jit
def update(
    model: nnx.bridge.ToNNX, optimizer: nnx.Optimizer, state: GANState, z: jax.Array, key: jax.Array
) -> jax.Array:
    """One update of the module against the state's discriminator; returns the loss before it."""

    def loss(model: nnx.bridge.ToNNX) -> jax.Array:
        images = model(z, train=True, rngs=nnx.Rngs(dropout=key), mutable=["batch_stats"])
        return generator_loss(state.discriminator.infer(images))

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads)
    return value


def main(steps: int, batch_size: int) -> tuple[nnx.bridge.ToNNX, GANState]:
    state = init_state(jax.random.key(0))
    model = to_nnx(state)
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    for i in range(steps):
        noise_key, dropout_key = jax.random.split(jax.random.key(i))
        z = state.noise(noise_key, (batch_size, state.latent_size))
        print(f"{i + 1}: G's loss {update(model, optimizer, state, z, dropout_key):.3f}")
    return model, state


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    main(**vars(parser.parse_args()))
