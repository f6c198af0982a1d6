"""An hour in one session: answers at the end as at the beginning, and recall over 30 minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.multi_challenge import reply_to
from microturn.evaluation.suites.statistics import median, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

LONG: Final = 0.5  # a recall after more than this share of the session: 30 minutes of an hour
EDGE: Final = 0.25  # the first and the last part that are compared


def observe(scored: ScoredDialogue) -> Observations:
    """Score every turn with its time and every recall with its distance."""
    return {
        "turns": [
            _turn(scored, event)
            for event in scored.dialogue.of_type("turn")
            if event.act == "respond"
        ],
        "recalls": [_recall(scored, event) for event in scored.dialogue.of_type("recall")],
    }


def _turn(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    until_s = event.end_s + scored.windows.late_reply_s
    onsets = [start for start, _ in scored.utterances if event.end_s - 1e-3 <= start <= until_s]
    return {
        "at": event.end_s / scored.dialogue.duration_s,
        "right": reply_to(scored, event) == event.expected,
        "late_s": onsets[0] - event.end_s if onsets else None,
    }


def _recall(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    statements_s = [
        turn.end_s
        for turn in scored.dialogue.of_type("turn")
        if turn.text.startswith(f"{event.text} is ") and turn.end_s < event.start_s
    ]
    after_s = event.start_s - max(statements_s, default=event.start_s)
    return {
        "long": after_s > LONG * scored.dialogue.duration_s,
        "right": reply_to(scored, event) == event.expected,
        "clean": scored.clean(event),
    }


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute recall by distance, and answers and latencies at both ends of the session."""
    turns = [turn for observed in dialogues for turn in observed["turns"]]
    recalls = [recall for observed in dialogues for recall in observed["recalls"]]
    first = [turn for turn in turns if turn["at"] < EDGE]
    last = [turn for turn in turns if turn["at"] >= 1 - EDGE]

    def latency(part: Sequence[dict[str, Any]]) -> float | None:
        return median([turn["late_s"] for turn in part if turn["late_s"] is not None])

    return {
        CREDIT: share([one["right"] and one["clean"] for one in recalls if one["long"]]),
        "recalled_30min": share([one["right"] for one in recalls if one["long"]]),
        "recalled_sooner": share([one["right"] for one in recalls if not one["long"]]),
        "answered_first": share([turn["right"] for turn in first]),
        "answered_last": share([turn["right"] for turn in last]),
        "latency_first_s": latency(first),
        "latency_last_s": latency(last),
    }


SUITE: Final = Suite(
    name="long_session",
    asks="the agent answers at the end of an hour as at its beginning, and remembers",
    title_note=(
        "One simulated session of an hour, so there are no intervals: ten things to remember, five "
        "of them asked for after more than 30 minutes, and a question about every half minute."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=1,
    meanings={
        CREDIT: "right recalls after more than half of the session, and nothing unasked",
        "recalled_30min": "recalls after more than half of the session: 30 minutes of the hour",
        "recalled_sooner": "recalls after less, down to a minute and a half",
        "answered_first": "right answers in the first quarter, however late",
        "answered_last": "the same in the last quarter",
        "latency_first_s": "median onset after the end of the turn, first quarter",
        "latency_last_s": "the same in the last quarter",
    },
)
