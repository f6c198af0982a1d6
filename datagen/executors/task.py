"""A task that makes numbered pieces of work, and the report of each."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Report = dict[str, Any]
Task = Callable[[int], Report]  # makes one shard
Factory = Callable[[], Task]  # picklable; builds the task inside a worker
# Workers compute on one thread each: more would get into each other's way, and a matrix product
# may round differently when it is shared out.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
