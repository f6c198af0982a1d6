"""Echo: the agent's own voice returns through the room and must not count as another voice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.multi_challenge import reply_to
from microturn.evaluation.suites.statistics import share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite


def observe(scored: ScoredDialogue) -> Observations:
    """Score every answer."""
    path = scored.dialogue.channel.echo_path
    events = [event for event in scored.dialogue.of_type("turn") if event.act == "respond"]
    return {
        "cancelled": path is not None and path.erle_db is not None,
        "answers": [_answer(scored, event) for event in events],
    }


def _answer(scored: ScoredDialogue, event: EventLabel) -> dict[str, Any]:
    said = reply_to(scored, event)
    begun = bool(said) and said[0] == event.expected[0]
    return {
        "whole": said == event.expected,
        "clean": scored.clean(event),
        "n": len(event.expected),
        "broken": begun and said == event.expected[: len(said)] and said != event.expected,
    }


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute shares of whole answers by canceller."""
    answers = [answer for observed in dialogues for answer in observed["answers"]]

    def whole(cancelled: bool) -> float | None:
        here = [observed for observed in dialogues if observed["cancelled"] is cancelled]
        return share([answer["whole"] for observed in here for answer in observed["answers"]])

    return {
        CREDIT: share([answer["whole"] and answer["clean"] for answer in answers]),
        "said_whole": share([answer["whole"] for answer in answers]),
        "whole_with_canceller": whole(True),
        "whole_without": whole(False),
        "broke_off": share([answer["broken"] for answer in answers if answer["n"] > 1]),
    }


SUITE: Final = Suite(
    name="echo",
    asks="the agent says its answers to the end although it hears itself",
    title_note=(
        "The echo of the recorded agent is part of the simulated microphone, 10 to 30 dB below its "
        "voice; half of the dialogues have an echo canceller. An agent that speaks at other times "
        "than the recorded one does hears an echo that is not its own."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=32,
    floor=0.2,  # one answer in ten is the most frequent one
    meanings={
        CREDIT: "whole answers, and nothing unasked",
        "said_whole": "answers with all their words and no others",
        "whole_with_canceller": "the same, where an echo canceller is at work",
        "whole_without": "the same, without one",
        "broke_off": "answers of several words that began right and were broken off",
    },
)
