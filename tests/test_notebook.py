"""The notebook of docs/: its code cells in their order, in a folder of their own."""

from __future__ import annotations

import ast
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "train_with_lightning.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def text_of(kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == kind]


def run(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell as a kernel does; returns the value of its last line, if that is an expression."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)


def test_the_notebook_is_short_and_holds_no_output() -> None:
    assert len(CELLS) <= 15
    assert not [cell for cell in CELLS if cell.get("outputs") or cell.get("execution_count")]


def test_links_of_the_notebook_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", "\n".join(text_of("markdown"))):
        assert (NOTEBOOK.parent / link).exists(), link


@pytest.mark.slow
def test_the_notebook_trains_goes_on_and_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About 20 s on an idle core; `pytest -m slow tests/test_notebook.py`."""
    warnings.filterwarnings("ignore", module="lightning.*")  # advice about loaders
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {}
    values = [run(cell, names) for cell in text_of("code")]
    shapes, (half, metrics), steps, (n_positions, n_parameters, words) = (
        value for value in values if value is not None and value != 0
    )
    assert list(names["log"]["step"]) == sorted(names["log"]["step"])
    assert set(names["log"]["step"]) == set(range(24))
    assert shapes["audio_in"][:2] == (2, 20)  # a micro-batch of two
    assert half == 12
    assert metrics["validate/loss"] > 0
    assert steps == 24
    assert n_positions == 5
    assert words
    weights = load_file(tmp_path / "runs/own/checkpoint/model.safetensors")
    assert sum(weights[name].numel() for name, _ in names["model"].named_parameters()) == (
        n_parameters
    )
    assert (tmp_path / "runs/own/losses.png").stat().st_size > 5_000
