"""Check that the documentation agrees with the results, and that its links resolve.

    python -m benchmarks.check_docs    # a line for each problem on standard output; the exit code is 1 if there is one

Only Sphinx is run. It needs the extra `dev`, and no network.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dcgan_jax
import dcgan_jax.interop
import dcgan_jax.report
from benchmarks import own_data, quality, recorded
from benchmarks import tables as generated
from benchmarks.common import PICTURES, ROOT, read_result
from benchmarks.walkthrough import notebook_cells

WALKTHROUGH = ("docs/walkthrough.md", "docs/walkthrough.ko.md")
NOTEBOOK = ROOT / "examples" / "tutorial.ipynb"
_PICTURE_BYTES = 60_000  # limit of a drawing of the walkthrough


def read(page: str) -> str:
    """The text of a page, named by its path in the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def lacking(page: str, *texts: str) -> Iterator[str]:
    """Yield a problem for each text that a page lacks, with its first missing line."""
    content = read(page)
    for text in texts:
        if text not in content:
            lines = text.splitlines()
            yield f"{page} lacks: {next((line for line in lines if line not in content), lines[0])}"


def lacking_picture(page: str, name: str) -> Iterator[str]:
    """Yield a problem if a page does not show a picture, or the picture does not exist."""
    yield from lacking(page, f"images/{name}")
    if not (PICTURES / name).exists():
        yield f"docs/images/{name} does not exist"


def tables() -> Iterator[str]:
    """Check that the tables are those of the results, and that each is on a page."""
    yield from generated.problems()
    result = read_result("scaling")
    ways = ["one device", "2 devices", "4 devices", "8 devices", "2 processes", "4 processes"]
    if list(result["ways"]) != ways:
        yield f"benchmarks/results/scaling.json has {', '.join(result['ways'])}, not {', '.join(ways)}"


def shown_pictures() -> Iterator[str]:
    """Check that the pictures of the measurements are on the pages of their tables."""
    yield from lacking("docs/results.md", "images/quality-peers.png")
    for name, setting, result in quality.results():
        scored = {row["step"] for row in result["curve"]}
        for step in sorted(scored & set(setting.pictures or setting.scored()[-1:])):
            yield from lacking_picture("docs/results.md", f"{quality.picture(name, setting, step)}.png")
    for name in own_data.SETS:
        yield from lacking_picture("docs/data.md", f"own-{name}.png")
    for name in ("colour", "ships"):
        yield from lacking_picture("docs/pictures-results.md", f"pictures-{name}.png")


def search() -> Iterator[str]:
    """Check that the page of the search has all rows of the results, and no others."""
    page, rows = "docs/hyperparameter-search.md", recorded.search_rows()
    yield from lacking(page, *rows)
    expected = 2 + sum(len(row.splitlines()) for row in rows)
    found = len(re.findall(r"^\|", read(page), re.MULTILINE))
    if found != expected:
        yield f"{page} has {found} lines of a table, where the results give {expected}"


def readme() -> Iterator[str]:
    """Check README's rows of scores, which round the results, and the length of its lines."""
    exact = {
        (name, score["step"], score["weights"]): score["fid"]
        for name, _, result in quality.results()
        for score in result["curve"]
    }
    fid = {key: f"{value:.0f}" for key, value in exact.items()}
    tutorial = [float(fid[f"tutorial-{seed}", 1000, "last"]) for seed in range(3)]
    keras = [fid["keras-published", steps, "last"] for steps in (1000, 3000)]
    best = [f"{exact['recommended-0', steps, 'average']:.1f}" for steps in (1000, 3000, 10_000)]
    yield from lacking(
        "README.md",
        f"Keras program, two runs | {fid['keras', 1000, 'last']}, {keras[0]} | {keras[1]} | |",
        f"three seeds | {sum(tutorial) / 3:.0f} | | |",
        f"two seeds | {fid['article', 1000, 'last']}, {fid['article-1', 1000, 'last']} | | |",
        f"tutorial`, a long run | {' | '.join(fid['tutorial-long', at, 'last'] for at in (1000, 3000, 10_000))} |",
        f"article --ema 0.999` | | {fid['article-long', 3000, 'average']} | |",
        f"`--preset recommended --fakes inference`, as it was | {best[0]} | {best[1]} | {best[2]} |",
    )
    for number, line in enumerate(read("README.md").splitlines(), start=1):
        if len(line) > 100:
            yield f"README.md, line {number}: {len(line)} characters, and 100 are the most"


def walkthrough() -> Iterator[str]:
    """Check that both languages show the same code, pictures and figures, and that these are the results'."""
    english, korean = map(read, WALKTHROUGH)
    for what, pattern in (
        ("code", r"^```python\n.*?^```$"),
        ("pictures", r"!\[.*?\]\((.*?)\)"),
        ("levels of headings", r"^#+ "),
    ):
        if re.findall(pattern, english, re.M | re.S) != re.findall(pattern, korean, re.M | re.S):
            yield f"{WALKTHROUGH[1]} has other {what} than {WALKTHROUGH[0]}"
    for name in re.findall(r"!\[.*?\]\((.*?)\)", english):
        picture = ROOT / "docs" / name
        if picture.exists() and picture.stat().st_size >= _PICTURE_BYTES:
            yield f"docs/{name} has {_PICTURE_BYTES:,} bytes or more"
    yield from lacking(WALKTHROUGH[1], "\n".join(recorded.noise_dimensions_table().splitlines()[2:]))
    figures = recorded.freezing_figures()
    for name in ("keras-published", "keras-frozen"):
        curve = json.loads((quality.RESULTS / f"{name}.json").read_text())["curve"]
        figures += [f"{row['fid']:.0f}" for row in curve if row["step"] == 1000]
    if figures != (expected := ["0.0001", "77 %", "0.31", "65 %", "0.45", "270", "193"]):
        yield f"{WALKTHROUGH[0]}: D frozen and not frozen have {', '.join(figures)}, not {', '.join(expected)}"
    for page in WALKTHROUGH:
        yield from lacking(page, *figures)


def notebook() -> Iterator[str]:
    """Check that the notebook has the walkthrough, as `python -m benchmarks.walkthrough` writes it, and no outputs."""
    import nbformat

    name, content = NOTEBOOK.relative_to(ROOT), nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in content.cells if "walkthrough" in cell.metadata.get("tags", ())]
    if [(cell.cell_type, cell.source) for cell in cells] != notebook_cells(read(WALKTHROUGH[0])):
        yield f"{name} has another walkthrough than {WALKTHROUGH[0]}: python -m benchmarks.walkthrough"
    try:
        nbformat.validate(content)
    except nbformat.ValidationError as error:
        yield f"{name} is no valid notebook: {str(error).splitlines()[0]}"
    if any(cell.get("outputs") or cell.get("execution_count") for cell in content.cells):
        yield f"{name} is stored with outputs: clear them"


def named_tests() -> Iterator[str]:
    """Check that tests exist which pages name, as ``test_file.py::test_name`` or either of the two."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py")}
    for page in sorted((ROOT / "docs").glob("*.md")):
        pattern = r"`(?:tests/)?(test_\w+\.py)?(?:::)?(test_\w+)?`"
        for file, test in re.findall(pattern, page.read_text(encoding="utf-8")):
            searched = [sources.get(file, "")] if file else sources.values()
            if not any((f"def {test}(" if test else "def test_") in source for source in searched):
                yield f"docs/{page.name} names {'::'.join(filter(None, (file, test)))}, which is not in tests/"


def prose(page: Path) -> str:
    """The text of a page, or of a notebook's Markdown cells, without code blocks."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> list[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found, times = [], Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(page), re.MULTILINE):
        text = re.sub(r"\]\([^)]*\)", "", heading)  # only the text of a link counts
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.append(f"{slug}-{times[slug]}" if times[slug] else slug)
        times[slug] += 1
    return found


def broken_links(page: Path) -> list[str]:
    """The broken links of a page; those to other sites are only checked to be valid https addresses."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    forms = (r"\]\(([^)\s]+)", r"^\[[^\]]+\]: +(\S+)", r"<(\w+://[^>\n]*)>")
    return [link for form in forms for link in re.findall(form, text, re.M) if _is_broken(link, page)]


def _is_broken(link: str, page: Path) -> bool:
    parts = urlsplit(link)
    if parts.scheme:
        return parts.scheme != "https" or not re.fullmatch(r"([\w-]+\.)+\w+", parts.netloc)
    target = page.parent / unquote(parts.path) if parts.path else page
    missing = parts.fragment and target.suffix == ".md" and unquote(parts.fragment) not in anchors(target)
    return not target.exists() or bool(missing)


def links() -> Iterator[str]:
    """Check the links of all pages, including those outside the site, which are read in the repository."""
    for pattern in ("*.md", "docs/*.md", "dcgan_jax/*/*.md", "examples/*.ipynb"):
        for page in sorted(ROOT.glob(pattern)):
            yield from (f"{page.relative_to(ROOT)}: {link} leads nowhere" for link in broken_links(page))


def site() -> Iterator[str]:
    """Check that the site builds without warnings, such as for orphan pages, and has every page and public name."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), folder]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            yield from (f"sphinx: {line}" for line in built.stderr.splitlines() if line.strip())
        if not (Path(folder) / "api.html").exists():
            return
        made = {path.stem for path in Path(folder).glob("*.html")}
        yield from (
            f"docs/{path.name} is not on the site" for path in PICTURES.parent.glob("*.md") if path.stem not in made
        )
        shown = set(re.findall(r'id="dcgan_jax\.(?:\w+\.)*(\w+)"', (Path(folder) / "api.html").read_text()))
    public = {*dcgan_jax.__all__, *dcgan_jax.interop.__all__, *dcgan_jax.report.__all__}
    yield from (f"docs/api.md lacks the public name {name}" for name in sorted(public - shown))


CHECKS = (
    tables,
    shown_pictures,
    search,
    readme,
    walkthrough,
    notebook,
    named_tests,
    links,
    site,
)


def main() -> int:
    problems = [problem for check in CHECKS for problem in check()]
    print("\n".join(problems) if problems else f"{len(CHECKS)} checks of the documentation found nothing")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
