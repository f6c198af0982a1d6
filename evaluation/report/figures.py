"""Figures without a screen; the one place of this folder that imports matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from microturn.configs.files import replacing


def new_figure(*, width: float, height: float) -> Any:
    """An empty figure in inches. It belongs to nobody: no global state, no window."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
