"""What a timeline leaves to expect of the agent around sounds that are not addressed to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect, Timeline
from microturn.datagen.labels.event_types import BACKGROUND_SPEECH
from microturn.model.streams import normalise

SAME_UTTERANCE_S: Final = 0.5  # the agent has not stopped when it is silent for less
MIN_LEFT_S: Final = 0.6  # of an utterance, for going on to be audible


def expectation_during(
    timeline: Timeline, start: int, end: int, *, rate: int, tail: int
) -> Expect | None:
    """What can be expected of the agent during a sound that is not addressed to it, or None.

    It stays silent where it neither speaks nor may speak; it goes on where it is speaking, has
    something left to say and nobody stops it. Otherwise nothing is certain.
    """
    window = (start, min(end + tail, timeline.n_samples))
    silence = silence_beside(timeline, window)
    if silence is not None:
        return silence
    for first, last in timeline.stretches("agent", join=round(SAME_UTTERANCE_S * rate)):
        if not first <= start < last - round(MIN_LEFT_S * rate):
            continue
        until = min(end, last)
        stopped = any(
            event.expect is not None
            and event.expect.act == "stop"
            and event.start_sample < until
            and start < event.expect.window_samples[1]
            for event in timeline.events
        )
        left = any(start < word.start_sample < last for word in timeline.agent)
        heard = timeline.speaks("agent", start, until)  # not only a gap between two words
        if not left or stopped or not heard:
            return None
        return Expect(act="resume", window_samples=(start, until))
    return None


def agent_must_be_silent(timeline: Timeline, window: tuple[int, int]) -> bool:
    """Whether the agent neither speaks nor may speak inside a window."""
    if timeline.speaks("agent", *window):
        return False
    speaking = [
        event.expect.window_samples
        for event in timeline.events
        if event.expect is not None and event.expect.act not in ("stay_silent", "stop")
    ]
    return not any(start < window[1] and window[0] < end for start, end in speaking)


def silence_beside(timeline: Timeline, window: tuple[int, int]) -> Expect | None:
    """Expect silence in a window in which the agent must be silent; else nothing is certain."""
    if agent_must_be_silent(timeline, window):
        return Expect(act="stay_silent", window_samples=window)
    return None


def background_voice(span: Span, expect: Expect | None = None, *, confidence: float = 1.0) -> Event:
    """Return the event of a placed voice that is not addressed to the agent."""
    return Event(
        type=BACKGROUND_SPEECH,
        start_sample=span.start_sample,
        end_sample=span.end_sample,
        speaker="background",
        text=normalise(span.text),
        expect=expect,
        confidence=confidence,
    )


def expect_nothing_without_loss(timeline: Timeline) -> None:
    """Take expectations away whose window reaches into a span in which nothing is learned."""
    spans = timeline.without_loss
    timeline.events = [
        replace(event, expect=None)
        if event.expect is not None
        and any(
            start < event.expect.window_samples[1] and event.expect.window_samples[0] < end
            for start, end in spans
        )
        else event
        for event in timeline.events
    ]
