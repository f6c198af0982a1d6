"""Types of tasks that run in workers, and the limits of workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Report = dict[str, Any]
Task = Callable[[int], Report]  # processes the item of a number, such as a shard
Factory = Callable[[], Task]  # picklable; builds the task inside a worker
# Workers compute on one thread each: more would compete, and a matrix product may round
# differently when it is split among threads.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
