"""Runs tasks in this process, or in worker processes that get one shard at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from microturn.configs.signals import ENDING, leave_to_parent
from microturn.datagen.executors.task import ONE_THREAD, Factory, Report

EXIT_S = 5.0  # time for a worker to exit after it was told to


def run_here(factory: Factory, shards: Sequence[int]) -> Iterator[Report]:
    """Yield the reports of all shards, computed in this process on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        task = factory()
    for shard in shards:
        with threadpool_limits(1):  # not around the yield: the caller keeps its threads
            report = task(shard)
        yield report


def run_in_processes(factory: Factory, shards: Sequence[int], *, workers: int) -> Iterator[Report]:
    """Yield the reports of all shards in the order in which worker processes finish them."""
    context = multiprocessing.get_context("spawn")  # inherits no threads and no locks
    pending = list(reversed(shards))
    processes: dict[Connection, BaseProcess] = {}
    done = False
    try:
        with variables_set(ONE_THREAD):
            for _ in range(min(workers, len(shards))):
                ours, theirs = context.Pipe()
                process: BaseProcess = context.Process(
                    target=_work, args=(factory, theirs), daemon=True
                )
                with interrupts_blocked():
                    process.start()
                theirs.close()
                processes[ours] = process
                ours.send(pending.pop())
        yield from _collect(processes, pending)
        done = True
    finally:
        for process in processes.values():
            if done:
                process.join(EXIT_S)
            process.kill()
            process.join()


def _collect(processes: dict[Connection, BaseProcess], pending: list[int]) -> Iterator[Report]:
    busy = set(processes)
    while busy:
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            report = _receive(connection, processes[connection])
            if pending:
                connection.send(pending.pop())
            else:
                connection.send(None)
                busy.remove(connection)
            yield report


def _receive(connection: Connection, process: BaseProcess) -> Report:
    """Return the next report of a worker; raises the error of the worker."""
    try:
        outcome, value = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        process.join(EXIT_S)
        if process.exitcode == 1:  # it has printed an error that is not the user's
            raise OSError(
                "a worker process failed by a fault of the program, which stands above; the same "
                "command continues after what is finished"
            ) from error
        raise OSError(
            f"a worker process died (exit code {process.exitcode}), perhaps for lack of memory; "
            "run the same command again, with fewer workers, to continue"
        ) from error
    if outcome == "error":
        raise value
    report: Report = value
    return report


def _work(factory: Factory, connection: Connection) -> None:
    """Run tasks until the parent sends None."""
    leave_to_parent()
    threading.Thread(target=exit_with_parent, daemon=True).start()
    try:
        task = factory()
        while (shard := connection.recv()) is not None:
            connection.send(("report", task(shard)))
    except (OSError, ValueError) as error:  # errors of the user: the sentence suffices
        if os.environ.get("MICROTURN_DEBUG"):
            traceback.print_exc()
        connection.send(("error", type(error)(str(error))))
    except EOFError:
        pass


def exit_with_parent() -> None:
    """Wait for the parent, in a thread of its own, and end with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # even within a shard, which still has its temporary name


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block signals that ask to end: processes started inside never receive them.

    This process does after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def variables_set(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
