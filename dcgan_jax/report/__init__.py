"""Reports of runs: pages for a browser, each one file that needs nothing else."""

from dcgan_jax.report.explorer import write_explorer
from dcgan_jax.report.page import write_report
from dcgan_jax.report.source import read_source

__all__ = ["read_source", "write_explorer", "write_report"]
