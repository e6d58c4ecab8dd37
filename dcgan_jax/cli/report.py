"""``dcgan-jax report``: write HTML pages on runs."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from dcgan_jax.cli.errors import run_command, run_inference_command
from dcgan_jax.cli.flags import add_run_flags, refuse_run_flags
from dcgan_jax.cli.outputs import check_folder, check_printable, check_suffix
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import load_source, recorded_run
from dcgan_jax.console import print_line
from dcgan_jax.paths import local_path
from dcgan_jax.pretrained import PRETRAINED
from dcgan_jax.report import read_source, write_explorer, write_report
from dcgan_jax.report.tables import describe_data
from dcgan_jax.training.config import ConfigError


def report_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Write a page on one or several runs, or one that draws a run's images; the exit code, 0 or 2."""
    parser = Parser(
        prog=prog,
        description="Write a page on one or several runs, which may be running: one HTML file with curves, samples, "
        "scores and settings, for a browser, that needs nothing else.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory; several are drawn over each other")
    parser.add_argument(
        "--explore",
        action="store_true",
        help="write a page with the run's generator in it instead, which draws its images where it is opened; RUN may "
        f"be the name of pretrained weights: {', '.join(PRETRAINED)}",
    )
    add_run_flags(parser)
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="an .html; an earlier page is replaced (default: report.html or explorer.html in the run directory; of "
        "several runs, report.html)",
    )
    args = parser.parse_args(argv)
    if args.explore:
        return run_inference_command(lambda: _explore(args), args.no_compilation_cache)
    return run_command(lambda: _report(args), cache=not args.no_compilation_cache)


def _report(args: argparse.Namespace) -> None:
    refuse_run_flags(args, "--explore: a report is of the whole run", "dtype")
    runs, out = _paths(args, "report.html", recorded_run)
    sources = [read_source(run) for run in runs]
    check_folder(out.parent)
    write_report(sources, out, nearest=True)
    print_line(f"a report of {', '.join(map(str, runs))}, in {out}")


def _explore(args: argparse.Namespace) -> None:
    runs, out = _paths(args, "explorer.html", lambda run: local_path(run, "RUN"))
    if len(runs) > 1:
        raise ConfigError(f"--explore takes one run, got {len(runs)}: write a page for each")
    loaded = load_source(args.runs[0], args)
    check_folder(out.parent)
    run, metadata = loaded.run, loaded.metadata
    data = describe_data(run.config, run.record)
    facts = [("Step", f"{metadata['step']:,}"), ("Weights", metadata["weights"]), ("Data", data)]
    write_explorer(run.state, out, str(runs[0]), facts, run.record.classes)
    print_line(f"an explorer of {loaded.title}, in {out}")


def _paths(args: argparse.Namespace, name: str, run_path: Callable[[str], Path]) -> tuple[list[Path], Path]:
    """The run directories, without duplicates, and the file to write."""
    check_printable(*args.runs, args.out or "")
    distinct: dict[Path, Path] = {}
    for run in map(run_path, args.runs):
        distinct.setdefault(run.resolve(), run)
    runs = list(distinct.values())
    if args.out is None:
        pretrained = args.explore and args.runs[0] in PRETRAINED
        return runs, Path(name) if len(runs) > 1 or pretrained else runs[0] / name
    out = local_path(args.out, "--out")
    check_suffix(out, (".html",))
    return runs, out
