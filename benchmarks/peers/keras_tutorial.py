"""The tutorial's own program in Keras 3, on the backend that ``KERAS_BACKEND`` names.

One thing differs: the discriminator is frozen in the adversarial model, as in this project, so that the
work is the same.
"""

from collections.abc import Callable

import keras
import numpy as np

from benchmarks.peers.keras_models import keras_model


def prepare(images: np.ndarray, variant: str = "auto", dtype: str = "float32") -> tuple[Callable[..., None], str]:
    """A function that does one whole step, or as many as it is given, and waits for each; and the device's name.

    Args:
      images: uint8 [B, 28, 28, 1].
      variant: "auto", Keras' default, which does not have XLA compile TensorFlow's steps on a CPU, or "compiled".
      dtype: "float32", multiplied as the backend is set to; or "bfloat16" for Keras' policy ``mixed_bfloat16``.
    """
    if dtype == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    jit_compile = True if variant == "compiled" else "auto"
    keras.utils.set_random_seed(0)
    generator, discriminator = keras_model("generator"), keras_model("discriminator")
    adversarial = keras.Sequential([keras.Input((100,)), generator, discriminator])
    for model in (discriminator, adversarial):
        schedule = keras.optimizers.schedules.InverseTimeDecay(1e-4, decay_steps=1, decay_rate=3e-8)
        optimizer = keras.optimizers.RMSprop(schedule)
        model.compile(loss="binary_crossentropy", optimizer=optimizer, metrics=["accuracy"], jit_compile=jit_compile)
    n = len(images)
    real = images.astype(np.float32) / 255
    random = np.random.default_rng(0)
    labels = np.concatenate([np.ones((n, 1)), np.zeros((n, 1))]).astype(np.float32)

    def noise() -> np.ndarray:
        return random.uniform(-1, 1, (n, 100)).astype(np.float32)

    def one_step() -> None:
        fake = generator.predict_on_batch(noise())
        # What is trainable is settled when each model's step is first traced, or anew each time without tracing.
        discriminator.trainable = True
        discriminator.train_on_batch(np.concatenate([real, fake]), labels)
        discriminator.trainable = False
        adversarial.train_on_batch(noise(), np.ones((n, 1), np.float32))  # returns numbers: waits for the device

    def step(steps: int = 1) -> None:
        for _ in range(steps):
            one_step()

    device = "cpu"
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    elif keras.backend.backend() == "torch":
        import torch

        device = "gpu" if torch.cuda.is_available() else "cpu"
    elif keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0].device_kind
    return step, device
