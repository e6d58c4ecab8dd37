"""``dcgan-jax train``, and ``python train.py``: train a run, or resume one."""

import argparse
import dataclasses
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dcgan_jax.cli.errors import run_command
from dcgan_jax.cli.flags import add_cache_flag, add_config_flags, add_huge_pages_flag, add_recipe_flag
from dcgan_jax.cli.parser import Parser
from dcgan_jax.console import counted, print_line, print_result
from dcgan_jax.errors import first_line
from dcgan_jax.report import read_source, write_report
from dcgan_jax.training.checkpoint import check_structure
from dcgan_jax.training.config import ConfigError, TrainConfig
from dcgan_jax.training.distributed import (
    broadcast_json,
    check_devices,
    init_distributed,
    is_primary,
    run_on_each,
    run_on_primary,
)
from dcgan_jax.training.first_state import create_state, model_summary
from dcgan_jax.training.loop import train
from dcgan_jax.training.profile import check_profile
from dcgan_jax.training.recipe import Recipe, read_recipe
from dcgan_jax.training.record import to_json
from dcgan_jax.training.run import with_weights
from dcgan_jax.training.run_dir import read_config, resolve_run_dir
from dcgan_jax.training.setup import prepare_run


def train_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Train with these arguments (the process's if None).

    Returns:
      The exit code: 0 done, or saved after SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 or SIGXCPU; 2 bad input or a failure,
      reported in one line; 3 a loss or a number of the state that is not finite; 4 stopped by --stop-on-collapse;
      130 saved after Ctrl-C.
    """
    given = vars(_parser(prog).parse_args(argv))
    del given["no_huge_pages"]  # handled before
    resume, dry_run, distributed = given.pop("resume"), given.pop("dry_run"), given.pop("distributed")
    profile, every, recipe = given.pop("profile"), given.pop("report_every"), given.pop("recipe")
    cache = not given.pop("no_compilation_cache") and not dry_run

    def work() -> int:
        return _train(given, recipe, resume, dry_run, distributed, profile, every, cache)

    return run_command(work, cache=cache, trains=True)


def _parser(prog: str | None) -> argparse.ArgumentParser:
    parser = Parser(
        prog=prog,
        description="Train the DCGAN of the Keras tutorial.",
        allow_abbrev=False,
    )
    add_config_flags(parser)
    parser.add_argument(
        "--resume", action="store_true", help="resume the run in --workdir, or the newest one under runs/"
    )
    add_recipe_flag(parser)
    add_cache_flag(parser)
    add_huge_pages_flag(parser)
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="be one process of a job of several: of SLURM, Open MPI, Kubernetes, a TPU pod, or as "
        "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID describe it",
    )
    parser.add_argument(
        "--profile", type=int, metavar="N", help="trace N steps after the first dispatch, for Perfetto and xprof"
    )
    parser.add_argument(
        "--report-every",
        type=int,
        metavar="N",
        help="write report.html, a page on the run, in its directory every N steps and at the end (default: never)",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, print what would run, write nothing")
    return parser


def _train(
    given: dict[str, Any],
    recipe: str | None,
    resume: bool,
    dry_run: bool,
    distributed: bool,
    profile: int | None,
    report_every: int | None,
    cache: bool,
) -> int:
    if report_every is not None and report_every < 1:
        raise ConfigError(f"--report-every must be at least 1, got {report_every}")
    if distributed:
        init_distributed()
    check_devices()
    config = run_on_primary(lambda: _config(given, resume, profile))
    config = TrainConfig.from_values(broadcast_json(config and dataclasses.asdict(config)))
    init = run_on_each(lambda: None if recipe is None else read_recipe(recipe))
    if init and not resume:
        config.check_recipe(init.name, given)
    if dry_run:
        if is_primary():
            _dry_run(config, resume, init)
        return 0
    on_steps = None if report_every is None else partial(_report, report_every)
    outcome = train(config, init=init, resume=resume, profile=profile, on_steps=on_steps, keep_program=cache)
    if report_every and is_primary():
        _write_report(outcome.folder, nearest=True)
    if outcome.collapsed:
        return 4
    return 130 if outcome.stopped_by == signal.SIGINT else 0


def _config(given: dict[str, Any], resume: bool, profile: int | None) -> TrainConfig:
    """The config of the given flags; for a resumed run, its own config with these flags applied."""
    check_profile(profile)
    config = TrainConfig(**given)
    if not resume:
        return config
    run_dir = resolve_run_dir(config.workdir, resume)
    return dataclasses.replace(read_config(run_dir)[0], **{**given, "workdir": str(run_dir)})


def _report(every: int, run_dir: Path, before: int, step: int) -> None:
    """Write the run's report if a multiple of ``every`` is among the steps after ``before`` up to ``step``."""
    if before // every != step // every:
        _write_report(run_dir)


def _write_report(run_dir: Path, nearest: bool = False) -> None:
    """Write the run's report; the ``nearest`` training images take longer, and are for the end of training."""
    try:
        write_report([read_source(run_dir)], run_dir / "report.html", nearest=nearest)
    except Exception as error:  # whatever is wrong with a report, it must not end the training
        print_line(f"warning: the report in {run_dir} was not written ({first_line(error)})", error=True)


def _dry_run(config: TrainConfig, resume: bool, init: Recipe | None) -> None:
    run_dir = resolve_run_dir(config.workdir, resume)
    config, record, data, _, _, checkpoint, _ = prepare_run(config, run_dir, resume, init)
    state = create_state(config, record, init=init)[0]
    if init:
        init.check_state(state, config.batch_size)
    if checkpoint:
        check_structure(checkpoint, state)
    print_result(model_summary(state if resume else with_weights(state, config, init)))
    print_result(to_json(dataclasses.replace(config, workdir=str(run_dir)), record).rstrip("\n"))
    what = "would resume" if resume else "would train"
    print_line(f"{what} in {run_dir}, on {counted(len(data.images), 'image')}; nothing was written")
