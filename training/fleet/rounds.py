"""The agreement of ranks on a round: which processes take part in it, and under which number.

A launcher may keep one store while it starts ranks again (torchrun), and in it lie the addresses of
ranks that are gone. It may start all ranks again or those of one machine, so that a count of its
attempts differs from machine to machine. Here every process joins as the nth of its rank. The first
rank proposes the newest process of each rank, all of them accept, and it starts the round. Whoever
does not accept is gone or still in a former round; its rank joins anew, which is a new proposal.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from typing import Any, Final

from torch.distributed.distributed_c10d import PrefixStore, Store

from microturn.training.fleet.beat import Beat
from microturn.training.fleet.place import START
from microturn.training.fleet.roster import named

POLL_S: Final = 0.1
_PROPOSAL: Final = "proposal"  # the last one


class MissingRanksError(OSError):
    """Ranks that did not come to a meeting."""

    def __init__(self, ranks: list[int], sentence: str) -> None:
        super().__init__(sentence)
        self.ranks = ranks


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a process needs to take part. members: by rank, before their first beat."""

    number: int
    members: tuple[Beat, ...]
    store: Store  # empty at its start


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The processes of a round that may begin: the nth of each rank."""

    number: int
    processes: list[int]


class Joining:
    """A process that joins as the newest of its rank, until it is a member of a round.

    store: of the run, which may hold former rounds. Raises RuntimeError where the store is gone.
    """

    def __init__(self, store: Store, *, rank: int, n_ranks: int) -> None:
        self.rank, self.n_ranks = rank, n_ranks
        self._run, self._store = store, PrefixStore("microturn/meeting", store)
        self.number = int(self._store.add(_joined(rank), 1))
        self._store.set(_who(rank), json.dumps([socket.gethostname(), os.getpid()]))
        self._proposed: Proposal | None = None  # by this process
        self._accepted = 0

    def wait(self, limit_s: float) -> Round:
        """Return the round that this process is a member of.

        Raises MissingRanksError after the limit, OSError where a newer process of this rank joined.
        """
        end_s = time.monotonic() + limit_s
        while True:
            there = self.step()
            if there is not None:
                return there
            if time.monotonic() > end_s:
                missing, why = self._missing()
                raise MissingRanksError(missing, f"{named(missing)}{why}")
            time.sleep(POLL_S)

    def step(self) -> Round | None:
        """Do what there is to do now; returns the round once all are in it."""
        if self._store.add(_joined(self.rank), 0) != self.number:
            raise OSError(
                f"rank {self.rank} was started again while this process of it waited for the "
                "others; it ends"
            )
        if self.rank == 0:
            self._propose()
        last = self._last()
        if last is None or last.processes[self.rank] != self.number:
            return None
        if self._accepted != last.number:
            self._store.set(_accepts(last.number, self.rank), "")
            self._accepted = last.number
        started = _started(last.number)
        if self.rank == 0 and last == self._proposed and self._store.check(self._acceptances(last)):
            who = self._store.multi_get([*map(_who, range(self.n_ranks))])
            self._store.set(started, json.dumps([json.loads(one) for one in who]))
        # One that has joined since then would wait for this process, and this one for its former.
        if not self._store.check([started]) or self._newest() != last.processes:
            return None
        return Round(
            number=last.number,
            members=tuple(
                Beat(number=0, host=host, process=process, label=START, may_take_long=True)
                for host, process in json.loads(self._store.get(started))
            ),
            store=PrefixStore(f"microturn/round{last.number}", self._run),
        )

    def _propose(self) -> None:
        """Propose the newest processes, where these are others than in the last proposal."""
        newest = self._newest()
        if newest is None:
            return
        mine = self._proposed
        if mine is None or mine.processes != newest or self._last() != mine:
            self._proposed = Proposal(number=int(self._store.add("proposals", 1)), processes=newest)
            self._store.set(_PROPOSAL, json.dumps(vars(self._proposed)))

    def _newest(self) -> list[int] | None:
        """Return the newest process of each rank; None: some have none."""
        keys = [*map(_joined, range(self.n_ranks))]
        return [*map(int, self._store.multi_get(keys))] if self._store.check(keys) else None

    def _last(self) -> Proposal | None:
        if not self._store.check([_PROPOSAL]):
            return None
        values: dict[str, Any] = json.loads(self._store.get(_PROPOSAL))
        return Proposal(**values)

    def _acceptances(self, proposal: Proposal) -> list[str]:
        return [_accepts(proposal.number, rank) for rank in range(self.n_ranks)]

    def _missing(self) -> tuple[list[int], str]:
        """Return the ranks that all wait for, and what is known of them."""
        ranks = range(self.n_ranks)
        absent = [rank for rank in ranks if not self._store.check([_joined(rank)])]
        if absent:
            return absent, " did not come"
        last = self._last()
        late = [0]  # it has not proposed this process
        if last is not None and last.processes[self.rank] == self.number:
            keys = self._acceptances(last)
            late = [rank for rank in ranks if not self._store.check([keys[rank]])] or late
        host, process = json.loads(self._store.get(_who(late[0])))
        return late, f" ({host}, process {process}) came to a former meeting and not to this one"


def _joined(rank: int) -> str:
    return f"joined/{rank}"  # how many processes of it


def _who(rank: int) -> str:
    return f"who/{rank}"  # its newest process


def _accepts(proposal: int, rank: int) -> str:
    return f"accepts/{proposal}/{rank}"


def _started(proposal: int) -> str:
    return f"started/{proposal}"
