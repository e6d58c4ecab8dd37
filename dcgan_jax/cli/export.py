"""``dcgan-jax export``: write a run's networks for other programs."""

import argparse
import dataclasses
from collections.abc import Sequence

from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_run, add_run_flags
from dcgan_jax.cli.outputs import check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import load_source
from dcgan_jax.console import print_line
from dcgan_jax.interop import NETWORKS, export_keras, export_onnx, export_safetensors, export_stablehlo
from dcgan_jax.pretrained import FOLDER, PRETRAINED
from dcgan_jax.training.config import ConfigError

_SUFFIXES = {"stablehlo": ".stablehlo", "safetensors": ".safetensors", "keras": ".weights.h5", "onnx": ".onnx"}


def export_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Write a run's networks for other programs; the exit code, 0 or 2."""
    parser = Parser(prog=prog, description="Write a run's networks in a format of other programs, for inference.")
    add_run(parser)
    add_run_flags(parser)
    parser.add_argument("--format", required=True, choices=list(_SUFFIXES))
    parser.add_argument(
        "--network", choices=NETWORKS, default="generator", help="which one (default: generator; safetensors has both)"
    )
    parser.add_argument("--out", metavar="FILE", help="(default: generator.onnx, or generator-2.onnx and so on)")
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _export(args), args.no_compilation_cache)


def _export(args: argparse.Namespace) -> None:
    suffix = _SUFFIXES[args.format]
    check_printable(args.source)
    stem = "gan" if args.format == "safetensors" else args.network
    out = new_file(args.out, stem, (suffix,), f" for --format {args.format}")
    if args.source in PRETRAINED and (args.network == "discriminator" or args.format == "safetensors"):
        raise ConfigError(
            f"the pretrained weights {args.source} have no discriminator; their generator is a safetensors file "
            f"already, {FOLDER / args.source}.safetensors"
        )
    if args.network == "discriminator" and args.format != "safetensors":
        if args.weights == "average":
            raise ConfigError("--weights average is of the generator: the discriminator has no moving average")
        args.weights = "last"
    if args.dtype is not None and args.format != "stablehlo":
        why = "an ONNX model computes in float32" if args.format == "onnx" else "such a file holds weights alone"
        raise ConfigError(f"--dtype is for --format stablehlo: {why}")
    loaded = load_source(args.source, args, args.network)
    run = loaded.run
    about = {**loaded.metadata, "settings": dataclasses.asdict(run.config) | dataclasses.asdict(run.record)}
    match args.format:
        case "stablehlo":
            export_stablehlo(out, run.state, args.network)
        case "safetensors":
            export_safetensors(out, run.state, about)
        case "keras":
            export_keras(out, run.state, args.network)
        case "onnx":
            export_onnx(out, run.state, args.network, about)
    what = "generator and discriminator" if args.format == "safetensors" else args.network
    print_line(f"{what} of {loaded.title}, in {out}")
