"""The documentation: the site builds without a warning, every public name is on it, every link leads somewhere."""

import re
import subprocess
import sys

import pytest
from helpers import ROOT

import dcgan_jax

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site's pages."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ROOT / "docs", out]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out


def test_site_has_every_page_and_public_name(site):
    """Sphinx itself fails for a link to a page or heading that is not there, and for a page that nothing leads to."""
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= {path.stem for path in site.glob("*.html")}
    page = (site / "api.html").read_text()
    missing = [name for name in dcgan_jax.__all__ if f'id="dcgan_jax.{name}"' not in page]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(page):
    """Links outside the site too, which are read in the repository."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)", text, re.MULTILINE)
    local = [link.split("#")[0] for link in links if not re.match(r"https?:|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []
