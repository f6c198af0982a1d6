"""Open transcript: what people whom training never heard said, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.evaluation.scoring.events import score_heard, word_errors
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.statistics import graded
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite


def observe(scored: ScoredDialogue) -> Observations:
    """Count the words that the user said, those written down, and the errors between them."""
    outcome = score_heard(scored)
    recognised, said = scored.dialogue.recognised, scored.dialogue.user_words
    return {
        "recogniser_errors": None
        if recognised is None
        else word_errors(recognised, [word.text for word in said]),
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
    beside = [one for one in dialogues if one.get("recogniser_errors") is not None]
    said_beside = sum(one["said"] for one in beside)
    wrong_beside = sum(one["recogniser_errors"] for one in beside)
    return {
        CREDIT: graded(None if rate is None else max(0.0, 1.0 - rate), said),
        "word_error_rate": graded(rate, said),
        "pocketsphinx_word_error_rate": graded(
            wrong_beside / said_beside if said_beside else None, said_beside
        ),
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
    transcribed=True,
    n_dialogues=24,
    meanings={
        CREDIT: "1 - word error rate of `heard`, at least 0",
        "word_error_rate": "substitutions, insertions and deletions per word said",
        "pocketsphinx_word_error_rate": "the same of pocketsphinx with its own English model, on "
        "the same sound, whoever plays",
        "words_heard": "words written down per word said",
    },
)
