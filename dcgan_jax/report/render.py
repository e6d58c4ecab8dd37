"""Self-contained HTML pages: a template, a style, a script and its data in one file."""

import base64
import hashlib
import html
import json
import os
import string
from importlib import resources
from pathlib import Path
from typing import Any

from dcgan_jax.errors import UserError
from dcgan_jax.files import replace_file

_MARK = '<meta name="generator" content="dcgan-jax report">'  # in the template; files with it may be replaced
_FILES = {  # styles and scripts of each page, in order
    "report": ("uPlot.min.css", "page.css", "uPlot.iife.min.js", "elements.js", "report.js"),
    "explorer": ("page.css", "elements.js", "generator.js", "explorer.js"),
}


class ReportError(UserError):
    """A page cannot be written."""


def render(title: str, program: str, data: Any) -> bytes:
    """A self-contained page: the template with a title, a program of ``static/``, its style and its data.

    ``<`` is escaped in the data, so that no text of a run can end its element. The content security policy allows only
    the page's own script and style, by their digests, and embedded pictures.

    Args:
      title: of the page.
      program: ``report`` or ``explorer``.
      data: what the program shows, serialisable as JSON.
    """
    style, script = (
        "\n".join(_static(name) for name in _FILES[program] if name.endswith(end)) for end in (".css", ".js")
    )
    policy = f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:"
    text = string.Template(_static("page.html")).substitute(
        title=html.escape(title),
        policy=f"{policy}; base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        data=json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    )
    return text.encode()


def _static(name: str) -> str:
    return (resources.files("dcgan_jax.report") / "static" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def check_page(out: Path) -> None:
    """Raises: ReportError if ``out`` exists, unless it is a page of this package, which may be replaced."""
    if not os.path.lexists(out):
        return
    try:
        ours = out.is_file() and _MARK.encode() in out.read_bytes()[:1_000]
    except OSError:
        ours = False
    if not ours:
        raise ReportError(f"{out} exists and is not a report: choose another `out`")


def replace_page(path: Path, content: bytes) -> None:
    """Create or replace a page atomically. Raises: OSError."""
    replace_file(path, lambda partial: partial.write_bytes(content))
