"""``dcgan-jax import``: start a run with weights from elsewhere."""

from collections.abc import Sequence

from dcgan_jax.cli.common import Parser, add_cache_flag, add_config_flags, check_printable, run_inference_command
from dcgan_jax.console import print_line
from dcgan_jax.interop import NETWORKS, import_weights
from dcgan_jax.paths import local_path
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.run import create_run
from dcgan_jax.training.setup import create_state


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
        help="a .safetensors of both networks, or .weights.h5 of Keras: the generator's, and then the discriminator's",
    )
    add_config_flags(parser)
    add_cache_flag(parser)
    given = vars(parser.parse_args(argv))
    weights, no_cache = given.pop("weights"), given.pop("no_compilation_cache")
    return run_inference_command(lambda: _import(weights, TrainConfig(**given)), no_cache)


def _import(weights: list[str], config: TrainConfig) -> None:
    check_printable(*weights)
    if len(weights) > len(NETWORKS) or (len(weights) > 1 and any(name.endswith(".safetensors") for name in weights)):
        raise ConfigError(f"one .safetensors or up to two .weights.h5 make a run, got {' '.join(weights)}")
    state, keys = create_state(config)
    for path, network in zip(weights, NETWORKS, strict=False):
        state = import_weights(local_path(path, "FILE"), state, network)
    run_dir = create_run(config, state, keys)
    print_line(f"{run_dir} starts with {', '.join(weights)}: train with --workdir {run_dir} --resume")
