"""Which rank the others wait for, from the seconds of each rank's own part of a step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Final

SLOW: Final = 1.5  # times the median of all ranks
OWN_PARTS: Final = ("data", "forward")  # the backward pass ends when the slowest rank has ended it
_SHOWN: Final = 4


class SlowRanks:
    """Compares ranks, and names those that are slow when others become so."""

    def __init__(self) -> None:
        self._named: tuple[int, ...] = ()

    @staticmethod
    def own_part(times: Mapping[str, float]) -> str:
        """Write the seconds of `time/PART_s` for the first rank."""
        return json.dumps([times[f"time/{part}_s"] for part in OWN_PARTS])

    def compare(self, parts: Sequence[str]) -> tuple[dict[str, float], str]:
        """Return metrics, and a line where other ranks are slow than before ("" elsewhere).

        parts: what `own_part` wrote, by rank.
        """
        seconds = [json.loads(part) for part in parts]
        totals = [sum(each) for each in seconds]
        middle = max(median_low(totals), 1e-9)
        slowest = max(range(len(totals)), key=totals.__getitem__)
        metrics = {"rank/slowest": float(slowest), "rank/slowest_share": totals[slowest] / middle}
        slow = tuple(rank for rank, total in enumerate(totals) if total > SLOW * middle)
        known, self._named = self._named, slow
        if not slow or slow == known:
            return metrics, ""
        named = [
            f"rank {rank} {totals[rank]:.3g} s ({totals[rank] / middle:.1f} times the median; "
            f"data {seconds[rank][0]:.3g}, forward pass {seconds[rank][1]:.3g})"
            for rank in sorted(slow, key=totals.__getitem__, reverse=True)[:_SHOWN]
        ]
        more = f" and {len(slow) - _SHOWN} more" if len(slow) > _SHOWN else ""
        return metrics, f"the others wait for {', '.join(named)}{more}"
