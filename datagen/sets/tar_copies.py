"""Tars that cannot be read in parts, copied to this machine whole: pipes, servers without ranges.

Dialogues are read in random order, which needs a place that gives any part of a tar. Copies lie in
the folder for temporary files (TMPDIR) and are removed when the process that made them ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from microturn.datagen.sets.storage import Place, RemotePath

PIPE: Final = "pipe:"
_WEB: Final = ("http", "https")


def seekable(tars: Sequence[Place]) -> list[Place]:
    """Return places of which parts can be read: these, or copies where a server gives none.

    The first tar of the web tells what its server can do.
    """
    if not tars or not isinstance(tars[0], RemotePath) or tars[0].protocol not in _WEB:
        return list(tars)
    fs, path = tars[0].target
    if len(fs.cat_file(path, start=0, end=1)) <= 1:
        return list(tars)
    return [_downloaded(tar) for tar in tars]


def piped(command: str) -> Path:
    """Run a shell command and return a file with its output; OSError where it fails."""
    target = _new_file()
    with target.open("wb") as file:
        done = subprocess.run(command, shell=True, stdout=file, check=False)
    if done.returncode:
        raise OSError(f"{PIPE}{command} ended with exit code {done.returncode}")
    return target


def _downloaded(tar: Place) -> Path:
    assert isinstance(tar, RemotePath)
    target = _new_file()
    fs, path = tar.target
    fs.get_file(path, str(target))
    return target


def _new_file() -> Path:
    folder = _folder(os.getpid())
    return folder / f"{sum(1 for _ in folder.iterdir()):06d}.tar"


@lru_cache(maxsize=1)
def _folder(process: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="microturn-tars-"))
    atexit.register(_remove, folder, process)
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
