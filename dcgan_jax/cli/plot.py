"""``dcgan-jax plot``: plot losses, accuracies and FID of runs."""

import argparse
from collections.abc import Sequence

from dcgan_jax.cli.errors import run_command
from dcgan_jax.cli.outputs import check_printable, new_file
from dcgan_jax.cli.parser import Parser
from dcgan_jax.cli.sources import recorded_run
from dcgan_jax.console import print_line
from dcgan_jax.plots import PLOTS, require_matplotlib, save_plot
from dcgan_jax.report.source import describe_images
from dcgan_jax.training.config import ConfigError
from dcgan_jax.training.history import read_history
from dcgan_jax.training.run_dir import read_config


def plot_main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Plot the curves of runs into one picture; the exit code, 0 or 2."""
    parser = Parser(prog=prog, description="Plot losses, accuracies and FID of runs, which may be running.")
    parser.add_argument("sources", metavar="RUN", nargs="+", help="run directories, drawn over one another")
    parser.add_argument(
        "--out", metavar="FILE", help=f"one of {', '.join(PLOTS)} (default: curves.png, or curves-2.png and so on)"
    )
    args = parser.parse_args(argv)
    return run_command(lambda: _plot(args), cache=False)


def _plot(args: argparse.Namespace) -> None:
    check_printable(*args.sources)
    out = new_file(args.out, "curves", tuple(PLOTS))
    require_matplotlib()
    runs, data, seen = {}, {}, set()
    for source in args.sources:
        run_dir = recorded_run(source)
        if run_dir.resolve() in seen:
            continue
        seen.add(run_dir.resolve())
        data[source] = describe_images(*read_config(run_dir))
        runs[source] = read_history(run_dir)
    empty = [name for name, history in runs.items() if not any(history)]
    if len(empty) == len(runs):
        raise ConfigError(f"there are no rows in {args.sources[0]}/metrics.jsonl yet: nothing was written")
    for name in empty:
        print_line(f"warning: left out {name}: it has no rows yet", error=True)
        del runs[name]
    save_plot(out, runs, data)
    print_line(f"curves of {', '.join(runs)}, in {out}")
