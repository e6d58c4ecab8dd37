"""``dcgan-jax import``: start a run with weights from elsewhere."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_cache_flag, add_config_flags, add_recipe_flag
from dcgan_jax.cli.outputs import check_printable
from dcgan_jax.cli.parser import Parser
from dcgan_jax.console import print_line
from dcgan_jax.interop import NETWORKS, read_weights, replace_weights
from dcgan_jax.paths import local_path
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.first_state import create_state
from dcgan_jax.training.recipe import read_recipe
from dcgan_jax.training.run import create_run
from dcgan_jax.training.run_dir import resolve_run_dir
from dcgan_jax.training.setup import prepare_run


def import_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Start a run with weights from elsewhere; the exit code, 0 or 2."""
    parser = Parser(
        prog=prog,
        description="Start a run with weights from elsewhere: to sample from, to evaluate, or to train with --resume.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "weights",
        nargs="+",
        metavar="FILE",
        help="a .safetensors of export, as JAX or PyTorch names arrays, or a .h5 or .keras of Keras; what a file holds "
        "is recognised, in any order",
    )
    add_config_flags(parser, without=("init_from",))
    add_recipe_flag(parser)
    add_cache_flag(parser)
    given = vars(parser.parse_args(argv))
    weights, no_cache, recipe = given.pop("weights"), given.pop("no_compilation_cache"), given.pop("recipe")
    return run_inference_command(lambda: _import(weights, TrainConfig(**given), recipe), no_cache)


def _import(files: list[str], config: TrainConfig, recipe: str | None) -> None:
    check_printable(*files)
    init = None if recipe is None else read_recipe(recipe)
    # The networks have the size, channels and classes of the images.
    config, record, data, *_ = prepare_run(config, resolve_run_dir(config.workdir, resume=False), False, init)
    state, keys = create_state(config, record, init=init)
    if init:
        init.check_state(state, config.batch_size)
    weights: dict[str, dict[str, Any]] = {}
    source: dict[str, str] = {}
    for file in files:
        for network, variables in read_weights(local_path(file, "FILE"), state).items():
            if network in source:
                raise ConfigError(f"both {source[network]} and {file} hold the weights of the {network}: give one")
            weights[network], source[network] = variables, file
    if len(files) == 1:  # recorded as by `train --init-from`, so that it can be repeated
        config = dataclasses.replace(config, init_from=str(local_path(files[0], "FILE").absolute()))
    run_dir = create_run(config, replace_weights(state, weights), keys, data, init=init)
    if len(source) == 2 and len(files) == 1:
        start = f"the generator and the discriminator of {files[0]}"
    else:
        start = " and ".join(f"the {n} of {source[n]}" if n in source else f"an untrained {n}" for n in NETWORKS)
    print_line(f"{run_dir} starts with {start}: train with --workdir {run_dir} --resume")
