"""Several environments that are stepped together, in processes of their own.

What an environment hears depends on its index, its seed and its agent alone, so it is the same byte
by byte wherever it runs. Each process opens the source once.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple

from microturn.configs.signals import leave_to_parent
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.closed_loop.micro_turn import (
    Episode,
    MicroTurn,
    Occurrence,
    Output,
    Played,
)
from microturn.datagen.executors.processes import (
    EXIT_S,
    exit_with_parent,
    interrupts_blocked,
    variables_set,
)
from microturn.datagen.executors.task import ONE_THREAD
from microturn.datagen.live import LiveSource


class SteppedEnvironment(NamedTuple):
    """What an environment answers to a micro-turn of its agent."""

    heard: MicroTurn
    occurrences: tuple[Occurrence, ...]
    done: bool


class VectorEnvironment:
    """Environments of one source by number; a context manager that ends its processes."""

    def __init__(
        self, source: LiveSource, indices: Sequence[int], *, seed: int = 0, workers: int = 1
    ) -> None:
        """`indices` are the dialogues; with one worker all run in this process.

        Raises ValueError for a source that cannot be played.
        """
        self.source, self._n = source, len(indices)
        workers = min(workers, len(indices))
        if workers < 1:
            raise ValueError(f"workers={workers} and {len(indices)} indices must be at least 1")
        Environment(source, 0)  # refuses a source in this process
        self._places = [number % workers for number in range(len(indices))]  # by environment
        self._own: _Environments | None = None
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        shares = [
            {n: index for n, index in enumerate(indices) if self._places[n] == worker}
            for worker in range(workers)
        ]
        if workers == 1:
            self._own = _Environments(source, shares[0], seed)
        else:
            self._start(shares, seed)

    def reset(self, indices: Mapping[int, int] | None = None) -> list[MicroTurn]:
        """Begin episodes and return what is heard in their first micro-turns.

        Of all environments, in order; or of those that are given with the dialogue that each plays
        from now on, in the order of their numbers.
        """
        wanted = dict.fromkeys(range(self._n)) if indices is None else dict(indices)
        heard = self._ask("reset", wanted)
        return [heard[n] for n in sorted(wanted)]

    def step(self, agents: Sequence[Output] | Mapping[int, Output]) -> list[SteppedEnvironment]:
        """Run a micro-turn of all environments, or of those given by number, in their order."""
        outputs = dict(agents.items() if isinstance(agents, Mapping) else enumerate(agents))
        if not isinstance(agents, Mapping) and len(agents) != self._n:
            raise ValueError(f"{len(agents)} agents play in {self._n} environments")
        played = {
            n: Played(audio=output.audio, say=tuple(output.say)) for n, output in outputs.items()
        }
        steps = self._ask("step", played)
        return [steps[n] for n in sorted(played)]

    def episodes(self) -> list[Episode]:
        """Return what has happened in each environment so far."""
        episodes = self._ask("episode", dict.fromkeys(range(self._n)))
        return [episodes[n] for n in range(self._n)]

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(EXIT_S)
            process.kill()
            process.join()
        self._pipes, self._processes = [], []

    def __enter__(self) -> VectorEnvironment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- processes ---------------------------------------------------------------------------
    def _start(self, shares: Sequence[dict[int, int]], seed: int) -> None:
        context = multiprocessing.get_context("spawn")  # inherits no threads and no locks
        try:
            with variables_set(ONE_THREAD):
                for share in shares:
                    ours, theirs = context.Pipe()
                    process: BaseProcess = context.Process(
                        target=_work, args=(self.source, share, seed, theirs), daemon=True
                    )
                    with interrupts_blocked():
                        process.start()
                    theirs.close()
                    self._pipes.append(ours)
                    self._processes.append(process)
        except BaseException:
            self.close()
            raise

    def _ask(self, name: str, arguments: Mapping[int, Any]) -> dict[int, Any]:
        """Call a method of environments, each with its argument, and return what each answers."""
        unknown = sorted(set(arguments) - set(range(self._n)))
        if unknown:
            raise ValueError(f"there is no environment {unknown[0]}, only 0 to {self._n - 1}")
        if self._own is not None:
            return self._own.call(name, arguments)
        asked = []
        for worker, pipe in enumerate(self._pipes):
            share = {n: arguments[n] for n in arguments if self._places[n] == worker}
            if share:
                pipe.send((name, share))
                asked.append(worker)
        if arguments and not asked:
            raise ValueError("these environments are closed")
        answers: dict[int, Any] = {}
        errors: list[Exception] = []
        for worker in asked:
            try:
                outcome, value = self._pipes[worker].recv()
            except (EOFError, ConnectionResetError) as error:
                code = self._processes[worker].exitcode
                raise OSError(f"a process of environments died (exit code {code})") from error
            if outcome == "error":
                errors.append(value)
            else:
                answers |= value
        if errors:
            raise errors[0]
        return answers


class _Environments:
    """The environments of one process, by number."""

    def __init__(self, source: LiveSource, indices: Mapping[int, int], seed: int) -> None:
        self._source, self._seed = source, seed
        self._open = {n: Environment(source, i, seed=seed) for n, i in indices.items()}

    def call(self, name: str, arguments: Mapping[int, Any]) -> dict[int, Any]:
        return {n: getattr(self, f"_{name}")(n, value) for n, value in arguments.items()}

    def _reset(self, number: int, index: int | None) -> MicroTurn:
        if index is not None and index != self._open[number].index:
            self._open[number] = Environment(self._source, index, seed=self._seed)
        return self._open[number].reset()

    def _step(self, number: int, output: Played) -> SteppedEnvironment:
        return SteppedEnvironment(*self._open[number].step(output))

    def _episode(self, number: int, _: None) -> Episode:
        return self._open[number].episode()


def _work(source: LiveSource, indices: dict[int, int], seed: int, pipe: Connection) -> None:
    """Answer the parent until it closes the pipe."""
    leave_to_parent()
    threading.Thread(target=exit_with_parent, daemon=True).start()
    try:
        environments = _Environments(source, indices, seed)
        while True:
            name, arguments = pipe.recv()
            try:
                pipe.send(("answer", environments.call(name, arguments)))
            except ValueError as error:  # of the caller: the sentence suffices
                if os.environ.get("MICROTURN_DEBUG"):
                    traceback.print_exc()
                pipe.send(("error", error))
    except (EOFError, BrokenPipeError):
        pass
