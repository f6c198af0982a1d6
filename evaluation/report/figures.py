"""Figures without a screen; the one place of this folder that imports matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from microturn.configs.files import replacing


def new_figure(*, width: float, height: float) -> Any:
    """Make an empty figure, in inches, without global state or a window."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
