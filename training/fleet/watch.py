"""The watch over the ranks of a run: who is lost, behind or failed ends it, and is named.

Every rank writes a beat into the store of the process group once a second and reads that of the
first rank, which reads all of them and judges. Collectives cannot do this: they wait for a stopped
rank for half an hour, and their errors name an address. A request to the store may block for ever
too, where its process is stopped; so one thread talks and another one judges.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from microturn.configs.main import RANK_LOST
from microturn.training.fleet.beat import Beat, Verdict, beat_of
from microturn.training.fleet.children import ChildLauncher
from microturn.training.fleet.place import HERE
from microturn.training.fleet.roster import CUT_OFF_S, GRACE_S, HeardRank, Roster, silent

BEAT_S: Final = 1.0
STORE_S: Final = 30.0  # for the store to answer; longer than any pause of a busy machine
LEAVE_S: Final = 10.0  # for a main thread that ends by itself


class RankWatch:
    """Beats of this rank, and the end of the process where the run cannot go on.

    store: of the process group. speaks: whether this rank reports the loss of the first one.
    goes_on: says how the run can go on. children: those that this process started, if it did.
    members: all ranks as they met; without them a rank counts from its first beat on.
    end: called in place of `os._exit` with the exit code; it does not return.
    """

    def __init__(
        self,
        store: Any,
        *,
        rank: int,
        world_size: int,
        limit_s: float,
        speaks: bool = False,
        goes_on: Callable[[], str] = str,
        children: ChildLauncher | None = None,
        members: Sequence[Beat] = (),
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self.rank, self.world_size, self.limit_s = rank, world_size, limit_s
        self._speaks, self._end = speaks or rank == 0, end
        self._store = store.clone()  # a connection of its own
        self._store.set_timeout(timedelta(seconds=STORE_S))
        self._roster = Roster(limit_s)
        self._lock = threading.Lock()
        self._wake, self._left = threading.Event(), threading.Event()
        self._number = 0
        self._cut_off = ""
        self._failure: Verdict | None = None
        self._verdict: Verdict | None = None
        self._ends = False
        self._told = threading.Event()  # the store has the last word of this rank
        self._answer_s = time.monotonic()
        self._store_error = ""
        self._first: HeardRank | None = None  # the first rank, as this one hears it
        now_s = time.monotonic()
        for member, beat in enumerate(members):
            self._roster.hear(member, beat, now_s)
        if members:
            self._first = HeardRank(members[0], now_s, now_s)
        self._spoke: set[int] = set()  # ranks whose beats lie in the store
        self._goes_on, self._children = goes_on, children

    # --- for the main thread -----------------------------------------------------------------
    def start(self) -> None:
        for work in (self._talk, self._judge):
            threading.Thread(target=work, daemon=True, name=f"watch{work.__name__}").start()

    def leave(self) -> None:
        """End the watch; all ranks have said in a collective that they are done."""
        self._left.set()
        self._wake.set()

    def cut_off(self, reason: str) -> None:
        """Wait until the watch, which knows more than a broken collective, ends the process.

        Returns where it finds no fault within twice its limit.
        """
        self._cut_off = reason
        self._wake.set()
        time.sleep(2 * self.limit_s + 2 * GRACE_S)

    def fail(self, sentence: str, code: int) -> None:
        """Tell the others that this rank ends, and why; the first waits until they know."""
        self._failure = Verdict(
            text=f"rank {self.rank} ({socket.gethostname()}, process {os.getpid()}): {sentence}",
            code=code,
            ranks=(self.rank,),
        )
        self._ends = True
        self._told.clear()
        self._wake.set()
        self._told.wait(2 * BEAT_S)
        if self.rank == 0:
            self._wait_for_others(GRACE_S + 3 * BEAT_S)

    # --- beats -------------------------------------------------------------------------------
    def _talk(self) -> None:
        while not self._left.is_set():
            try:
                self._exchange()
                self._answer_s, self._store_error = time.monotonic(), ""
            except Exception as error:  # torch raises several kinds, RuntimeError among them
                self._store_error = str(error)
            self._wake.wait(BEAT_S)
            self._wake.clear()

    def _exchange(self) -> None:
        self._number += 1
        last_word = self._ends
        beat = beat_of(
            HERE,
            number=self._number,
            host=socket.gethostname(),
            process=os.getpid(),
            cut_off=self._cut_off,
            failure=self._failure,
            verdict=self._verdict if self.rank == 0 else None,
            ends=last_word,
        )
        self._store.set(_key(self.rank), beat.to_json())
        if last_word:
            self._told.set()
        self._spoke.update(rank for rank in self._listened_to() if self._store.check([_key(rank)]))
        if not self._spoke:
            return
        if self.rank:
            first = Beat.from_json(self._store.get(_key(0)))
            now_s = time.monotonic()
            if self._first is None or first.number != self._first.beat.number:
                self._first = HeardRank(first, now_s, now_s)
            return
        spoke = sorted(self._spoke)
        for rank, text in zip(spoke, self._store.multi_get([*map(_key, spoke)]), strict=True):
            with self._lock:
                self._roster.hear(rank, Beat.from_json(text), time.monotonic())

    def _listened_to(self) -> list[int]:
        """Return the ranks that this one listens to and has not heard yet."""
        return [
            rank for rank in range(1 if self.rank else self.world_size) if rank not in self._spoke
        ]

    # --- judgement ---------------------------------------------------------------------------
    def _judge(self) -> None:
        while not self._left.wait(BEAT_S / 2):
            verdict = self._find()
            if verdict is not None and not self._left.is_set():
                self._conclude(verdict)
                return

    def _find(self) -> Verdict | None:
        now_s = time.monotonic()
        deaf_s = now_s - self._answer_s
        if self.rank == 0:
            lost = self._children.lost() if self._children else None
            if lost is not None:
                return lost
            if deaf_s > self.limit_s:
                return self._no_store(deaf_s)
            if deaf_s > 3 * BEAT_S:
                return None  # what it heard last is old
            with self._lock:
                return self._roster.verdict(now_s)
        if self._first is None:
            return self._no_store(deaf_s) if deaf_s > self.limit_s else None
        if self._first.beat.verdict is not None:
            return self._first.beat.verdict
        limit_s = (
            min(self.limit_s, CUT_OFF_S) if self._cut_off or self._store_error else self.limit_s
        )
        silence_s = now_s - self._first.beat_s
        if silence_s <= limit_s or self._first.beat.ends:
            return None
        if deaf_s > limit_s / 2 and store_is_elsewhere():
            return self._no_store(deaf_s)
        return silent([0], [self._first.beat], silence_s)

    def _no_store(self, seconds: float) -> Verdict:
        return Verdict(
            text=f"the launcher that holds the store of the run gives no answer for {seconds:.0f} s"
            + (f" ({self._store_error})" if self._store_error else ""),
            code=RANK_LOST,
        )

    def _conclude(self, verdict: Verdict) -> None:
        """Tell the others, say why, and end the process, whatever its main thread waits for."""
        ends_by_itself = self._ends
        self._verdict, self._ends = verdict, True
        self._told.clear()
        self._wake.set()
        self._told.wait(2 * BEAT_S)
        if ends_by_itself:  # the main thread has failed and says so, if it can
            time.sleep(LEAVE_S)
        if self.rank == 0 or (self._speaks and 0 in verdict.ranks):
            more = f"; {self._goes_on()}" if verdict.code == RANK_LOST else ""
            # Below the bar, which the main thread may be drawing.
            print(f"\nmicroturn train: {verdict.text}{more}", file=sys.stderr)
        if self.rank == 0:
            self._wait_for_others(GRACE_S, besides=verdict.ranks)
            if self._children is not None:
                self._children.end()
        sys.stderr.flush()
        self._end(verdict.code)

    def _wait_for_others(self, seconds: float, besides: tuple[int, ...] = ()) -> None:
        """Wait until all other ranks have said that they end; the store may end with this one."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            with self._lock:
                heard = [h for r, h in self._roster.ranks.items() if r and r not in besides]
            if all(one.beat.ends for one in heard):
                return
            time.sleep(BEAT_S / 10)


def _key(rank: int) -> str:
    return f"microturn/beat/{rank}"


def speaks_of_first(local_rank: int, node_rank: int) -> bool:
    """Whether a rank reports the loss of the first one: one of each machine, here its neighbour."""
    return local_rank == (0 if node_rank else 1)


def store_is_elsewhere() -> bool:
    """Whether a launcher, and not the first rank, holds the store (torchrun)."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
