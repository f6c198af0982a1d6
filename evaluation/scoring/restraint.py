"""What an agent says or delegates although nobody asked, and which credit that costs.

One rule for every suite: **an event earns credit only where the agent kept to what was asked.**
Talk or a `<delegate>` that no event explains takes the credit of the event before it and of the one
after it, so at no time of a dialogue is chatter free, and one slip costs two events, not all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from microturn.evaluation.scoring.activity import Activity, Span, overlap, subtract
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.moments import SAME_S, lead

CREDIT: Final = "credit"  # the metric under this rule
OVERRUN_S: Final = 1.0  # talk that an answer explains may last this much longer than it may


def unasked_talk(activity: Activity, floors: Sequence[Span], *, least_s: float) -> list[Span]:
    """Utterances that begin where no answer explains talk, or last far beyond it.

    Of an utterance counts what lies outside the floors; less than `least_s` in all is no talk.
    """
    found = []
    for start, end in activity.utterances:
        runs = [run for run in activity.runs if overlap(run, (start, end)) > 0]
        outside = subtract(runs, floors)
        begins_outside = not any(a - SAME_S <= start < b for a, b in floors)
        seconds = sum(b - a for a, b in outside)
        if seconds > (least_s if begins_outside else OVERRUN_S):
            found.append((outside[0][0], end))
    return found


def false_delegates(dialogue: Dialogue, times_s: Iterable[float], *, reach_s: float) -> list[float]:
    """`<delegate>` tokens that no request explains; a second one to the same request is false."""
    unexplained = sorted(times_s)
    for event in dialogue.events:
        if event.act == "delegate":
            for time_s in unexplained:
                if lead(event.end_s) <= time_s <= event.end_s + reach_s:
                    unexplained.remove(time_s)
                    break
    return unexplained


def without_credit(dialogue: Dialogue, slips_s: Iterable[float]) -> frozenset[float]:
    """Starts of the events whose neighbourhood holds a slip: the last before it, the next after."""
    starts = sorted({event.start_s for event in dialogue.events if event.act})
    lost: set[float] = set()
    for moment_s in slips_s:
        after = bisect_right(starts, moment_s)
        lost |= set(starts[max(after - 1, 0) : after + 1])
    return frozenset(lost)
