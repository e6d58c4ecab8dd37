"""The site: ``sphinx-build -W docs docs/_build`` (extra ``docs``)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "dcgan-jax"
author = copyright = "the dcgan-jax authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # headings that links may name
default_role = "py:obj"  # a single backtick in a docstring is a name of this package
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
