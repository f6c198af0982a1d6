"""Judges from the beats of all ranks which of them is lost, behind or failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from microturn.configs.main import RANK_LOST
from microturn.training.fleet.beat import Beat, Verdict
from microturn.training.fleet.place import START

CUT_OFF_S: Final = 5.0  # without a beat, once a connection between ranks has broken
TOGETHER_S: Final = 2.0  # between the last beats of ranks that are lost together
GRACE_S: Final = 3.0  # for all ranks to meet the same failure
LONG_WORK: Final = 10  # times the limit, for work that may take long
PATIENCE: Final = 3  # times the longest pause so far: steps of minutes are no standstill


@dataclass
class HeardRank:
    """The last beat of a rank, and when it changed, on this process's monotonic clock."""

    beat: Beat
    beat_s: float
    mark_s: float


class Roster:
    """The ranks of a run as the first one hears them; no clock of another machine is read.

    limit_s: silence, or standstill while others wait, that a run allows.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.ranks: dict[int, HeardRank] = {}
        self._cut_off_s: float | None = None
        self._failed_s: float | None = None

    def hear(self, rank: int, beat: Beat, now_s: float) -> None:
        """Take note of the beat that the store holds of a rank, which may be an old one."""
        if rank not in self.ranks:
            self.ranks[rank] = HeardRank(beat, now_s, now_s)
            return
        heard = self.ranks[rank]
        if beat.number != heard.beat.number:
            heard.beat_s = now_s
        if beat.marks != heard.beat.marks:
            heard.mark_s = now_s
        heard.beat = beat

    def verdict(self, now_s: float) -> Verdict | None:
        """Say why the run cannot go on, if it cannot."""
        return self._failed(now_s) or self._silent(now_s) or self._behind(now_s)

    def _failed(self, now_s: float) -> Verdict | None:
        failures = [heard.beat.failure for _, heard in sorted(self.ranks.items())]
        first = next(filter(None, failures), None)
        if first is None:
            return None
        self._failed_s = now_s if self._failed_s is None else self._failed_s
        return first if now_s - self._failed_s >= GRACE_S else None

    def _silent(self, now_s: float) -> Verdict | None:
        broken = next((h.beat.cut_off for h in self.ranks.values() if h.beat.cut_off), "")
        if broken and self._cut_off_s is None:
            self._cut_off_s = now_s
        limit_s = min(self.limit_s, CUT_OFF_S) if broken else self.limit_s
        silence = {
            rank: now_s - heard.beat_s
            for rank, heard in sorted(self.ranks.items())
            if not heard.beat.ends
        }
        longest_s = max(silence.values(), default=0.0)
        if longest_s > limit_s:
            # Ranks of one machine fall silent within a beat; others may only be slow to speak.
            lost = [rank for rank, seconds in silence.items() if seconds > longest_s - TOGETHER_S]
            return silent(lost, [self.ranks[rank].beat for rank in lost], longest_s)
        if self._cut_off_s is not None and now_s - self._cut_off_s > self.limit_s:
            return Verdict(
                text=f"the connection between two ranks broke, and all of them live ({broken})",
                code=RANK_LOST,
            )
        return None

    def _behind(self, now_s: float) -> Verdict | None:
        """Judge the ranks that live: one may stand still while the others wait for it."""
        here = {rank: heard for rank, heard in self.ranks.items() if not heard.beat.ends}
        if not here or len(here) < len(self.ranks):
            return None
        last = max(heard.beat.marks for heard in here.values())
        ahead_s = min(now_s - h.mark_s for h in here.values() if h.beat.marks == last)
        behind = {rank: h for rank, h in sorted(here.items()) if h.beat.marks < last}
        stuck = [rank for rank, heard in behind.items() if self._stands(heard, now_s)]
        if stuck and ahead_s > self.limit_s:
            heard = self.ranks[stuck[0]]
            return Verdict(
                text=f"{named(stuck)} ({heard.beat.who}) stood still for "
                f"{now_s - heard.mark_s:.0f} s in the {heard.beat.place}, while the others waited",
                code=RANK_LOST,
                ranks=tuple(stuck),
            )
        place = here[min(here)].beat.place
        # Opening a large corpus for the first time may take any time.
        if not behind and place != START and all(self._stands(h, now_s) for h in here.values()):
            return Verdict(
                text=f"all ranks stood still for {ahead_s:.0f} s in the {place}; none is behind "
                "the others",
                code=RANK_LOST,
            )
        return None

    def _stands(self, heard: HeardRank, now_s: float) -> bool:
        limit_s = self.limit_s * (LONG_WORK if heard.beat.may_take_long else 1)
        longest_s = max(heard.beat.longest_s for heard in self.ranks.values())
        return now_s - heard.mark_s > max(limit_s, PATIENCE * longest_s)


def silent(ranks: Sequence[int], beats: Sequence[Beat], seconds: float) -> Verdict:
    """Say that ranks give no sign of life; beats: their last ones."""
    hosts = sorted({beat.host for beat in beats})
    who = beats[0].who if len(beats) == 1 else ", ".join(hosts)
    gave = "gives" if len(ranks) == 1 else "give"
    return Verdict(
        text=f"{named(ranks)} ({who}) {gave} no sign of life for {seconds:.0f} s, since the "
        f"{beats[0].place}: killed (for lack of memory?), stopped, or cut off",
        code=RANK_LOST,
        ranks=tuple(ranks),
    )


def named(ranks: Sequence[int]) -> str:
    """Write ranks with their numbers."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if list(ranks) == list(range(ranks[0], ranks[-1] + 1)):
        return f"ranks {ranks[0]} to {ranks[-1]}"
    return f"ranks {', '.join(map(str, ranks))}"
