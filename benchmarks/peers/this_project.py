"""What the users of dcgan-jax call: the public `train_step`, which donates nothing."""

from collections.abc import Callable

import jax
import numpy as np

from dcgan_jax import init_state, train_step


def prepare(images: np.ndarray, preset: str = "tutorial") -> tuple[Callable[[], None], str]:
    """A function that does one whole step and waits for it, and the device's name."""
    device = jax.devices()[0]
    state = init_state(jax.random.key(0), preset=preset)
    batch = jax.device_put(images, device)
    key = jax.random.key(1)

    def step() -> None:
        nonlocal state
        state, metrics = train_step(state, batch, jax.random.fold_in(key, state.step))
        jax.block_until_ready((state, metrics))

    return step, device.device_kind
