"""What an agent says or delegates although nobody asked, and which credit that costs.

One rule for every suite: **an event earns credit only where the agent kept to what was asked.**
Talk or a `<delegate>` that no event explains takes the credit of the event before it and of the one
after it, so at no time of a dialogue is chatter free, and one slip costs two events, not all. Where
answers follow each other without a silence that is due, as in a translation, they stand and fall
together, and more words than they come to are unasked too: two more, or one of theirs too often.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from microturn.evaluation.scoring.activity import Activity, Span, overlap, subtract
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.moments import SAME_S, lead

CREDIT: Final = "credit"  # the metric under this rule
OVERRUN_S: Final = 0.5  # talk may last so much beyond what explains it


def unasked_talk(
    activity: Activity, floors: Sequence[Span], *, least_s: float
) -> list[tuple[Span, ...]]:
    """Utterances that begin where no answer explains talk, or last beyond it: what is unasked.

    Less than `least_s` in all is no talk.
    """
    found = []
    for start, end in activity.utterances:
        runs = [run for run in activity.runs if overlap(run, (start, end)) > 0]
        outside = subtract(runs, floors)
        begins_outside = not any(a - SAME_S <= start < b for a, b in floors)
        if sum(b - a for a, b in outside) > (least_s if begins_outside else OVERRUN_S):
            found.append(tuple(outside))
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


def without_credit(dialogue: Dialogue, slips: Iterable[Span]) -> frozenset[float]:
    """Starts of the events next to a slip: the last before it, those in it, the next after it."""
    starts = sorted({event.start_s for event in dialogue.events if event.act})
    lost: set[float] = set()
    for start_s, end_s in slips:
        first, last = bisect_right(starts, start_s) - 1, bisect_right(starts, end_s)
        lost |= set(starts[max(first, 0) : last + 1])
    return frozenset(lost)
