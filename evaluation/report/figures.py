"""Figures without a screen; the one place of this folder that imports matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def new_figure(*, width: float, height: float) -> Any:
    """An empty figure in inches. It belongs to nobody: no global state, no window."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    figure.savefig(aside, format="png", dpi=110)
    aside.replace(path)
