"""Live dialogues that a Ray cluster simulates ahead of the steps (`live:FILE.yaml executor=ray`).

They come through Ray's object store, so that machines share no disk. A dialogue is a pure function
of configuration and number, and the order is that of the run, so the steps are those of dialogues
that are simulated in place. Ray simulates one anew whose process or machine is lost.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

import ray

from microturn.configs.files import replacing
from microturn.datagen.executors.on_ray import RETRIES, connect
from microturn.datagen.live import LiveSource
from microturn.model.streams import Lanes

AHEAD: Final = 2  # dialogues per worker that are simulated or wait for their step


class Simulates(Protocol):
    """What makes a dialogue by its number."""

    def lanes(self, index: int) -> Lanes: ...


@dataclass(frozen=True)
class CarriedSource:
    """A live source with its rooms, for machines that have no file of them."""

    source: LiveSource
    rooms: bytes

    @staticmethod
    def of(source: LiveSource) -> CarriedSource:
        return CarriedSource(source, source.rooms.read_bytes())

    def __call__(self) -> LiveSource:
        name = f"microturn-rooms-{sha256(self.rooms).hexdigest()[:16]}.npz"
        path = Path(tempfile.gettempdir()) / name
        if not path.is_file():
            with replacing(path) as temporary:
                temporary.write_bytes(self.rooms)
        return replace(self.source, rooms=path)


class DialoguesAhead:
    """Dialogues that a cluster simulates in the order in which they will be read.

    opens: makes, in a process of the cluster, what simulates. workers: dialogues that are simulated
    at once for this rank, 0: its share of the cluster's cores. Raises OSError where no cluster
    answers.
    """

    def __init__(
        self,
        opens: Callable[[], Simulates],
        *,
        workers: int = 0,
        address: str = "",
        n_ranks: int = 1,
    ) -> None:
        if not ray.is_initialized():
            connect(address)
        cores = int(ray.cluster_resources().get("CPU", 1))
        self.size = AHEAD * (workers or max(1, cores // n_ranks))
        self._opens = ray.put(opens)
        self._simulate = ray.remote(num_cpus=1, max_retries=RETRIES)(simulate)
        self._asked: dict[int, deque[Any]] = {}

    def ask(self, index: int) -> None:
        """Have a dialogue simulated; it can be received as often as it was asked for."""
        asked = self._simulate.remote([self._opens], index)
        self._asked.setdefault(index, deque()).append(asked)

    def receive(self, index: int) -> Lanes:
        """Wait for a dialogue; OSError where its workers died again and again."""
        waiting = self._asked[index]
        try:
            outcome, value = ray.get(waiting.popleft())
        except ray.exceptions.RayTaskError:
            raise  # a fault of the program
        except ray.exceptions.RayError as error:
            raise OSError(
                f"dialogue {index}: the Ray cluster lost it {RETRIES + 1} times "
                f"({type(error).__name__}), perhaps for lack of memory; the same command continues"
            ) from error
        if not waiting:
            del self._asked[index]
        if outcome == "error":
            raise value
        lanes: Lanes = value
        return lanes


_OPEN: dict[Any, Simulates] = {}  # in a process of the cluster: what it simulates with


def simulate(opens: list[ray.ObjectRef], index: int) -> tuple[str, Lanes | Exception]:
    """Simulate a dialogue in a process of the cluster.

    opens: in a list, so that Ray does not read it for every dialogue.
    """
    try:
        if opens[0] not in _OPEN:
            _OPEN[opens[0]] = ray.get(opens[0])()
        return "lanes", _OPEN[opens[0]].lanes(index)
    except (OSError, ValueError) as error:  # errors of the user: the sentence suffices
        return "error", type(error)(str(error))
