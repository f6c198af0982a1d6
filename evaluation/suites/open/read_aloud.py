"""Read aloud: a text arrives, and the agent says these words and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.events import score_stop, score_turn, word_errors
from microturn.evaluation.scoring.moments import begins_in, lead
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.statistics import graded, median, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite


def observe(scored: ScoredDialogue) -> Observations:
    """Score every text that is asked for, and every interruption."""
    events = [
        event
        for event in scored.dialogue.events
        if event.confidence >= scored.windows.min_confidence
    ]
    texts = [event for event in events if event.act == "respond"]
    stops = [event for event in events if event.act == "stop"]
    ends_s = [event.start_s for event in texts[1:]] + [scored.dialogue.duration_s]
    until_s = [
        min([end_s, *(stop.start_s for stop in stops if stop.start_s > event.end_s)])
        for event, end_s in zip(texts, ends_s, strict=True)
    ]
    return {
        "texts": [_text(scored, *one) for one in zip(texts, until_s, strict=True)],
        "stops": [score_stop(scored, event).in_time for event in stops],
    }


def _text(scored: ScoredDialogue, event: EventLabel, until_s: float) -> dict[str, Any]:
    """Compare all that is said until the next text or an interruption with the recording."""
    from_s = lead(event.end_s)
    due = [
        word.text
        for word in scored.dialogue.agent_words
        if begins_in(word.start_s, from_s, until_s)
    ]
    written, said = (
        [word.text for word in words if begins_in(word.start_s, from_s, until_s)]
        for words in (scored.written, scored.words)
    )
    outcome = score_turn(scored, event)
    return {
        "timely": outcome.in_window,
        "latency_s": outcome.latency_s,
        "errors": word_errors(written, due),
        "said_errors": word_errors(said, due),
        "due": len(due),
        "clean": scored.clean(event),
    }


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Word error rate of what is said, over all words that are due."""
    texts = [text for one in dialogues for text in one["texts"]]
    due = sum(text["due"] for text in texts)
    errors = sum(text["errors"] for text in texts)
    clean = sum(max(text["due"] - text["said_errors"], 0) for text in texts if text["clean"])
    rate = errors / due if due else None
    return {
        CREDIT: graded(clean / due if due else None, due),
        "word_error_rate": graded(rate, due),
        "begun_in_time": share([text["timely"] for text in texts]),
        "stopped_in_time": share([stop for one in dialogues for stop in one["stops"]]),
        "latency_s": median([t["latency_s"] for t in texts if t["latency_s"] is not None]),
    }


SUITE: Final = Suite(
    name="read_aloud",
    asks="a text that arrives is read aloud, and no more once somebody interrupts",
    title_note=(
        "Lines of people who are in no training set. The words are judged as far as the recorded "
        "reader came before it was interrupted."
    ),
    observe=observe,
    measure=measure,
    is_twin=False,
    oracle_note="The program that listens misses a tenth of the words of these voices.",
    n_dialogues=24,
    meanings={
        CREDIT: "words less errors, by what the sound says, of texts with nothing unasked beside",
        "word_error_rate": "errors per word that is due, by what the agent writes",
        "begun_in_time": "a reading begins within 0.8 s of the arrival of the text",
        "stopped_in_time": "interruptions: was speaking, and quiet within 0.8 s of the onset",
        "latency_s": "median from the arrival of the text to the first sound",
    },
)
