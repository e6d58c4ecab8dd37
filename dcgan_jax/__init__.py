"""The Keras tutorial's DCGAN on MNIST as pure, jit-compiled JAX functions."""

from dcgan_jax.checks import check_images, check_state
from dcgan_jax.data import load_dataset, load_labels
from dcgan_jax.evaluation import EvaluationError, evaluate, evaluate_images
from dcgan_jax.images import save_grid
from dcgan_jax.interop import (
    discriminator_from_keras,
    discriminator_to_keras,
    generator_from_keras,
    generator_to_keras,
)
from dcgan_jax.losses import Losses, discriminator_loss, generator_loss
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.optimizers import preset, rmsprop
from dcgan_jax.sampling import generate, sample
from dcgan_jax.state import GANState, NetworkState, averaged, init_state
from dcgan_jax.step import discriminator_step, generator_step, train_step
from dcgan_jax.training import TrainConfig, load_run, train

__all__ = [
    "Discriminator",
    "EvaluationError",
    "GANState",
    "Generator",
    "Losses",
    "NetworkState",
    "TrainConfig",
    "averaged",
    "check_images",
    "check_state",
    "discriminator_from_keras",
    "discriminator_to_keras",
    "discriminator_loss",
    "discriminator_step",
    "evaluate",
    "evaluate_images",
    "generate",
    "generator_from_keras",
    "generator_to_keras",
    "generator_loss",
    "generator_step",
    "init_state",
    "load_dataset",
    "load_labels",
    "load_run",
    "preset",
    "rmsprop",
    "sample",
    "save_grid",
    "train",
    "train_step",
]
