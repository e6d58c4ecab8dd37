"""Reports of runs: self-contained HTML pages."""

from dcgan_jax.report.explorer import write_explorer
from dcgan_jax.report.page import write_report
from dcgan_jax.report.source import read_source

__all__ = ["read_source", "write_explorer", "write_report"]
