"""The notebook runs, and is stored without outputs."""

import nbformat
from helpers import QUICK_COMPILATION, ROOT
from nbclient import NotebookClient

NOTEBOOK = ROOT / "examples" / "tutorial.ipynb"


def test_notebook_runs(tmp_path, monkeypatch):
    """As it is, but for the cell of its settings."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (settings,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    settings.source = "steps = 4\nbatch_size = 4\nsamples = 200"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", QUICK_COMPILATION)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    drawn = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(drawn) == 1 + 4 + 1 + 1  # real digits, four while it trains, fresh ones, and from one to another
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "step 4: D's loss " in text
    assert "same digits: True" in text
    assert "FID (lower is better)" in text


def test_notebook_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
