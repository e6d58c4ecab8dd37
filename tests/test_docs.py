"""The check of the documentation finds what it is for: `python -m benchmarks.check_docs`."""

import sys

from helpers import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import check_docs, tables  # noqa: E402


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    good = ["#a-b_c-1", "other.md#d를-고정하지-않으면", "https://example.org/a?b#c", "sub"]
    bad = ["#a-b_c-2", "#code", "other.md#a-b_c", "none.md", "http:/x", "https://localhost", "htps://example.org"]
    text = "# A `b_c`?\n## A [b_c](sub)\n```\n# code\n```\n`[x](none)`\n"
    page.write_text(text + "\n".join(f"[x]({link})" for link in good + bad) + "\n[y]: gone\n<https://nowhere>\n")
    (tmp_path / "other.md").write_text("### D를 고정하지 않으면\n")
    (tmp_path / "sub").mkdir()
    assert check_docs.broken_links(page) == [*bad, "gone", "https://nowhere"]


def test_first_missing_line_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(check_docs, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text("| a |\n|---|\n| 1 |\n")
    assert list(check_docs.lacking("page.md", "| a |\n|---|", "| 1 |")) == []
    assert list(check_docs.lacking("page.md", "| a |\n| 2 |\n| 3 |")) == ["page.md lacks: | 2 |"]
    assert list(check_docs.lacking("page.md", "| 1 |\n| a |")) == ["page.md lacks: | 1 |"]


def test_tables_are_written_between_their_markers(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    (tmp_path / "docs").mkdir()
    page.write_text("before\n<!-- table a -->\nold\n<!-- end of a -->\nafter\n")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "TABLES", {"a": lambda: "| new |", "b": lambda: ""})
    assert list(tables.problems()) == [
        "README.md has another table than the results: python -m benchmarks.tables",
        "no page has the table b",
    ]
    tables.main()
    assert page.read_text() == "before\n<!-- table a -->\n| new |\n<!-- end of a -->\nafter\n"
    assert list(tables.problems()) == ["no page has the table b"]
