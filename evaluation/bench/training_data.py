"""The shard set that a bench reads: the one given, or one that is simulated for it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def shard_set(data: str, simulate: str, n_dialogues: int, seed: int = 0) -> Iterator[str]:
    """The folder or URL of the set; one that was made here is gone afterwards."""
    if data:
        yield data
        return
    with tempfile.TemporaryDirectory() as folder:
        words = [simulate, f"out={folder}/set", f"n_dialogues={n_dialogues}", f"seed={seed}"]
        words += ["dialogues_per_shard=64", "workers=1"]
        command = [sys.executable, "-m", "microturn.configs.main", "simulate", *words]
        done = subprocess.run(command, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise ValueError(
                f"`microturn simulate {simulate}` ended with exit code {done.returncode}; "
                "give data=DIR"
            )
        yield f"{folder}/set"
