"""The files that a run writes: its config, layers, real images and samples, rows of metrics, checkpoints."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.files import replace_text
from dcgan_jax.images import image_grid, save_png
from dcgan_jax.memory import release_free_memory
from dcgan_jax.sampling import generate, sample, sample_noise
from dcgan_jax.state import GANState, averaged
from dcgan_jax.training.checkpoint import checkpoint_steps, save_checkpoint
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.distributed import local_replica
from dcgan_jax.training.first_state import model_summary
from dcgan_jax.training.history import sample_grids
from dcgan_jax.training.loggers import RunLog
from dcgan_jax.training.recipe import Recipe
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run_dir import write_config

GRID = 16  # images in a grid of 4x4, the tutorial's


class RunFiles:
    """Writes the files of one run; in a job of several processes only the primary has one.

    The states it takes are replicated over the devices; samples are drawn on one of them.
    """

    def __init__(
        self,
        run_dir: Path,
        config: TrainConfig,
        record: RunRecord,
        keys: Mapping[str, jax.Array],
        step: int,
        devices: int,
        recipe: Recipe | None = None,
    ):
        """Open the run directory's files for writing, after ``step`` steps; ``config.json`` is written at once.

        Args:
          run_dir: the run directory.
          config: the run's config.
          record: the run's record.
          keys: the run's keys, from `create_state`.
          step: steps so far; rows of metrics after it are removed.
          devices: the number of devices that share the run's batches.
          recipe: the recipe that built the initial state; a copy of its source is written.
        """
        self._run_dir, self._config, self._record, self._keys, self._devices = run_dir, config, record, keys, devices
        self._checkpoints, self._samples = run_dir / "checkpoints", run_dir / "samples"
        # First: whatever fails after it, the directory holds a run.
        write_config(run_dir, config, record, recipe and recipe.source)
        self._samples.mkdir(exist_ok=True)
        self._sample_digits = sample_digits(self._samples, config.steps)
        self._log = RunLog(config, run_dir, step, record.log_id)

    def __enter__(self) -> "RunFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def write_initial(self, state: GANState, reals: np.ndarray) -> None:
        """Write a new run's files besides its first checkpoint: layers, ``reals`` [N, H, W, C], first samples."""
        replace_text(self._run_dir / "models.txt", model_summary(local_replica(state)))
        save_png(self._run_dir / "reals.png", image_grid(reals))
        self.save_samples(state)

    def write_final(self, state: GANState) -> None:
        """Write ``fakes.png``: samples of new noise."""
        fakes = sample(sampling_state(state), self._keys["fakes"], GRID, _grid_labels(state))
        save_png(self._run_dir / "fakes.png", image_grid(jax.device_get(fakes)))

    def write_row(self, step: int, values: Mapping[str, Any]) -> None:
        """Write a row of metrics, or of an evaluation."""
        self._log.log_scalars(step, values)

    def sync(self) -> None:
        """Flush all rows to disk."""
        self._log.sync()

    def save_samples(self, state: GANState) -> np.ndarray:
        """Write and log a grid of samples of the run's fixed noise, at the state's step.

        Returns:
          The images, float32 [16, H, W, C] in [0, 1].
        """
        step, noise = int(state.step), sample_noise(state, self._keys["grid"], GRID)
        images = jax.device_get(generate(sampling_state(state), noise, _grid_labels(state)))
        grid = image_grid(images)  # of any values: a run survives a generator that leaves [0, 1]
        save_png(self._samples / f"{step:0{self._sample_digits}d}.png", grid)
        self._log.log_images(step, "samples", grid)
        return images

    def saved_steps(self) -> list[int]:
        """The steps of the checkpoints, newest first. Raises: CheckpointError if they cannot be listed."""
        return checkpoint_steps(self._checkpoints)

    def save_checkpoint(self, state: GANState, collapse: dict[str, Any], keep_steps: Collection[int] = ()) -> list[str]:
        """Save a checkpoint, and delete those that are neither among the newest nor in ``keep_steps``.

        Args:
          state: the state to save.
          collapse: `Monitor.state_dict`.
          keep_steps: steps whose checkpoints are kept besides the newest.

        Returns:
          A line for each expired checkpoint that could not be deleted.

        Raises:
          CheckpointError: if it cannot be written; earlier ones are unchanged.
        """
        problems = save_checkpoint(
            self._checkpoints,
            state,
            self._keys["run"],
            dataclasses.asdict(self._config),
            self._config.keep_checkpoints,
            keep_steps,
            record=dataclasses.asdict(self._record),
            collapse=collapse,
            devices=self._devices,
        )
        release_free_memory()  # that of the copy for the checkpoint
        return problems


def sampling_state(state: GANState) -> GANState:
    """The state on one device, with the generator that samples and evaluations use."""
    return local_replica(state) if state.ema is None else averaged(local_replica(state))


def sample_reals(images: np.ndarray, key: jax.Array) -> np.ndarray:
    """The real images that a run shows: 16 of ``images`` [N, H, W, C]; all of them in turn if N is below 16."""
    random = np.random.default_rng(jax.device_get(jax.random.key_data(key)))
    rows = random.choice(len(images), min(len(images), GRID), replace=False)  # without a permutation of a million
    return images[np.resize(rows, GRID)]


def sample_digits(folder: Path, steps: int) -> int:
    """The number of digits in the names of samples: six, or enough for ``steps``; that of a resumed run stays."""
    found = [len(path.stem) for _, path in sample_grids(folder)]
    return min(found, default=max(6, len(str(steps))))


def _grid_labels(state: GANState) -> jax.Array | None:
    """The classes of a grid's images, in turn; None without classes."""
    return None if state.classes is None else jnp.arange(GRID) % state.classes
