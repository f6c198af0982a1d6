"""Open transcript: what people whom training never heard said, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.evaluation.scoring.events import score_heard
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.statistics import graded
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite


def observe(scored: ScoredDialogue) -> Observations:
    """Count the words that the user said, those written down, and the errors between them."""
    outcome = score_heard(scored)
    return {
        "said": outcome.n_expected,
        "heard": len(scored.trace.heard or ()),
        "errors": outcome.n_errors,
    }


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Word error rate over all dialogues; credit is what is left of 1."""
    said, heard, errors = (
        sum(one[name] for one in dialogues) for name in ("said", "heard", "errors")
    )
    rate = errors / said if said else None
    return {
        CREDIT: graded(None if rate is None else max(0.0, 1.0 - rate), said),
        "word_error_rate": graded(rate, said),
        "words_heard": graded(heard / said if said else None, said),
    }


SUITE: Final = Suite(
    name="open_transcript",
    asks="what people in no training set tell the agent is written down",
    title_note=(
        "Acted speech of people who are in no training set, with rooms and noise. Agents that "
        "write nothing down get 0."
    ),
    observe=observe,
    measure=measure,
    is_twin=False,
    n_dialogues=24,
    meanings={
        CREDIT: "1 - word error rate of `heard`, at least 0",
        "word_error_rate": "substitutions, insertions and deletions per word said",
        "words_heard": "words written down per word said",
    },
)
