"""The documentation: the site builds without a warning, every public name is on it, every link leads somewhere."""

import json
import re
import subprocess
import sys
from collections import Counter
from urllib.parse import unquote, urlsplit

import pytest
from helpers import ROOT

import dcgan_jax
import dcgan_jax.interop
import dcgan_jax.report

PAGES = sorted(
    path for pages in ("*.md", "docs/*.md", "dcgan_jax/*/*.md", "examples/*.ipynb") for path in ROOT.glob(pages)
)


def prose(page):
    """The text of a page or of a notebook's cells of text, without code that stands by itself."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The names that GitHub gives to the headings of a page."""
    found, times = [], Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(page), re.MULTILINE):
        text = re.sub(r"\]\([^)]*\)", "", heading)  # of a link its text counts
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.append(f"{slug}-{times[slug]}" if times[slug] else slug)
        times[slug] += 1
    return found


def links(page):
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return [
        link
        for form in (r"\]\(([^)\s]+)", r"^\[[^\]]+\]: +(\S+)", r"<(\w+://[^>\n]*)>")
        for link in re.findall(form, text, re.M)
    ]


def is_broken(link, page):
    """Whether a link leads nowhere: one to another site only if it is no address, as tests use no network."""
    parts = urlsplit(link)
    if parts.scheme:
        return parts.scheme != "https" or not re.fullmatch(r"([\w-]+\.)+\w+", parts.netloc)
    target = page.parent / unquote(parts.path) if parts.path else page
    missing = parts.fragment and target.suffix == ".md" and unquote(parts.fragment) not in anchors(target)
    return not target.exists() or bool(missing)


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
    shown = set(re.findall(r'id="dcgan_jax\.(?:\w+\.)*(\w+)"', page))
    public = {*dcgan_jax.__all__, *dcgan_jax.interop.__all__, *dcgan_jax.report.__all__}
    assert public - shown == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Links outside the site too, which are read in the repository."""
    assert [link for link in links(page) if is_broken(link, page)] == []


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    good = ["#a-b_c-1", "other.md#d를-고정하지-않으면", "https://example.org/a?b#c", "sub"]
    bad = ["#a-b_c-2", "#code", "other.md#a-b_c", "none.md", "http:/x", "https://localhost", "htps://example.org"]
    text = "# A `b_c`?\n## A [b_c](sub)\n```\n# code\n```\n`[x](none)`\n"
    page.write_text(text + "\n".join(f"[x]({link})" for link in good + bad) + "\n[y]: gone\n<https://nowhere>\n")
    (tmp_path / "other.md").write_text("### D를 고정하지 않으면\n")
    (tmp_path / "sub").mkdir()
    found = [link for link in links(page) if is_broken(link, page)]
    assert found == [*bad, "gone", "https://nowhere"]
