"""Folders of this machine."""

import os
from pathlib import Path


def cache_folder(configured: str) -> Path:
    """Return the folder of files that are made once: as configured or the user's cache."""
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "microturn"
