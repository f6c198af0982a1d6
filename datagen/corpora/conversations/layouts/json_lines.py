"""Lists of conversations, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_LONGEST: Final = 1 << 24  # bytes of a first line that is looked at


def lists_in(root: Path) -> list[Path]:
    """Return the `.jsonl` files of a folder by name, or the one that is given."""
    if root.is_file():
        return [root] if root.suffix == ".jsonl" else []
    return sorted(root.glob("*.jsonl")) if root.is_dir() else []


def first_row(path: Path) -> dict[str, Any]:
    """Return the object of the first line; an empty one where there is none."""
    with path.open("rb") as file:
        line = file.readline(_LONGEST)
    try:
        row = json.loads(line.decode("utf-8-sig", errors="replace"))
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
