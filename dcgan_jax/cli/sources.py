"""The sources that commands read: a run's checkpoint, a folder for the Hub, pretrained weights, or a run directory."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

from dcgan_jax.cli.flags import refuse_run_flags
from dcgan_jax.interop import NETWORKS
from dcgan_jax.paths import local_path
from dcgan_jax.pretrained import (
    CONDITIONAL,
    PRETRAINED,
    TRAINED_BY,
    describe_pretrained,
    pretrained_classes,
    with_pretrained,
)
from dcgan_jax.pretrained.hub import is_hub_folder, read_hub, read_hub_config
from dcgan_jax.state import averaged
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.first_state import create_state, run_keys
from dcgan_jax.training.history import describe_weights, weights_name
from dcgan_jax.training.recipe import read_recipe
from dcgan_jax.training.record import RunRecord
from dcgan_jax.training.run import Run, load_run

# Fields of the run's config that a folder for the Hub records, besides the data set if that is a name and not a path.
TRAINING = ("preset", "batch_size", "seed", "hold_out", "mirror")
# The data set of a folder for the Hub that names none: the path of a run's own pictures is not published.
_OWN_PICTURES = "own pictures"


class LoadedRun(NamedTuple):
    """A run to sample from, to evaluate or to export.

    Attributes:
      run: the run, whose generator has the chosen weights.
      metadata: ``run``, ``step`` and ``weights``, and ``dtype`` if it was chosen, as a JSON object.
      title: the same in readable form.
      names_data: whether its data set is known; not of a folder for the Hub from own pictures.
    """

    run: Run
    metadata: dict[str, Any]
    title: str
    names_data: bool = True


def load_source(
    source: str | Path, args: argparse.Namespace, network: str = "generator", by_class: bool = False
) -> LoadedRun:
    """Load the run, the folder for the Hub or the pretrained weights ``source``, by the flags of `add_run_flags`.

    ``--dtype`` applies to ``network``, the one that the command uses. A name of pretrained weights takes precedence
    over a directory of that name, which is ``./mnist``. The file that ``--recipe`` names is executed; no file of the
    run directory ever is. ``by_class`` selects the pretrained weights that draw by class.

    Raises:
      UserError: as `load_run` and `read_recipe`; or if the average is requested and the run has none, or a dtype and
        the network's cannot be chosen.
    """
    if str(source) in PRETRAINED:
        loaded = _load_pretrained(str(source), args, by_class)
    else:
        path = local_path(source, "RUN")
        loaded = _load_hub(path, args) if is_hub_folder(path) else _load_run(path, args)
    if args.dtype is None:
        return loaded
    state = loaded.run.state
    try:
        state = state.replace(**{network: getattr(state, network).computed_in(args.dtype)})
    except ValueError as error:  # a recipe's module
        raise ConfigError(f"{error}: leave --dtype out") from error
    metadata = {**loaded.metadata, "dtype": args.dtype}
    title = f"{loaded.title}, in {args.dtype}"
    return loaded._replace(run=loaded.run._replace(state=state), metadata=metadata, title=title)


def networks_of(source: str | Path) -> tuple[str, ...]:
    """The networks of RUN: pretrained weights and some folders for the Hub have only the generator.

    Raises:
      WeightsError, PathError: if it is a folder for the Hub whose config cannot be read, or not a local path.
    """
    if str(source) in PRETRAINED:
        return NETWORKS[:1]
    path = local_path(source, "RUN")
    return NETWORKS[:1] if is_hub_folder(path) and read_hub_config(path).discriminator is None else NETWORKS


def _load_run(run_dir: Path, args: argparse.Namespace) -> LoadedRun:
    with contextlib.redirect_stdout(sys.stderr):  # what a recipe prints is not the command's result
        recipe = None if args.recipe is None else read_recipe(args.recipe)
        run = load_run(run_dir, args.checkpoint, init=recipe)
    state, weights = run.state, "last"
    if args.weights == "average" and state.ema is None:
        why = f"{run.recipe.name} has none" if run.recipe else "its preset has none, and it was trained without --ema"
        raise ConfigError(f"the run in {run_dir} keeps no average: {why}")
    if state.ema is not None and args.weights != "last":
        state, weights = averaged(state), weights_name(state)
    metadata = {"run": str(run_dir), "step": int(state.step), "weights": weights}
    title = f"{run_dir} at step {metadata['step']:,}, {describe_weights(weights)}"
    return LoadedRun(run._replace(state=state), metadata, title)


def _load_pretrained(name: str, args: argparse.Namespace, by_class: bool) -> LoadedRun:
    """Pretrained weights as a run of the preset that trained them; its optimizers are new."""
    refuse_run_flags(args, f"runs: {name} names pretrained weights, and ./{name} a run directory")
    name = CONDITIONAL if by_class else name
    classes = pretrained_classes(name)
    config, record = TrainConfig(preset=TRAINED_BY, conditional=classes is not None), RunRecord(classes=classes)
    state, keys = create_state(config, record)
    state = with_pretrained(state, name).replace(ema=None)
    metadata = {"run": name, "step": describe_pretrained(name)["step"], "weights": "pretrained"}
    return LoadedRun(Run(config, state, keys, {}, record), metadata, f"the pretrained weights {name}")


def _load_hub(folder: Path, args: argparse.Namespace) -> LoadedRun:
    """A folder for the Hub as a run; its optimizers are new."""
    refuse_run_flags(args, f"runs: {folder} is a folder for the Hub, with the weights of one step")
    about = read_hub_config(folder)
    training = about.training
    config = TrainConfig(
        **{name: training[name] for name in TRAINING if name in training},
        dataset=training.get("dataset") or _OWN_PICTURES,
        conditional=about.classes is not None,
    )
    record = RunRecord(about.image_shape, about.classes, training.get("data_digest"))
    metadata = {"run": str(folder), "step": training.get("step", 0), "weights": training.get("weights", "last")}
    run = Run(config, read_hub(folder), run_keys(config), {}, record, folder)
    return LoadedRun(run, metadata, f"the weights in {folder}", bool(training.get("dataset")))


def check_names_data(loaded: LoadedRun, remedy: str) -> None:
    """Raises: ConfigError if the images that the networks were trained on are unknown; ``remedy`` says what to do."""
    if not loaded.names_data:
        raise ConfigError(f"{loaded.metadata['run']} is a folder for the Hub that names no data set: {remedy}")


def recorded_run(source: str) -> Path:
    """The run directory of RUN, for commands on curves or samples by step, which pretrained weights do not have.

    Raises:
      ConfigError, PathError: if it names pretrained weights and no such directory exists, or is not a local path.
    """
    run_dir = local_path(source, "RUN")
    if source in PRETRAINED and not run_dir.exists():
        raise ConfigError(
            f"{source} names pretrained weights, which have no curves and no samples by step: give a run directory, or "
            "draw with the weights by sample, interpolate or report --explore"
        )
    return run_dir
