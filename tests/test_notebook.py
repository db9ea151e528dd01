"""examples/quickstart.ipynb: its code cells run one after another, with and without matplotlib."""

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import pytest

import pymem

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "quickstart.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
MATPLOTLIB = [False, True] if importlib.util.find_spec("matplotlib") else [False]


def code() -> str:
    """The code cells as one program."""
    return "\n\n".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code")


@pytest.mark.parametrize("matplotlib", MATPLOTLIB)
def test_the_cells_run(matplotlib, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    if not matplotlib:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    # "agg" has no window to show a figure in, and says so
    (tmp_path / "cells.py").write_text(code().replace("plt.show()", "figure.savefig('figure.png')"), encoding="utf-8")
    names = runpy.run_path(str(tmp_path / "cells.py"))
    result, frame, said = names["result"], names["frame"], capsys.readouterr().out
    assert isinstance(result, pymem.Result)
    assert result.status == "complete"
    assert result.vmstat["pswpin"] > 0, "the machine of the notebook must be under pressure"
    assert len(frame) == len(result.timeline)
    assert said.startswith("complete ")
    assert ("pip install" in said) == (not matplotlib)
    assert (tmp_path / "figure.png").exists() == matplotlib


def test_the_notebook_is_stored_without_outputs():
    kinds = {cell["cell_type"] for cell in CELLS}
    assert kinds == {"code", "markdown"}
    for cell in (cell for cell in CELLS if cell["cell_type"] == "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    ids = [cell["id"] for cell in CELLS]
    assert len(ids) == len(set(ids))


def test_files_that_the_notebook_links_to_exist():
    text = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    targets = [part.split(")")[0] for part in text.split("](")[1:]]
    assert targets
    assert all((NOTEBOOK.parent / target).exists() for target in targets)
