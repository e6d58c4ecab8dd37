# What the package exports; ``__init__.py`` imports each name from here when it is used.

from .data import load_data, load_dataset, load_labels
from .evaluation import EvaluationError, compare_images, compare_perceptually, evaluate, evaluate_images, evaluate_modes
from .images import save_grid
from .interop import (
    discriminator_from_keras,
    discriminator_to_keras,
    generator_from_keras,
    generator_to_keras,
)
from .losses import (
    CROSS_ENTROPY,
    HINGE,
    LEAST_SQUARES,
    RELATIVISTIC,
    WASSERSTEIN,
    Losses,
    discriminator_loss,
    generator_loss,
)
from .models import Discriminator, Generator
from .optimizers import muon, rmsprop
from .penalties import gradient_penalty, r1_penalty, r2_penalty, sum_penalties
from .presets import Preset, preset
from .pretrained import load_pretrained
from .projection import Projection, project
from .sampling import generate, interpolate, sample
from .state import GANState, NetworkState, Update, averaged, init_state
from .step import discriminator_step, generator_step, train_step
from .training import TrainConfig, batches, load_run, train
from .value_checks import check_images, check_state

__all__ = [
    "CROSS_ENTROPY",
    "HINGE",
    "LEAST_SQUARES",
    "RELATIVISTIC",
    "WASSERSTEIN",
    "Discriminator",
    "EvaluationError",
    "GANState",
    "Generator",
    "Losses",
    "NetworkState",
    "Preset",
    "Projection",
    "TrainConfig",
    "Update",
    "averaged",
    "batches",
    "check_images",
    "check_state",
    "compare_images",
    "compare_perceptually",
    "discriminator_from_keras",
    "discriminator_to_keras",
    "discriminator_loss",
    "discriminator_step",
    "evaluate",
    "evaluate_images",
    "evaluate_modes",
    "generate",
    "generator_from_keras",
    "generator_to_keras",
    "generator_loss",
    "gradient_penalty",
    "generator_step",
    "init_state",
    "interpolate",
    "load_data",
    "load_dataset",
    "load_labels",
    "load_pretrained",
    "load_run",
    "muon",
    "preset",
    "project",
    "r1_penalty",
    "r2_penalty",
    "rmsprop",
    "sample",
    "save_grid",
    "sum_penalties",
    "train",
    "train_step",
]
