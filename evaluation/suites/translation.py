"""Simultaneous translation: each word in English while the user speaks another language.

Content and timing both count: a word is a hit when it is right and begins within 2 s of the end
of what it translates. Lag is from there to its onset, like the token delay of ATD (arXiv
2211.13173) with whole words for tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.activity import merge
from microturn.evaluation.scoring.events import word_errors
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.replies import TimedWord, replies_in_order, said_in
from microturn.evaluation.suites.statistics import graded, median, ratio
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

EVENT: Final = "translation"


def observe(scored: ScoredDialogue) -> Observations:
    """Score every passage: right words, lags, and surplus words."""
    return {"passages": [_passage(scored, events) for events in passages(scored)]}


def passages(scored: ScoredDialogue) -> list[list[EventLabel]]:
    """Group the words to be translated: those whose windows touch belong together."""
    events = [event for event in scored.dialogue.of_type(EVENT) if event.window_s is not None]
    spans = merge([(event.start_s, (event.window_s or (0, 0))[1]) for event in events], 0.0)
    return [[event for event in events if a <= event.start_s < b] for a, b in spans]


def _passage(scored: ScoredDialogue, events: Sequence[EventLabel]) -> dict[str, Any]:
    latest_s = max(event.window_s[1] for event in events if event.window_s is not None)
    said = said_in(scored, events[0].start_s, latest_s)
    onsets = replies_in_order(said, events)
    expected = [text for event in events for text in event.expected]
    found = [
        (event, onset) for event, onset in zip(events, onsets, strict=True) if onset is not None
    ]
    return {
        "due": len(expected),
        "said": len(said),
        "right": sum(len(event.expected) for event, _ in found),
        "clean": _n_clean(scored, found, said),
        "errors": word_errors([word.text for word in said], expected),
        "lags_s": [onset - event.end_s for event, onset in found],
        "over_user": sum(_over_user(scored, onset) for _, onset in found),
        "items": len(events),
    }


def _n_clean(
    scored: ScoredDialogue, found: Sequence[tuple[EventLabel, float]], said: Sequence[TimedWord]
) -> int:
    """Right words with nothing unasked next to them, neither before nor after."""
    asked = [False] * len(said)
    places = []
    for event, onset in found:
        first = next(i for i, word in enumerate(said) if word.onset_s == onset)
        last = first + len(event.expected)
        asked[first:last] = [True] * len(event.expected)
        places.append((event, first, last))
    return sum(
        last - first
        for event, first, last in places
        if all(asked[max(first - 1, 0) : last + 1]) and scored.clean(event)
    )


def _over_user(scored: ScoredDialogue, onset_s: float) -> bool:
    """Whether a translation begins inside a word of the user."""
    words = scored.dialogue.user_words
    return any(word.start_s <= onset_s < word.end_s for word in words)


def f1(right: int, said: int, due: int) -> float | None:
    """Harmonic mean of precision (of spoken words) and recall (of due words)."""
    if not due:
        return None
    return 2 * right / (said + due)


def measure(dialogues: Sequence[Observations]) -> Measured:
    passages_ = [item for observed in dialogues for item in observed["passages"]]
    due, said, right, clean, errors, over, items = (
        sum(item[name] for item in passages_)
        for name in ("due", "said", "right", "clean", "errors", "over_user", "items")
    )
    lags_s = sorted(lag for item in passages_ for lag in item["lags_s"])
    return {
        CREDIT: f1(clean, said, due),
        "in_time_f1": graded(f1(right, said, due), due),
        "translated": ratio(right, due),
        "content": graded(max(0.0, 1.0 - errors / due) if due else None, due),
        "lag_s": median(lags_s),
        "lag_p90_s": graded(lags_s[int(0.9 * (len(lags_s) - 1))] if lags_s else None, len(lags_s)),
        "over_user": ratio(over, items),
    }


SUITE = Suite(
    name="translation",
    asks="the agent says each word in English while the user goes on",
    title_note="closed domain: single words (numbers, days, months and some more) of Spanish, "
    "French, Italian and Russian voices, which the agent's voice has recorded in English",
    observe=observe,
    measure=measure,
    n_dialogues=24,
    meanings={
        CREDIT: "F1 of right words in time, of which only those with nothing unasked next to "
        "them count",
        "in_time_f1": "F1 of right words begun within 2 s of the end of what they translate, in "
        "order; everything else that is said lowers the precision",
        "translated": "of the words that are due: right and in time",
        "content": "1 - word error rate of all that is said, whenever it is said; at least 0",
        "lag_s": "median time from the end of a word to its translation",
        "lag_p90_s": "the same, 90th percentile",
        "over_user": "of what is due: in time, and begun in the middle of a word of the user",
    },
)
