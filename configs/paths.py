"""Folders of this machine."""

import os
from pathlib import Path


def cache_folder(configured: str) -> Path:
    """Where things are kept that are made once: as configured, else as the system has it."""
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "microturn"
