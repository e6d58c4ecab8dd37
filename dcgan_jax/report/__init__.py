"""Reports of runs: pages for a browser, each one file that needs nothing else."""

from dcgan_jax.report.page import check_page, write_report
from dcgan_jax.report.source import read_source

__all__ = ["check_page", "read_source", "write_report"]
