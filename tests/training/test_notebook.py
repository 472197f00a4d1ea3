"""`scripts/Gender_recognizer.ipynb`, run from top to bottom."""

import nbformat
from conftest import PROJECT
from nbclient import NotebookClient

NOTEBOOK = PROJECT / "scripts" / "Gender_recognizer.ipynb"


def test_notebook_is_kept_without_outputs():
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_notebook_runs_from_top_to_bottom(tmp_path):
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        cell.source = cell.source.replace('PROJECT / "outputs"', f'Path("{tmp_path}")')
        cell.source = cell.source.replace("EPOCHS = 12", "EPOCHS = 2")
    NotebookClient(notebook, timeout=170, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert not [output for output in outputs if output.output_type == "error"]
    labelled = notebook.cells[-1].outputs[-1].data["text/plain"]
    assert "the bundled" in labelled
    assert "female" in labelled
