"""RepCount's twin: the agent counts repetitions aloud while it watches them.

RepCount-A as a spoken benchmark (Thinking Machines Lab, "Interaction Models", 2026): the answer is
the last number said after the penultimate repetition, right within one. MAE and OBO are those of
TransRAC (arXiv 2204.01018), whose MAE divides by the true count plus 0.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.replies import (
    SAME_S,
    RequestScope,
    replies_in_order,
    said_in,
    segments,
)
from microturn.evaluation.suites.statistics import mean, ratio, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

EVENT: Final = "visual_count"
SMALLEST: Final = 0.1  # added to the true count where MAE divides by it
_WORDS: Final = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)
NUMBERS: Final = {text: number for number, text in enumerate(_WORDS, start=1)}


def observe(scored: ScoredDialogue) -> Observations:
    """Compare the spoken count of every exercise with its repetitions."""
    return {"series": [_series(scored, segment) for segment in segments(scored, EVENT)]}


def _series(scored: ScoredDialogue, segment: RequestScope) -> dict[str, Any]:
    due = [event for event in segment.events if event.act == "say"]
    said = said_in(scored, segment.request.end_s, segment.end_s)
    onsets = replies_in_order(said, due)
    # With a single repetition everything said after the request comes after the penultimate one.
    penultimate_s = due[-2].end_s if len(due) > 1 else segment.request.end_s
    numbers = [
        NUMBERS[word.text]
        for word in said
        if word.text in NUMBERS and word.onset_s >= penultimate_s - SAME_S
    ]
    return {
        "count": len(due),
        "clean": scored.clean(segment.request, *segment.events),
        "said": numbers[-1] if numbers else None,
        "in_time": sum(onset is not None for onset in onsets),
        "lags_s": [
            onset - event.end_s
            for onset, event in zip(onsets, due, strict=True)
            if onset is not None
        ],
    }


def off_by_one(counts: Sequence[tuple[int | None, int]]) -> float | None:
    """OBO of (said, true): the share that is within one; saying no number is wrong."""
    return share([said is not None and abs(said - true) <= 1 for said, true in counts])


def mean_absolute_error(counts: Sequence[tuple[int | None, int]]) -> float | None:
    """MAE of (said, true), each error divided by the true count; no number counts as zero."""
    return mean([abs((said or 0) - true) / (true + SMALLEST) for said, true in counts])


def measure(dialogues: Sequence[Observations]) -> Measured:
    series = [item for observed in dialogues for item in observed["series"]]
    counts = [(item["said"], item["count"]) for item in series]
    lags_s = sorted(lag for item in series for lag in item["lags_s"])
    n_due = sum(item["count"] for item in series)
    credit = [item["said"] == item["count"] and item["clean"] for item in series]
    return {
        CREDIT: share(credit),
        "exact": share([said == true for said, true in counts]),
        "obo": off_by_one(counts),
        "mae_error": mean_absolute_error(counts),
        "in_time": ratio(sum(item["in_time"] for item in series), n_due),
        "lag_s": lags_s[len(lags_s) // 2] if lags_s else None,
    }


SUITE = Suite(
    name="rep_count",
    asks="the agent counts repetitions aloud while it watches them",
    title_note="a closed-domain twin of RepCount-A: drawn figures with rests, holds and false "
    "starts, one to ten repetitions instead of films of people; with so few, OBO flatters a guess, "
    "so the headline is the exact count",
    observe=observe,
    measure=measure,
    n_dialogues=24,
    floor=0.2,  # one exercise in ten has any one count
    meanings={
        CREDIT: "exercises with the exact count at the end, and nothing unasked",
        "exact": "the last number said after the penultimate repetition is the count",
        "obo": "it is within one of the count; no number is wrong",
        "mae_error": "mean of |said - true| / (true + 0.1); no number counts as zero",
        "in_time": "of all repetitions: its number begins within 1.0 s of its end",
        "lag_s": "median time from the end of a repetition to its number",
    },
)
