"""``dcgan-jax export``: write a run's networks for other programs."""

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcgan_jax.cli.errors import run_inference_command
from dcgan_jax.cli.flags import add_run, add_run_flags
from dcgan_jax.cli.outputs import check_new_file, check_no_partial, check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import TRAINING, LoadedRun, load_source, networks_of
from dcgan_jax.console import print_line
from dcgan_jax.interop import (
    NETWORKS,
    WeightsError,
    check_onnx,
    check_tflite,
    export_keras,
    export_onnx,
    export_quantized_onnx,
    export_safetensors,
    export_stablehlo,
    export_tflite,
    export_torch,
    make_examples,
    write_examples,
)
from dcgan_jax.interop.onnx_check import onnx_runtime
from dcgan_jax.interop.onnx_graph import OPSETS
from dcgan_jax.interop.onnx_quantized import Quantization
from dcgan_jax.interop.programs import LAYOUTS, PRECISIONS
from dcgan_jax.interop.pytorch_modules import module_file
from dcgan_jax.interop.tflite import require_litert
from dcgan_jax.paths import local_path
from dcgan_jax.pretrained import CONDITIONAL, FOLDER, PRETRAINED, describe_pretrained, evaluation_of
from dcgan_jax.pretrained.hub import HUB_WEIGHTS, About, export_hub, is_hub_folder
from dcgan_jax.pretrained.model_card import hub_dataset, repository_name
from dcgan_jax.state import GANState
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.history import comparable_evaluations, read_history

_SUFFIXES = {
    "stablehlo": ".stablehlo",
    "safetensors": ".safetensors",
    "keras": ".weights.h5",
    "onnx": ".onnx",
    "tflite": ".tflite",
    "torch": ".safetensors",
    "hub": "",
}
_STEMS = {"safetensors": "gan", "torch": "gan_torch", "hub": "gan-hub"}  # of the formats with both networks


def export_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Write a run's networks for other programs; the exit code, 0 or 2."""
    parser = Parser(prog=prog, description="Write a run's networks in a format of other programs, for inference.")
    add_run(parser)
    add_run_flags(parser)
    parser.add_argument(  # with a metavar: the choices in braces are wider than a line of the usage
        "--format", required=True, choices=list(_SUFFIXES), metavar="FORMAT", help=f"one of {', '.join(_SUFFIXES)}"
    )
    parser.add_argument(
        "--network",
        choices=NETWORKS,
        help="which one (default: generator); safetensors, torch and hub have both",
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="a file, of hub a new folder (default: generator.onnx, or generator-2.onnx and so on)",
    )
    parser.add_argument(
        "--check", action="store_true", default=None, help="run the onnx or tflite file, and compare it with JAX"
    )
    parser.add_argument(
        "--with-examples",
        action="store_true",
        default=None,
        help="write 8 inputs and their outputs in JAX beside the file, to compare with: generator.examples.npz",
    )
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
        "--quantize", action="store_true", default=None, help="weights and maps in int8, for a quarter of the size"
    )
    hub = parser.add_argument_group("of --format hub")
    hub.add_argument(
        "--license", metavar="ID", help="of the weights, as the Hub names licences: mit, cc-by-4.0 (default: unknown)"
    )
    args = parser.parse_args(argv)
    return run_inference_command(lambda: _export(args), args.no_compilation_cache)


def _export(args: argparse.Namespace) -> None:
    check_printable(args.source)
    if args.network is None:
        args.network = NETWORKS[0]
    elif args.format in _STEMS:
        raise ConfigError(f"--network is of one network, and --format {args.format} has both: leave it out")
    stem = _STEMS.get(args.format, args.network)

    def beside(name: str) -> list[str]:
        modules = [module_file(name + _SUFFIXES["torch"])] if args.format == "torch" else []
        return [*([f"{name}.examples.npz"] if args.with_examples else []), *modules]

    out = new_file(args.out, stem, (_SUFFIXES[args.format],), f" for --format {args.format}", beside)
    if args.format == "torch":
        check_new_file(out.with_name(module_file(out.name)), (".py",))
    if args.format == "hub":
        check_no_partial(out)
    _check_flags(args)
    networks = networks_of(args.source)
    plain = networks == NETWORKS or args.source == CONDITIONAL  # whose own file is compacted
    if args.network not in networks or (args.format == "safetensors" and not plain):
        raise ConfigError(_without_discriminator(args))
    examples = out.with_name(f"{out.name.removesuffix(_SUFFIXES[args.format])}.examples.npz")
    if args.with_examples:
        check_new_file(examples, (".npz",))
    alone = args.network == "discriminator" and args.format not in _STEMS  # it has no moving average
    if alone and not is_hub_folder(local_path(args.source, "RUN")):
        args.weights = "last"
    loaded = load_source(args.source, args, args.network)
    run = loaded.run
    metadata = loaded.metadata | ({"weights": "last"} if alone else {})
    about = {**metadata, "settings": dataclasses.asdict(run.config) | dataclasses.asdict(run.record)}
    written, quantized = str(out), None
    match args.format:
        case "torch":
            modules = export_torch(out, run.state, about, networks)
            written = f"{out}, and their modules in {modules}"
        case "hub":
            export_hub(out, run.state, _about(loaded, args), networks)
        case _:
            quantized = _write(args, out, run.state, about, networks)
    what = " and ".join(networks) if args.format in _STEMS else args.network
    print_line(f"{what} of {loaded.title}, in {written}")
    if args.format == "hub":
        folder = f"./{out}" if str(out).startswith("-") else str(out)  # which would be a flag
        print_line(f"upload it with: hf upload USER/{repository_name(out.name)} {shlex.quote(folder)}")
    if quantized:
        print_line(_quantization_line(quantized, args.network))
    if args.with_examples:
        made = make_examples(run.state, args.network).in_layout(args.layout or LAYOUTS[0])
        write_examples(examples, made)
        print_line(f"{' and '.join((*made.inputs, made.output))} of JAX to compare with, in {examples}")
    if args.check:
        _check(args, out, run.state)


def _write(
    args: argparse.Namespace, out: Path, state: GANState, about: dict[str, Any], networks: Sequence[str]
) -> Quantization | None:
    layout, precision = args.layout or LAYOUTS[0], args.precision or PRECISIONS[0]
    match args.format:
        case "stablehlo":
            export_stablehlo(out, state, args.network)
        case "safetensors":
            export_safetensors(out, state, about, networks)
        case "keras":
            export_keras(out, state, args.network)
        case "tflite":
            export_tflite(out, state, args.network)
        case "onnx" if args.quantize:
            return export_quantized_onnx(out, state, args.network, about, opset=args.opset, layout=layout)
        case "onnx":
            export_onnx(out, state, args.network, about, opset=args.opset, layout=layout, precision=precision)
    return None


def _quantization_line(found: Quantization, network: str) -> str:
    what = "pixels" if network == "generator" else "logits"
    return (
        f"int8: {found.before / 1e6:.1f} MB in float32, {found.after / 1e6:.1f} MB now "
        f"({100 * found.after / found.before:.0f} %); {what} differ from JAX by {found.largest:.2g} at most and "
        f"{found.mean:.2g} on average, of {found.images} inputs"
    )


def _check(args: argparse.Namespace, out: Path, state: GANState) -> None:
    """Compare the file's outputs with JAX's. Raises: WeightsError if they differ by more than the tolerance."""
    if args.format == "tflite":
        found = check_tflite(out, state, args.network)
    else:
        stored = {"layout": args.layout or LAYOUTS[0], "precision": args.precision or PRECISIONS[0]}
        found = check_onnx(out, state, args.network, **stored)
    difference = f"{found.difference:.1e} from JAX in {found.runtime}, tolerance {found.tolerance:.1e}"
    if not found.difference <= found.tolerance:  # NaN fails too
        raise WeightsError(f"{out} is up to {difference}: do not use it")
    print_line(f"{out} is at most {difference}")


def _about(loaded: LoadedRun, args: argparse.Namespace) -> About:
    """The description of a run for a folder for the Hub, without paths of this machine."""
    run, weights = loaded.run, loaded.metadata["weights"]
    training: dict[str, Any] = {name: getattr(run.config, name) for name in TRAINING}
    training |= {"dataset": hub_dataset(run.config.dataset), "data_digest": run.record.data_digest}
    training |= {"step": loaded.metadata["step"], "weights": weights}
    if args.source in PRETRAINED:
        training = {"preset": run.config.preset, "dataset": run.config.dataset, **describe_pretrained(args.source)}
        return About(training, None, [evaluation_of(args.source)], args.license or "mit")
    groups = comparable_evaluations(read_history(run.run_dir)).values()
    ours = [[row for row in rows if (row["step"], row["weights"]) == (training["step"], weights)] for rows in groups]
    evaluations = [rows[-1]["evaluation"] for rows in ours if rows]
    return About(training, run.record.classes, evaluations, args.license or "unknown")


def _without_discriminator(args: argparse.Namespace) -> str:
    source, pretrained = args.source, args.source in PRETRAINED
    without = f"the pretrained weights {source} have" if pretrained else f"the folder {source} has"
    if args.format != "safetensors":
        return f"{without} no discriminator: leave --network out"
    where = f"{FOLDER / source}.safetensors" if pretrained else f"{local_path(source, 'RUN') / HUB_WEIGHTS}"
    whose = "their" if pretrained else "its"
    return f"{without} no discriminator, and {whose} generator is a safetensors file already: {where}"


def _check_flags(args: argparse.Namespace) -> None:
    """Raises: ConfigError or WeightsError for incompatible flags, before a run is read."""
    if args.network == "discriminator" and args.format not in _STEMS and args.weights == "average":
        raise ConfigError("--weights average is of the generator: the discriminator has no moving average")
    if args.dtype is not None and args.format != "stablehlo":
        computes = args.format in ("onnx", "tflite")
        why = "such a model computes in float32" if computes else "such a file holds weights alone"
        raise ConfigError(f"--dtype is for --format stablehlo: {why}")
    if args.format != "onnx":
        for flag in ("opset", "layout", "precision", "quantize"):
            if getattr(args, flag) is not None:
                raise ConfigError(f"--{flag} is for --format onnx")
    if args.license is not None and args.format != "hub":
        raise ConfigError("--license is for --format hub")
    if args.format == "hub" and is_hub_folder(local_path(args.source, "RUN")) and args.source not in PRETRAINED:
        raise ConfigError(f"{args.source} is a folder for the Hub already: copy it")
    if args.check and args.format not in ("onnx", "tflite"):
        raise ConfigError("--check is for --format onnx and tflite")
    if args.with_examples and args.format in _STEMS:
        raise ConfigError(f"--with-examples is of one network, and --format {args.format} has both")
    if args.quantize and (args.check or args.precision == "float16"):
        other = "--check" if args.check else "--precision float16"
        raise ConfigError(f"--quantize does not go with {other}: it prints how far int8 is from JAX by itself")
    if args.opset is not None and args.opset not in OPSETS:
        raise ConfigError(f"--opset must be between {OPSETS[0]} and {OPSETS[-1]}, got {args.opset}")
    if args.format == "tflite":
        require_litert("schema_py_generated")
    elif args.check or args.quantize:
        onnx_runtime()
