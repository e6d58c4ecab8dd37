"""What is built of the project for others to install."""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib

import pytest
from helpers import ROOT

from dcgan_jax import __all__ as public


def test_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert newest == f"## {version}"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project as a clone has it."""
    ignored = shutil.ignore_patterns(
        ".git", ".?env*", ".*_cache", "*.egg-info", ".hypothesis", "__pycache__", "_build", "runs"
    )
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("packaging") / "tree", ignore=ignored)


def build(tree, target):
    """The digests of the sources and of the wheel, by suffix."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", target]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    return {path.suffix: hashlib.sha256(path.read_bytes()).hexdigest() for path in target.iterdir()}


def test_what_is_built_again_has_the_same_bytes(tree, tmp_path):
    """Whoever has the sources can tell whether what an index has was made of them."""
    first = build(tree, tmp_path / "first")
    for folder, _, names in os.walk(tree):
        for path in (os.path.join(folder, name) for name in names):
            os.utime(path, (2**30, 2**30))
            os.chmod(path, os.stat(path).st_mode & 0o700)  # of another umask
    second = build(tree, tmp_path / "second")
    assert set(first) == {".gz", ".whl"}
    assert first == second


def test_sources_are_all_that_the_tests_need(tree, tmp_path):
    (tree / "notes.txt").write_text("of a person's own")
    (tree / "dcgan_jax" / "__pycache__").mkdir()
    (tree / "dcgan_jax" / "__pycache__" / "step.pyc").write_bytes(b"")
    build(tree, tmp_path / "built")
    (archive,) = (tmp_path / "built").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        built = {name.partition("/")[2] for name in tar.getnames()}
    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    left_out = {name for name in files - built if not name.startswith((".ci/", ".git", ".pre-commit"))}
    assert left_out == {"notes.txt", "dcgan_jax/__pycache__/step.pyc"}
    assert built - files <= {"PKG-INFO"}  # which unpacked sources have


def test_wheel_tells_checkers_that_it_has_types(wheel):
    """Without the marker they take every name of an installed package for `Any` (PEP 561)."""
    package = wheel / "dcgan_jax"
    assert (package / "py.typed").read_bytes() == b""
    stub = (package / "__init__.pyi").read_text()
    assert all(name in stub for name in public)


def test_wheel_says_what_it_is(wheel):
    (installed,) = importlib.metadata.distributions(name="dcgan-jax", path=[str(wheel)])
    about = installed.metadata
    assert about["Description-Content-Type"] == "text/markdown"
    assert about["License-Expression"] == "MIT AND CC-BY-SA-3.0"  # the images of MNIST are in it
    assert "Typing :: Typed" in about.get_all("Classifier")
    assert not [line for line in about.get_all("Classifier") if line.startswith("License")]  # beside SPDX, refused
    assert about.get_payload().startswith("# dcgan-jax\n")
    for name in about.get_all("License-File"):
        assert installed.locate_file(f"dcgan_jax-{installed.version}.dist-info/licenses/{name}").exists()
