"""Eight GANs in one program, each with its own learning rate: which rate is best?

    python examples/population.py --steps 2000 --batch-size 64 --out population.png

`init_state` and `train_step` run under `jax.vmap`: the states are one pytree whose leaves have a first axis of eight.
A learning rate given as an array is a leaf of the optimizer's state, so each member has its own. On a machine
with several devices the population is spread over them. The networks are small, so a CPU takes only minutes.
"""

import argparse
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from dcgan_jax import GANState, evaluate_images, init_state, load_dataset, rmsprop, sample, train_step
from dcgan_jax.evaluation.scoring import EvaluationError


class SmallGenerator(nn.Module):
    """Two dense layers: [B, latent] -> [B, 28, 28, 1]."""

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(256)(z)))
        return nn.sigmoid(nn.Dense(28 * 28)(x)).reshape(-1, 28, 28, 1)


class SmallDiscriminator(nn.Module):
    """Two dense layers: [B, 28, 28, 1] -> [B, 1]."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        x = nn.leaky_relu(nn.Dense(256)(images.reshape(images.shape[0], -1)), negative_slope=0.2)
        return nn.Dense(1)(nn.Dropout(0.3, deterministic=not train)(x))


def member(key: jax.Array, learning_rate: jax.Array) -> GANState:
    """One GAN with its own parameters and its own learning rate."""
    return init_state(
        key,
        generator=SmallGenerator(),
        discriminator=SmallDiscriminator(),
        generator_tx=rmsprop(learning_rate),
        discriminator_tx=rmsprop(learning_rate),
        latent_size=32,
    )


def score(images: np.ndarray) -> float:
    """The FID, or NaN for a member that has failed: the others still count."""
    try:
        return evaluate_images(images).scores.fid
    except EvaluationError:
        return float("nan")


def main(steps: int, batch_size: int, samples: int, out: Path | None = None) -> tuple[GANState, list[float]]:
    pyplot = None
    if out:  # before the work
        import matplotlib  # the extra `bench`

        matplotlib.use("Agg")
        from matplotlib import pyplot
    rates = jnp.geomspace(1e-5, 3e-2, 8)
    keys = jax.random.split(jax.random.key(0), len(rates))
    population = jax.vmap(member)(keys, rates)
    devices = jax.device_count() if len(rates) % jax.device_count() == 0 else 1
    mesh = jax.make_mesh((devices,), ("member",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    population = jax.device_put(population, NamedSharding(mesh, PartitionSpec("member")))
    data = jnp.asarray(load_dataset())

    @jax.jit
    def step(population: GANState, i: jax.Array) -> GANState:
        batch_key, *step_keys = jax.random.split(jax.random.fold_in(jax.random.key(1), i), len(rates) + 1)
        images = data[jax.random.randint(batch_key, (batch_size,), 0, len(data))]  # all members see the same batch
        population, _ = jax.vmap(train_step, in_axes=(0, None, 0))(population, images, jnp.stack(step_keys))
        return population

    for i in range(steps):
        population = jax.block_until_ready(step(population, i))
    drawn = jax.vmap(lambda state: sample(state, jax.random.key(2), samples))(population)
    fids = [score(images) for images in np.asarray(drawn)]
    for rate, fid in zip(rates, fids, strict=True):
        print(f"learning rate {rate:.1e}: FID {fid:.1f}")
    if pyplot and out:
        figure, axis = pyplot.subplots(layout="constrained")
        axis.loglog(rates, fids, marker="o")
        axis.set(xlabel="learning rate", ylabel="FID", title=f"Eight GANs after {steps:,} steps, trained as one")
        figure.savefig(out)
        print(f"plot in {out}")
    return population, fids


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=2000, help="images of each that are scored")
    parser.add_argument("--out", type=Path, help="a plot (needs matplotlib, of the extra bench)")
    main(**vars(parser.parse_args()))
