"""The steps of this project as a run on an accelerator does them: up to 25 in one dispatch, each with its own batch."""

from collections.abc import Callable

import jax
import numpy as np

from dcgan_jax import Discriminator, Generator, init_state, load_dataset
from dcgan_jax.memory import release_free_memory
from dcgan_jax.training.batch_source import DeviceImages
from dcgan_jax.training.compile_options import quick_options
from dcgan_jax.training.device_loop import steps_program

STEPS_PER_CALL = 25  # as `device_loop` has them on an accelerator


def prepare(images: np.ndarray, dtype: str = "float32") -> tuple[Callable[..., None], str]:
    """A function that does one step, or as many as it is given, in one dispatch, and waits; and the device's name.

    Args:
      images: uint8 [B, 28, 28, 1]. Their number is the batch size: batches are drawn from all of MNIST, on the device.
      dtype: what both networks compute in.
    """
    device = jax.devices()[0]
    fresh = init_state(jax.random.key(0), generator=Generator(dtype=dtype), discriminator=Discriminator(dtype=dtype))
    state, source, key = jax.device_put((fresh, DeviceImages(load_dataset()), jax.random.key(1)), device)
    options = {"batch_size": len(images), "capacity": STEPS_PER_CALL}
    program = steps_program(dtype == "float32" and bool(quick_options())).lower(state, source, key, 1, **options)
    compiled = None

    def step(steps: int = 1) -> None:
        nonlocal state, compiled
        if compiled is None:
            compiled = program.compile()
            release_free_memory()
        state, metrics = compiled(state, source, key, steps)
        jax.block_until_ready((state, metrics))

    return step, device.device_kind
