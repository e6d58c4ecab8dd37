"""What the users of dcgan-jax call: the public `train_step`, which donates nothing.

The compiler's memory is given back before the first step, as `train.py` does.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dcgan_jax import Discriminator, Generator, init_state, train_step
from dcgan_jax import preset as find_preset
from dcgan_jax.memory import release_free_memory
from dcgan_jax.training.compile_options import memory_options, quick_options


def prepare(
    images: np.ndarray, preset: str = "tutorial", dtype: str = "float32", compiled: str = "library"
) -> tuple[Callable[[], None], str]:
    """A function that does one whole step and waits for it, and the device's name.

    Args:
      images: uint8 [B, 28, 28, 1].
      preset: as of `init_state`.
      dtype: what both networks compute in.
      compiled: as in other people's programs ("library"), or with the options of a run ("run").
    """
    device = jax.devices()[0]
    rate = find_preset(preset).dropout_rate
    fresh = init_state(
        jax.random.key(0),
        preset=preset,
        generator=Generator(dropout_rate=rate, dtype=dtype),
        discriminator=Discriminator(dropout_rate=rate, dtype=dtype),
    )
    # Both on the device: a state that only becomes so by a batch that is would have the step compiled a second time.
    state, batch = jax.device_put((fresh, images), device)
    key = jax.random.key(1)
    options = quick_options() | memory_options() if compiled == "run" and dtype == "float32" else {}
    program: Callable[..., Any] | None = None

    def step() -> None:
        nonlocal state, program
        step_key = jax.random.fold_in(key, state.step)
        if program is None:
            program = train_step.lower(state, batch, step_key).compile(options)
            release_free_memory()
        state, metrics = program(state, batch, step_key)
        jax.block_until_ready((state, metrics))

    return step, device.device_kind
