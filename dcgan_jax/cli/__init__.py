"""The command line: arguments to settings, and every error to one line."""

import argparse
import dataclasses
import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
import platformdirs

from dcgan_jax.training.checkpoint import CheckpointError, save_checkpoint
from dcgan_jax.evaluation.classifier import ClassifierError
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.data import DatasetError
from dcgan_jax.training.distributed import (
    BrokenJobError,
    DevicesError,
    FirstProcessError,
    check_devices,
    from_first,
    is_first,
    join_job,
)
from dcgan_jax.errors import first_line
from dcgan_jax.evaluation.scoring import MOST, SAMPLES, EvaluationError, draw_many, evaluate, evaluate_images, table
from dcgan_jax.interop.weights import (
    FORMATS,
    NETWORKS,
    SUFFIXES,
    ExportError,
    export_keras,
    export_onnx,
    export_safetensors,
    export_stablehlo,
    import_weights,
)
from dcgan_jax.images import save_grid
from dcgan_jax.training.loop import NotFiniteError, draw_batch, train
from dcgan_jax.training.writer import GRID, Records
from dcgan_jax.training.run import Run, check, check_evaluable, fresh_state, restore_run, summarize
from dcgan_jax.training.run_dir import RunFolderError, choose_folder, hold, read_config
from dcgan_jax.state import averaged

_USER_ERRORS = (
    ConfigError,
    DatasetError,
    RunFolderError,
    CheckpointError,
    ClassifierError,
    EvaluationError,
    DevicesError,
    ExportError,
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Argparse prints its whole usage first; one line is enough."""
        _tell(f"{message} (--help lists the flags)")
        self.exit(2)


def _tell(error: object) -> None:
    """One line on standard error, whatever line breaks a file's name or a flag's value brings along."""
    print("error:", " ".join(str(error).splitlines()), file=sys.stderr)


def _train_parser(prog: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description="Train the DCGAN of the Keras tutorial.",
        allow_abbrev=False,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    _add_settings(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --workdir, or with the newest under runs/",
    )
    parser.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="compile afresh, and leave the user's cache folder alone",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="be one process of a job of several: of SLURM, Open MPI, Kubernetes, a TPU pod, or as\n"
        "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, say what would run, write nothing")
    return parser


def _settings(given: dict[str, Any], resume: bool) -> TrainConfig:
    """The flags given; where a run goes on, over its own settings."""
    config = TrainConfig(**given)
    if not resume:
        return config
    folder = choose_folder(config.workdir, resume)
    return dataclasses.replace(read_config(folder), **{**given, "workdir": str(folder)})


def _or_none(kind: type, none: str) -> Callable[[str], Any]:
    """A word takes a setting back when a run goes on."""

    def parse(text: str) -> Any:
        return None if text == none else kind(text)

    parse.__name__ = kind.__name__  # argparse puts it into its messages
    return parse


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each field of `TrainConfig`."""
    for field in dataclasses.fields(TrainConfig):
        text = field.metadata["help"]
        if field.metadata["choices"]:
            text += "\none of " + ", ".join(field.metadata["choices"])
        if field.default is not None:
            text += f" (default: {field.default})"
        flag, kind = "--" + field.name.replace("_", "-"), field.metadata["kind"]
        parse = _or_none(kind, field.metadata["none"]) if field.default is None and kind is not str else kind
        # Absent flags stay absent: a run that goes on takes them from its own settings.
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS)
            continue
        parser.add_argument(
            flag,
            type=parse,
            metavar="N" if kind is int else field.name.upper().replace("_", "-"),
            help=text,
            default=argparse.SUPPRESS,
        )


def train_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Train with these arguments (the process's if None).

    Returns:
      The exit code: 0 done, or saved after SIGTERM; 2 unusable input or a fault, told in one
      line; 3 a loss or parameter that is not finite; 4 stopped by --stop-on-collapse; 130 saved after Ctrl-C.
    """
    given = vars(_train_parser(prog).parse_args(argv))
    resume, dry_run = given.pop("resume"), given.pop("dry_run")
    if not given.pop("no_compilation_cache") and not dry_run:
        _keep_compiled_programs()
    try:
        if given.pop("distributed"):
            join_job()
        check_devices()
        config = TrainConfig(**from_first(lambda: dataclasses.asdict(_settings(given, resume))))
        if dry_run:
            if is_first():
                _describe(config, resume)
            return 0
        outcome = train(config, resume=resume)
    except FirstProcessError:
        return 2
    except _USER_ERRORS as error:
        _tell(error)
        return 2
    except NotFiniteError as error:
        _tell(error)
        return 3
    except OSError as error:  # a full disk, a folder taken away
        _tell(f"{error}: what was saved before is in the run folder, go on with --resume")
        return 2
    except BrokenJobError as error:
        _tell(
            f"the job is broken ({first_line(error)}): what was saved before is in the run folder, go on with --resume"
        )
        sys.stdout.flush()
        os._exit(2)  # at a regular end JAX would wait minutes for the other processes, which wait for this one
    except jax.errors.JaxRuntimeError as error:  # a device's memory is full
        _tell(f"the device gave up ({first_line(error)}): what was saved before is in the run folder")
        return 2
    except KeyboardInterrupt:  # before the first step, or a second time
        print("interrupted; nothing was saved since the last checkpoint", file=sys.stderr)
        return 130
    if outcome.collapsed:
        return 4
    return 130 if outcome.stopped_by == signal.SIGINT else 0


def _keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the user's cache folder, so that the next start need not compile.

    ``JAX_COMPILATION_CACHE_DIR`` goes first. JAX keys each program by its own version, the program, the
    device and XLA's flags; a folder that cannot be used costs a warning.
    """
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(platformdirs.user_cache_path("dcgan-jax") / "xla"))
    # By default programs that compile in less than a second are left out: a start has some fifty of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _describe(config: TrainConfig, resume: bool) -> None:
    folder = choose_folder(config.workdir, resume)
    images = check(config, folder, resume)
    print(summarize(fresh_state(config)[0]))
    print(dataclasses.replace(config, workdir=str(folder)).to_json(), end="")
    print(f"{'would go on' if resume else 'would train'} in {folder}, on {len(images):,} images; nothing was written")


def evaluate_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Score a run's images, or those of an ``.npy``, and print a table or JSON; the exit code, 0 or 2."""
    parser = _Parser(prog=prog, description="Score digits against MNIST's test images, beside what real ones score.")
    parser.add_argument("source", metavar="RUN", help="a run folder, or an .npy of images from any program")
    _add_run_arguments(parser)
    parser.add_argument("--samples", type=int, metavar="N", help="images to draw (default: 10000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    args = parser.parse_args(argv)
    return _reporting(lambda: _evaluate(args))


def _evaluate(args: argparse.Namespace) -> None:
    _check_printable(args.source)
    source = Path(args.source)
    if source.suffix == ".npy":
        for flag in ("checkpoint", "weights", "samples"):
            if getattr(args, flag) is not None:
                raise ConfigError(f"--{flag} is for runs: {source} holds images")
        images, about = _read_images(source), {"images": str(source)}
        evaluation = evaluate_images(images)
        title = f"{source}: {evaluation.samples:,} images"
    else:
        run, about = _restore(source, args)
        samples = SAMPLES if args.samples is None else args.samples
        check_evaluable(run.config, samples, "--samples")
        evaluation = evaluate(run.state, run.keys["evaluation"], samples)
        title = f"{source} at step {about['step']:,}, {about['weights']} weights: {samples:,} images"
    if args.json:
        print(json.dumps({**about, **evaluation.to_json()}, indent=2))
    else:
        print(f"{title}; floor: as many real ones\n\n{table(evaluation)}")


def sample_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Draw images with a run's generator into a ``.png`` or an ``.npy``; the exit code, 0 or 2."""
    parser = _Parser(prog=prog, description="Draw images with the generator of a run.")
    parser.add_argument("source", metavar="RUN", help="a run folder")
    _add_run_arguments(parser)
    parser.add_argument("--samples", type=int, default=16, metavar="N", help="images to draw (default: 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    parser.add_argument("--out", default="samples.png", metavar="FILE", help="a .png grid, or an .npy of uint8 images")
    args = parser.parse_args(argv)
    return _reporting(lambda: _sample(args))


def _sample(args: argparse.Namespace) -> None:
    _check_printable(args.source, args.out)
    out = Path(args.out)
    if out.suffix not in (".png", ".npy"):
        raise ConfigError(f"--out must end in .png or .npy, got {out}")
    if out.exists():
        raise ConfigError(f"{out} is there already: choose another --out")
    if not 1 <= args.samples <= MOST:
        raise ConfigError(f"--samples must be between 1 and {MOST}, got {args.samples}")
    if not 0 <= args.seed < 2**31:
        raise ConfigError(f"--seed must be between 0 and {2**31 - 1}, got {args.seed}")
    run, about = _restore(Path(args.source), args)
    images = draw_many(run.state, jax.random.key(args.seed, impl="threefry2x32"), args.samples)
    if not np.isfinite(images).all():
        raise ConfigError(f"the generator of {args.source} draws numbers that are NaN or infinite: nothing was written")
    if out.suffix == ".png":
        save_grid(out, images, columns=math.ceil(math.sqrt(args.samples)))
    else:
        np.save(out, np.rint(images * 255).astype(np.uint8))
    print(f"{args.samples:,} images of {args.source} at step {about['step']:,}, {about['weights']} weights, in {out}")


def export_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Write a run's networks for other programs; the exit code, 0 or 2."""
    parser = _Parser(prog=prog, description="Write a run's networks in a format of other programs, for inference.")
    parser.add_argument("source", metavar="RUN", help="a run folder")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument(
        "--network", choices=NETWORKS, default="generator", help="which one (default: generator; safetensors has both)"
    )
    _add_run_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help="(default: generator.onnx and the like)")
    args = parser.parse_args(argv)
    return _reporting(lambda: _export(args))


def _export(args: argparse.Namespace) -> None:
    suffix = SUFFIXES[args.format]
    out = Path(args.out or (f"gan{suffix}" if args.format == "safetensors" else f"{args.network}{suffix}"))
    _check_printable(args.source, str(out))
    if not out.name.endswith(suffix):
        raise ConfigError(f"--out must end in {suffix} for --format {args.format}, got {out}")
    if out.exists():
        raise ConfigError(f"{out} is there already: choose another --out")
    run, about = _restore(Path(args.source), args)
    match args.format:
        case "stablehlo":
            export_stablehlo(out, run.state, args.network)
        case "safetensors":
            export_safetensors(out, run.state, {**about, "settings": dataclasses.asdict(run.config)})
        case "keras":
            export_keras(out, run.state, args.network)
        case "onnx":
            export_onnx(out, run.state, args.network)
    what = "generator and discriminator" if args.format == "safetensors" else args.network
    print(f"{what} of {args.source} at step {about['step']:,}, {about['weights']} weights, in {out}")


def import_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Begin a run with weights from elsewhere; the exit code, 0 or 2."""
    parser = _Parser(
        prog=prog,
        description="Begin a run with weights from elsewhere: to draw with, to evaluate, or to train on with --resume.",
        allow_abbrev=False,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "weights",
        nargs="+",
        metavar="FILE",
        help="a .safetensors of both networks, or .weights.h5 of Keras:\nthe generator's, and then the discriminator's",
    )
    _add_settings(parser)
    given = vars(parser.parse_args(argv))
    return _reporting(lambda: _import(given.pop("weights"), TrainConfig(**given)))


def _import(weights: list[str], config: TrainConfig) -> None:
    _check_printable(*weights)
    if len(weights) > len(NETWORKS) or (len(weights) > 1 and any(name.endswith(".safetensors") for name in weights)):
        raise ConfigError(f"one .safetensors or up to two .weights.h5 make a run, got {' '.join(weights)}")
    folder = choose_folder(config.workdir, resume=False)
    images = check(config, folder, resume=False)
    state, keys = fresh_state(config)
    for path, network in zip(weights, NETWORKS, strict=False):
        state = import_weights(Path(path), state, network)
    config = dataclasses.replace(config, workdir=str(folder))
    with hold(folder, resume=False):
        # Before the folder holds a run: one that was cut off here must not go on from other weights.
        try:
            save_checkpoint(folder / "checkpoints", state, keys["run"], dataclasses.asdict(config))
        except BaseException:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            raise
        reals = np.asarray(draw_batch(jax.numpy.asarray(images), keys["reals"], GRID))
        with Records(config, keys, reals, 0, {}) as records:
            records.begin(state)
    print(f"{folder} begins with {', '.join(weights)}: train on with --workdir {folder} --resume")


def _check_printable(*names: str) -> None:
    """Raises: ConfigError for a name that could not be printed when the work is done."""
    for name in names:
        if not name.isprintable():
            raise ConfigError(f"file names must be printable text, got {name!r}")


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="of which step (default: the newest)")
    parser.add_argument(
        "--weights",
        choices=("average", "last"),
        help="the average that --ema kept, or the last ones (default: the average where there is one)",
    )


def _restore(folder: Path, args: argparse.Namespace) -> tuple[Run, dict[str, Any]]:
    """A run with the generator to draw with in its place, and what to say of it."""
    run = restore_run(folder, args.checkpoint)
    state, name = run.state, "last"
    if args.weights == "average" and state.ema is None:
        raise ConfigError(f"the run in {folder} keeps no average: it was trained without --ema")
    if state.ema is not None and args.weights != "last":
        state, name = averaged(state), f"average {run.config.ema}"
    return run._replace(state=state), {"run": str(folder), "step": int(state.step), "weights": name}


def _read_images(path: Path) -> np.ndarray:
    try:
        # Mapped, so that a header that promises more than the file holds costs no memory.
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the parser of the header lets through whatever Python's tokenizer raises
        reason = getattr(error, "strerror", None) or "it is not a whole .npy of numbers"
        raise ConfigError(f"cannot read {path}: {reason}") from error


def _reporting(work: Callable[[], None]) -> int:
    """Do it, with compiled programs kept and every error told in one line; the exit code."""
    _keep_compiled_programs()
    try:
        check_devices()
        work()
    except _USER_ERRORS as error:
        _tell(error)
        return 2
    except OSError as error:
        _tell(error)
        return 2
    except jax.errors.JaxRuntimeError as error:  # a device's memory is full
        _tell(f"the device gave up ({first_line(error)})")
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m dcgan_jax COMMAND``; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    commands = {
        "train": train_main,
        "sample": sample_main,
        "evaluate": evaluate_main,
        "export": export_main,
        "import": import_main,
    }
    parser = _Parser(prog="python -m dcgan_jax", description="The Keras tutorial's DCGAN in JAX.")
    parser.add_argument("command", choices=commands, help="what to do; COMMAND --help lists its flags")
    command = parser.parse_args(argv[:1]).command
    return commands[command](argv[1:], prog=f"python -m dcgan_jax {command}")
