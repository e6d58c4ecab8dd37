"""``dcgan-jax report``: a page on runs for a browser."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dcgan_jax.cli.common import Parser, check_folder, check_printable, check_suffix, run_command
from dcgan_jax.console import print_line
from dcgan_jax.paths import local_path
from dcgan_jax.report import read_source, write_report


def report_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Write a page on one or several runs; the exit code, 0 or 2."""
    parser = Parser(
        prog=prog,
        description="Write a page on one or several runs, which may be running: one HTML file with curves, samples, "
        "scores and settings, for a browser, that needs nothing else.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory; several are drawn over each other")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="an .html; an earlier report is replaced (default: RUN/report.html, or report.html)",
    )
    args = parser.parse_args(argv)
    return run_command(lambda: _report(args), cache=False)


def _report(args: argparse.Namespace) -> None:
    check_printable(*args.runs, args.out or "")
    runs = list(dict.fromkeys(local_path(run, "RUN") for run in args.runs))
    default = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    out = default if args.out is None else local_path(args.out, "--out")
    if args.out is not None:
        check_suffix(out, (".html",))
    sources = [read_source(run) for run in runs]
    check_folder(out)
    write_report(sources, out)
    print_line(f"a report of {', '.join(map(str, runs))}, in {out}")
