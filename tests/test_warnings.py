"""Warnings fail a test, but for those of libraries about what they themselves use."""

import warnings

import pytest

LIBRARY = "import warnings\ndef old(level=1):\n    warnings.warn('to be removed', {}, stacklevel=level)\n"
CHANGES = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")


def module(name, code, **names):
    """A module of this name and code, which nothing else can import."""
    content = {"__name__": name, **names}
    exec(code, content)
    return content


def library(category):
    return module("another_library.core", LIBRARY.format(category))


@pytest.mark.parametrize("category", CHANGES)
def test_what_a_library_deprecates_for_itself_passes(category):
    old = library(category)["old"]
    with warnings.catch_warnings(record=True) as noted:  # by the filters of pyproject.toml
        old()
        module("another_library.io", "old(2)", old=old)
    assert [str(warning.message) for warning in noted] == ["to be removed"] * 2


@pytest.mark.parametrize("category", CHANGES)
@pytest.mark.parametrize("name", ["dcgan_jax.step", "benchmarks.common", "test_step", "helpers", "__main__"])
def test_what_the_project_uses_of_it_fails(name, category):
    with pytest.raises(Warning, match="to be removed"):
        module(name, "old(2)", old=library(category)["old"])


def test_other_warnings_of_a_library_fail():
    with pytest.raises(RuntimeWarning, match="to be removed"):
        library("RuntimeWarning")["old"]()
