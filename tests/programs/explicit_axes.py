"""The step on eight devices on a mesh of explicit axes, in shard_map and under checkpoint, with small networks.

``jax.make_mesh`` makes explicit axes by default. Prints ``done`` if everything holds.
"""

import jax
import numpy as np
from helpers import assert_close, small_gan
from jax.sharding import NamedSharding, PartitionSpec

from dcgan_jax import generate, generator_step, sample, train_step


def check_one_gan(state, images, key, split, replicated):
    """One GAN whose batch is split."""
    _, metrics = train_step(state, images, key)
    on_mesh, split_images = jax.device_put(state, replicated), jax.device_put(images, split)
    many, others = train_step(on_mesh, split_images, key)
    assert many.generator.params["Dense_0"]["kernel"].sharding.is_fully_replicated
    assert_close(others["d_loss"], metrics["d_loss"], 1e-5)
    assert_close(others["g_loss"], metrics["g_loss"], 1e-5)
    # A state that is on no mesh yet.
    many, others = train_step(state, split_images, key)
    assert many.generator.params["Dense_0"]["kernel"].sharding.is_fully_replicated
    assert_close(others["d_loss"], metrics["d_loss"], 1e-5)
    # A generator's step, with and without.
    generator_step(state, key, np.int64(16), images=split_images)
    alone, _ = generator_step(on_mesh, key, 16, images=split_images)
    assert_close(alone.generator.batch_stats, generator_step(state, key, 16)[0].generator.batch_stats, 1e-5)
    # Samples.
    z = np.zeros((16, 5), np.float32)
    drawn = generate(on_mesh, jax.device_put(z, split))
    assert drawn.sharding.spec[0] == "data"
    assert_close(drawn, generate(state, z), 1e-5)
    assert sample(on_mesh, key, 3).shape == (3, 8, 8, 1)


def check_eight_gans(images, key, mesh, split, replicated):
    """One a device: under vmap, and in shard_map."""
    keys = jax.random.split(key, 8)
    population = jax.vmap(small_gan)(keys)
    step = jax.vmap(train_step, in_axes=(0, None, 0))
    _, expected = step(population, images, keys)
    population, split_keys = jax.device_put((population, keys), split)
    _, spread = jax.jit(step)(population, images, split_keys)
    assert spread["d_loss"].sharding.spec == PartitionSpec("data")
    assert_close(spread["d_loss"], expected["d_loss"], 1e-5)
    each, everywhere = PartitionSpec("data"), PartitionSpec()
    one_each = jax.shard_map(step, mesh=mesh, in_specs=(each, everywhere, each), out_specs=each)
    _, mapped = jax.jit(one_each)(population, jax.device_put(images, replicated), split_keys)
    assert_close(mapped["d_loss"], expected["d_loss"], 1e-5)


def check_gradient(state, images, key):
    """A gradient through a step, which is computed again for it."""

    def loss_after(scale):
        params = jax.tree.map(lambda p: p * scale, state.generator.params)
        scaled = state.replace(generator=state.generator.replace(params=params))
        return jax.checkpoint(train_step)(scaled, images, key)[1]["g_loss"]

    slope = jax.grad(loss_after)(1.0)
    assert np.isfinite(slope) and slope != 0


def main():
    mesh, key = jax.make_mesh((8,), ("data",)), jax.random.key(0)
    assert mesh.axis_types[0].name == "Explicit"
    split, replicated = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    state = small_gan(key)
    check_one_gan(state, images, key, split, replicated)
    check_eight_gans(images, key, mesh, split, replicated)
    check_gradient(state, images, key)
    print("done")


if __name__ == "__main__":
    main()
