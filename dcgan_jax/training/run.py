"""A run: what must be there before it begins, its first state, and reading it back from its folder."""

import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.summary import tabulate

from dcgan_jax.training.checkpoint import (
    CheckpointError,
    checkpoint_steps,
    newest_intact,
    restore_checkpoint,
    verify_checkpoint,
)
from dcgan_jax.evaluation.classifier import load_classifier
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.data import load_dataset
from dcgan_jax.training.distributed import data_mesh
from dcgan_jax.evaluation.scoring import FEWEST, MOST
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.optimizers import preset
from dcgan_jax.training.run_dir import check_writable, read_config
from dcgan_jax.sampling import generate
from dcgan_jax.state import GANState, init_state

# A run that goes on must have these as they were: they decide what it computes.
_FIXED = ("batch_size", "seed", "dataset", "preset", "dtype", "ema", "fakes")


class Run(NamedTuple):
    """A run read back from its folder.

    Attributes:
      config: its settings.
      state: the state of one of its checkpoints.
      keys: those of `fresh_state`.
    """

    config: TrainConfig
    state: GANState
    keys: dict[str, jax.Array]


def check(config: TrainConfig, folder: Path, resume: bool) -> np.ndarray:
    """The run's data, once everything it needs is known to be there. Writes nothing.

    Raises:
      ConfigError: if the batch is larger than the data or cannot be split evenly, or a run that goes on has other
        settings or no steps left.
      DevicesError: if there are fewer devices than asked for.
      RunFolderError: if the folder cannot be written.
      CheckpointError: if the run has checkpoints and none of them can be used.
      DatasetError: if the data cannot be had.
      ClassifierError: if the weights of the digit classifier are damaged.
    """
    if resume:
        _check_resumable(config, folder)
    check_writable(folder)
    if config.eval_every is not None:
        check_evaluable(config, config.eval_samples, "--eval-samples")
        load_dataset(split="test")
    if config.dataset == "mnist":
        load_classifier()
    devices = data_mesh(config.devices).size
    if config.batch_size % devices:
        raise ConfigError(
            f"--batch-size must be a multiple of {devices}, the devices that share it, got {config.batch_size}: choose "
            "another, or fewer --devices"
        )
    images = load_dataset(config.dataset, data_dir=config.data_dir)
    if config.batch_size > len(images):
        raise ConfigError(
            f"--batch-size must be at most {len(images)}, the images of {config.dataset}, got {config.batch_size}"
        )
    return images


def check_evaluable(config: TrainConfig, samples: int, flag: str) -> None:
    """Raises: ConfigError if the run does not draw digits, or so many images cannot be scored."""
    if config.dataset != "mnist":
        raise ConfigError(f"only mnist can be evaluated, by a classifier of its digits; the run is on {config.dataset}")
    if not FEWEST <= samples <= MOST:
        raise ConfigError(f"{flag} must be {FEWEST} to {MOST}, got {samples}")


def _check_resumable(config: TrainConfig, folder: Path) -> None:
    """The settings agree with those of the run's first start and of its newest checkpoint, and steps are left."""
    sources = {f"the run in {folder}": dataclasses.asdict(read_config(folder))}
    done, _ = newest_intact(folder / "checkpoints")
    if done is not None:
        checkpoint = folder / "checkpoints" / str(done)
        sources[f"the checkpoint {checkpoint}"] = verify_checkpoint(checkpoint).get("settings") or {}
    for source, saved in sources.items():
        _check_same(config, source, saved)
    if done is not None and done >= config.steps:
        raise ConfigError(f"the run in {folder} already has {done} steps: ask for more with --steps")


def _check_same(config: TrainConfig, source: str, saved: dict[str, Any]) -> None:
    """Raises: ConfigError if what decides on a run's numbers is not as it was saved."""
    differing = [name for name in _FIXED if getattr(config, name) != saved.get(name)]
    if differing:
        told = ", ".join(f"{name} {saved.get(name)}, not {getattr(config, name)}" for name in differing)
        raise ConfigError(f"{source} has {told}: leave that out, or start a new run")


def summarize(state: GANState) -> str:
    """Tables of both networks' layers: shapes and parameter counts."""
    z = jnp.zeros((1, state.latent_size))
    images = jax.eval_shape(generate, state, z)
    tables = []
    for module, x in ((state.generator.module, z), (state.discriminator.module, images)):
        table = tabulate(module, jax.random.key(0), console_kwargs={"width": 120, "force_terminal": False})
        tables.append(table(jnp.zeros(x.shape, x.dtype)))
    return "".join(tables)


def fresh_state(config: TrainConfig) -> tuple[GANState, dict[str, jax.Array]]:
    """The run's first state, and its keys.

    ``run`` is for the steps, ``grid``, ``reals`` and ``fakes`` are for pictures, ``evaluation`` for its noise.
    """
    # The implementation is named so that a run does not depend on JAX's default at the time.
    seed_key = jax.random.key(config.seed, impl="threefry2x32")
    names = ("init", "run", "grid", "reals", "fakes", "evaluation")
    keys: dict[str, jax.Array] = dict(zip(names, jax.random.split(seed_key, len(names)), strict=True))
    optimizers = preset(config.preset)
    dtype = jnp.dtype(config.dtype)
    state = init_state(
        keys.pop("init"),
        generator=Generator(dtype=dtype),
        discriminator=Discriminator(dtype=dtype),
        generator_tx=optimizers.generator,
        discriminator_tx=optimizers.discriminator,
        ema=config.ema,
        fakes=config.fakes,
    )
    return state, keys


def restore_run(folder: Path, step: int | None = None) -> Run:
    """Read a run back, at one of its checkpoints. Writes nothing, and needs no lock.

    Args:
      folder: the run folder.
      step: the checkpoint's; the newest intact one if None.

    Raises:
      RunFolderError, ConfigError, CheckpointError: each with one line that says what is missing or damaged.
    """
    config = read_config(folder)
    checkpoints = folder / "checkpoints"
    if step is None:
        step, problems = newest_intact(checkpoints)
        for problem in problems:
            print(f"{problem}; falling back to step {step}", file=sys.stderr, flush=True)
    if step not in (steps := checkpoint_steps(checkpoints)):
        there = f"it has {', '.join(map(str, reversed(steps)))}" if steps else "it has none yet"
        raise CheckpointError(
            f"the run in {folder} has no checkpoint {'' if step is None else f'{step} '}to read: {there}"
        )
    path = checkpoints / str(step)
    _check_same(config, f"the checkpoint {path}", verify_checkpoint(path).get("settings") or {})
    state, keys = fresh_state(config)
    saved = restore_checkpoint(path, state)
    return Run(config, saved.state, {**keys, "run": saved.key})
