"""The notebooks run, and print what they say."""

import json
import re

import nbformat
import pytest
from helpers import QUICK_COMPILATION, ROOT
from nbclient import NotebookClient

SMALL = ROOT / "examples" / "jax_ai_stack_dcgan.ipynb"
NOTEBOOK = ROOT / "examples" / "tutorial.ipynb"


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def printed(cells):
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join(each.text for each in outputs if each.output_type == "stream" and each.name == "stdout")


@pytest.mark.slow
def test_notebook_runs(tmp_path, monkeypatch):
    """As it is, but for the cell of its settings; the walkthrough's cells print what their comments say."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (settings,) = tagged(notebook, "parameters")
    settings.source = "steps = 4\nbatch_size = 4\nsamples = 200"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", QUICK_COMPILATION)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in tagged(notebook, "walkthrough"):
        assert printed([cell]).splitlines() == re.findall(r"^# -> (.*)$", cell.source, re.MULTILINE)
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    drawn = [each for cell in notebook.cells for each in cell.get("outputs", ()) if "image/png" in each.get("data", {})]
    assert len(drawn) == 1 + 4 + 1 + 1  # real digits, four while it trains, fresh ones, and from one to another
    text = printed(notebook.cells)
    assert "step 4: D's loss " in text
    assert "same digits: True" in text
    assert "FID (lower is better)" in text


@pytest.mark.slow
def test_small_notebook_runs_without_the_package(tmp_path):
    """It is a DCGAN in Flax NNX by itself; in 2,000 steps it draws most digits."""
    notebook = nbformat.read(SMALL, as_version=4)
    assert not any("dcgan_jax" in cell.source for cell in notebook.cells)
    (settings,) = tagged(notebook, "parameters")
    settings.source = "steps = 2000"
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    counts = json.loads(printed(notebook.cells).partition(": ")[2])
    assert sum(counts) == 1000
    assert sum(count >= 10 for count in counts) >= 8
