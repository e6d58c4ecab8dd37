"""Training as a program: runs, checkpoints, and what they leave on the disk."""

from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.loop import train

__all__ = ["TrainConfig", "train"]
