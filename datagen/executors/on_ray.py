"""Runs tasks on a Ray cluster, one actor per core (`executor=ray`)."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator, Sequence

import ray

from microturn.configs.reading import lines_of
from microturn.datagen.executors.task import ONE_THREAD, Factory, Report, Task

CONNECT_S = 10.0
RETRIES = 3  # of a shard whose machine failed; another attempt gives the same bytes


class Worker:
    """An actor in a process of the cluster; builds its task for the first shard."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._task: Task | None = None

    def make(self, shard: int) -> tuple[str, Report | Exception]:
        try:
            if self._task is None:
                self._task = self._factory()
            return "report", self._task(shard)
        except (OSError, ValueError) as error:  # errors of the user: the sentence suffices
            return "error", type(error)(str(error))


def run_on_ray(
    factory: Factory, shards: Sequence[int], *, workers: int, address: str
) -> Iterator[Report]:
    """Yield the reports of all shards in the order of completion; workers=0: all cores."""
    started = not ray.is_initialized()
    if started:
        connect(address)
    try:
        yield from _run(factory, shards, workers or int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if started:
            ray.shutdown()


def connect(address: str) -> None:
    """Connect to a cluster, or start one on this machine; OSError where none answers."""
    _check_answers(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or None,  # None: RAY_ADDRESS, or a cluster of this machine
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False if not address else None,
            runtime_env={"env_vars": ONE_THREAD},
        )
    except Exception as error:  # Ray raises bare Exception where its processes do not start
        first = lines_of(str(error).strip() or type(error).__name__)[0]
        name = f"ray_address={address}" if address else "Ray"
        raise OSError(f"{name}: no cluster answers ({first})") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's own exits without a word


def _check_answers(address: str) -> None:
    """Fail early: Ray itself retries an unreachable address for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return  # "", "auto", ...: not the address of a machine
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"ray_address={address}: no cluster answers ({reason})") from error


def _run(factory: Factory, shards: Sequence[int], workers: int) -> Iterator[Report]:
    remote = ray.remote(num_cpus=1, max_restarts=RETRIES, max_task_retries=RETRIES)(Worker)
    actors = [remote.remote(factory) for _ in range(min(workers, len(shards)))]
    pending = list(reversed(shards))
    busy = {actor.make.remote(pending.pop()): actor for actor in actors}
    try:
        while busy:
            (done,), _ = ray.wait(list(busy), num_returns=1)
            actor = busy.pop(done)
            if pending:
                busy[actor.make.remote(pending.pop())] = actor
            yield _receive(done)
    finally:
        for actor in actors:
            ray.kill(actor)


def _receive(done: ray.ObjectRef) -> Report:
    try:
        outcome, value = ray.get(done)
    except ray.exceptions.RayActorError as error:
        raise OSError(
            f"a Ray worker died {RETRIES + 1} times over one shard, perhaps for lack of memory; "
            "run the same command again, with fewer workers, to continue"
        ) from error
    if outcome == "error":
        raise value
    report: Report = value
    return report
