"""Runs numbered tasks in this process, in worker processes, or on Ray.

The results are the same. A worker that dies ends the run with a sentence; a run that dies ends
its workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from microturn.datagen.executors.processes import run_here, run_in_processes
from microturn.datagen.executors.task import Factory, Report, n_cores


def run_tasks(
    factory: Factory,
    shards: Sequence[int],
    *,
    workers: int = 0,
    executor: str = "processes",
    ray_address: str = "",
) -> Iterator[Report]:
    """Yield the reports of all shards in the order of completion; workers=0: one per core."""
    if not shards:
        return iter(())
    if executor == "serial":
        return run_here(factory, shards)
    if executor == "ray":
        from microturn.datagen.executors.on_ray import run_on_ray

        return run_on_ray(factory, shards, workers=workers, address=ray_address)
    return run_in_processes(factory, shards, workers=workers or n_cores())
