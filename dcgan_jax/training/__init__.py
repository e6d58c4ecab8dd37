"""Training runs: the loop, checkpoints, and everything in a run directory."""

from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.host_batches import batches
from dcgan_jax.training.loop import train
from dcgan_jax.training.run import Run, load_run

__all__ = ["Run", "TrainConfig", "batches", "load_run", "train"]
