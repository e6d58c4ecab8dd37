"""`train_step` on a batch that all devices of the machine, or of the job, share."""

import os
from collections.abc import Callable

import jax
import numpy as np

from dcgan_jax import init_state, train_step
from dcgan_jax.training.distributed import batch_sharding, data_mesh, init_distributed, replicate


def prepare(images: np.ndarray) -> tuple[Callable[[], None], str]:
    """A function that does one whole step and waits for it, and the device's name."""
    if "JAX_NUM_PROCESSES" in os.environ:
        init_distributed()
    mesh = data_mesh()
    state = replicate(init_state(jax.random.key(0)), mesh)
    mine = np.array_split(images, jax.process_count())[jax.process_index()]
    batch = jax.make_array_from_process_local_data(batch_sharding(mesh), mine)
    keys = iter(range(1, 1 << 30))

    def step() -> None:
        nonlocal state
        state, metrics = train_step(state, batch, jax.random.key(next(keys)))
        jax.block_until_ready((state, metrics))

    return step, f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
