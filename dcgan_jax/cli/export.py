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
from dcgan_jax.interop import (
    NETWORKS,
    WeightsError,
    check_onnx,
    export_keras,
    export_onnx,
    export_safetensors,
    export_stablehlo,
)
from dcgan_jax.interop.onnx_check import onnx_runtime
from dcgan_jax.interop.onnx_graph import OPSETS
from dcgan_jax.interop.programs import LAYOUTS, PRECISIONS
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
    onnx = parser.add_argument_group("of --format onnx")
    onnx.add_argument(
        "--opset",
        type=int,
        metavar="N",
        help=f"version of ONNX's operators, {OPSETS[0]} to {OPSETS[-1]} (default: 18; 23 for networks of a recipe)",
    )
    onnx.add_argument("--layout", choices=LAYOUTS, help="axes of the images (default: NHWC)")
    onnx.add_argument(
        "--precision", choices=PRECISIONS, help="what weights are stored in; computed is in float32 (default: float32)"
    )
    onnx.add_argument(
        "--check", action="store_true", default=None, help="run the file in ONNX Runtime, and compare it with JAX"
    )
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _export(args), args.no_compilation_cache)


def _export(args: argparse.Namespace) -> None:
    suffix = _SUFFIXES[args.format]
    check_printable(args.source)
    stem = "gan" if args.format == "safetensors" else args.network
    out = new_file(args.out, stem, (suffix,), f" for --format {args.format}")
    _check_flags(args)
    if args.network == "discriminator" and args.format != "safetensors":
        args.weights = "last"
    loaded = load_source(args.source, args, args.network)
    run = loaded.run
    about = {**loaded.metadata, "settings": dataclasses.asdict(run.config) | dataclasses.asdict(run.record)}
    stored = {"layout": args.layout or LAYOUTS[0], "precision": args.precision or PRECISIONS[0]}
    match args.format:
        case "stablehlo":
            export_stablehlo(out, run.state, args.network)
        case "safetensors":
            export_safetensors(out, run.state, about)
        case "keras":
            export_keras(out, run.state, args.network)
        case "onnx":
            export_onnx(out, run.state, args.network, about, opset=args.opset, **stored)
    what = "generator and discriminator" if args.format == "safetensors" else args.network
    print_line(f"{what} of {loaded.title}, in {out}")
    if args.check:
        found = check_onnx(out, run.state, args.network, **stored)
        difference = f"{found.difference:.1e} from JAX in {found.runtime}, tolerance {found.tolerance:.1e}"
        if not found.difference <= found.tolerance:  # NaN is above it
            raise WeightsError(f"{out} is up to {difference}: do not use it")
        print_line(f"{out} is at most {difference}")


def _check_flags(args: argparse.Namespace) -> None:
    """Raises: ConfigError or WeightsError for flags that do not fit together, before a run is read."""
    if args.source in PRETRAINED and (args.network == "discriminator" or args.format == "safetensors"):
        raise ConfigError(
            f"the pretrained weights {args.source} have no discriminator; their generator is a safetensors file "
            f"already, {FOLDER / args.source}.safetensors"
        )
    if args.network == "discriminator" and args.format != "safetensors" and args.weights == "average":
        raise ConfigError("--weights average is of the generator: the discriminator has no moving average")
    if args.dtype is not None and args.format != "stablehlo":
        why = "an ONNX model computes in float32" if args.format == "onnx" else "such a file holds weights alone"
        raise ConfigError(f"--dtype is for --format stablehlo: {why}")
    if args.format != "onnx":
        for flag in ("opset", "layout", "precision", "check"):
            if getattr(args, flag) is not None:
                raise ConfigError(f"--{flag} is for --format onnx")
    if args.opset is not None and args.opset not in OPSETS:
        raise ConfigError(f"--opset must be between {OPSETS[0]} and {OPSETS[-1]}, got {args.opset}")
    if args.check:
        onnx_runtime()
