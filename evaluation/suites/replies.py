"""Assignment of the agent's words to expected replies.

For suites in which several replies are due one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.moments import SAME_S as SAME_S
from microturn.evaluation.scoring.scene import ScoredDialogue


@dataclass(frozen=True, kw_only=True)
class TimedWord:
    """A word of the agent with its onset."""

    text: str
    onset_s: float


@dataclass(frozen=True, kw_only=True)
class RequestScope:
    """A request of the user, the events that follow from it, and its end."""

    request: EventLabel
    events: tuple[EventLabel, ...]
    end_s: float  # the next request, or the end of the dialogue


def said_in(scored: ScoredDialogue, start_s: float, end_s: float) -> list[TimedWord]:
    """Return the words whose sound begins in [start_s, end_s)."""
    words = [TimedWord(text=word.text, onset_s=scored.onset_of(word)) for word in scored.words]
    return [word for word in words if start_s - SAME_S <= word.onset_s < end_s - SAME_S]


def replies_in_order(said: Sequence[TimedWord], events: Sequence[EventLabel]) -> list[float | None]:
    """Return the onset of the reply to each event; None where its window holds no reply.

    A reply is the expected words one after the other. Events are answered in order and a word
    answers one of them: "two" said once is not the answer to each of two requests for it.
    """
    onsets: list[float | None] = []
    free = 0
    for event in events:
        at = _position_of_reply(said, free, event)
        onsets.append(None if at is None else said[at].onset_s)
        free = free if at is None else at + len(event.expected)
    return onsets


def _position_of_reply(said: Sequence[TimedWord], free: int, event: EventLabel) -> int | None:
    assert event.window_s is not None, event
    earliest_s, latest_s = event.window_s
    n = len(event.expected)
    for at in range(free, len(said) - n + 1):
        if said[at].onset_s > latest_s + SAME_S:
            break
        texts = tuple(word.text for word in said[at : at + n])
        if said[at].onset_s >= earliest_s - SAME_S and texts == event.expected:
            return at
    return None


def segments(scored: ScoredDialogue, event_type: str) -> list[RequestScope]:
    """Return the user's requests of a type, each with the events until the next one."""
    events = scored.dialogue.of_type(event_type)
    requests = [event for event in events if event.speaker == "user"]
    ends_s = [*(request.start_s for request in requests[1:]), scored.dialogue.duration_s]
    return [
        RequestScope(
            request=request,
            events=tuple(
                event
                for event in events
                if event.speaker != "user" and request.start_s <= event.start_s < end_s
            ),
            end_s=end_s,
        )
        for request, end_s in zip(requests, ends_s, strict=False)
    ]
