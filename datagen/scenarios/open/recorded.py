"""A window of a recorded conversation as it was: one side is the agent, the other the user.

The user's side goes through the room, noise, echo, line and network of the dialogue; the agent's is
the target. Events are found in what was said, by rule (`datagen/derive`), with a confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.derive.events import derive_events
from microturn.datagen.derive.speech_units import SpokenSide
from microturn.datagen.dialogue.expectations import background_voice, silence_beside
from microturn.datagen.dialogue.open.recorded_conversations import ConversationWindow
from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.script import DoesNotFit
from microturn.datagen.dialogue.timeline import Event, Timeline
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.dialogue import TimelineLabels, WordLabel
from microturn.datagen.labels.time_classes import UNKNOWN
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.open.floor import FIRST_S, Floor

MIN_WINDOW_S: Final = 4.0


@register
class RecordedScenario:
    name = "recorded"
    asks = ()
    needs = "a recorded conversation in which they are not said to be the user"

    def agents(self, sources: OpenSources) -> Mapping[str, float]:
        recorded = sources.recorded
        return {name: recorded.seconds(name) ** 0.5 for name in recorded.by_agent}

    def build(self, segment: SegmentBuilder, start: int) -> None:
        floor = Floor(segment, start)
        recorded, rate = floor.sources.recorded, segment.rules.rate
        left_s = (segment.n_samples - start) / rate
        if left_s < MIN_WINDOW_S:
            raise DoesNotFit
        places = recorded.by_agent[floor.cast.agent]
        place = places[segment.choose(places)]
        window = recorded.window(place, at=float(segment.rng.random()), length_s=left_s)
        self._agent(segment, recorded.units(window, window.agent), start)
        for unit, at in recorded.units(window, 1 - window.agent):
            segment.place(unit, start + at, lane="user")
        if not (segment.timeline.user or segment.timeline.agent):
            raise DoesNotFit
        self._redacted(segment, window, start)
        length = min(round((window.end_s - window.start_s) * rate), segment.n_samples - start)
        segment.timeline.events += derived(segment.timeline, window, start, length, rate=rate)
        segment.end_sample = start + length
        if segment.chance_apart(segment.context.config.scenarios.third_voice_share):
            self._third_voices(segment, recorded.third_voices(window), start)
        floor.close()

    def _agent(
        self, segment: SegmentBuilder, units: Sequence[tuple[Unit, int]], start: int
    ) -> None:
        """What the agent says, but what it would have to decide before the dialogue begins."""
        first = segment.rules.samples(FIRST_S)
        for unit, at in units:
            if start + at >= first:
                segment.sound([(unit, start + at)])

    def _third_voices(
        self,
        segment: SegmentBuilder,
        voices: Sequence[Sequence[tuple[Unit, int]]],
        start: int,
    ) -> None:
        """Others in the room, each at one level: the agent is silent where it was."""
        levels_db = segment.context.config.acoustics.places.third_voice_db
        tail = segment.rules.samples(segment.timing.background_tail_s)
        for units in voices:
            gain_db = round(float(segment.rng.uniform(*levels_db)), 3)
            for unit, at in units:
                span = segment.place(
                    unit, start + at, lane="background", gain_db=gain_db, place="beside"
                )
                window = (span.start_sample, min(span.end_sample + tail, segment.n_samples))
                expect = silence_beside(segment.timeline, window)
                segment.event(background_voice(span, expect, confidence=_confidence(unit)))

    def _redacted(self, segment: SegmentBuilder, window: ConversationWindow, start: int) -> None:
        rate = segment.rules.rate
        for from_s, to_s in window.conversation.redacted:
            first, last = max(from_s, window.start_s), min(to_s, window.end_s)
            if first < last:
                a, b = (start + round((time_s - window.start_s) * rate) for time_s in (first, last))
                segment.timeline.without_loss.append((a, min(b, segment.n_samples)))


def derived(
    timeline: Timeline, window: ConversationWindow, start: int, length: int, *, rate: int
) -> list[Event]:
    """The events of what was placed from a sample on."""
    labels = timeline.labels(rate)
    offset_s = start / rate
    sides = [_side(words, offset_s) for words in (labels.words.user, labels.words.agent)]
    events = derive_events(*sides, duration_s=length / rate, language=window.conversation.language)
    found = Timeline.from_labels(
        TimelineLabels(events=events), sample_rate=rate, n_samples=length
    ).events
    return [_moved(event, start, length) for event in found]


def _confidence(unit: Unit) -> float:
    """Of what a third voice says: that of derived events, by how its times are known."""
    limits, timed = DeriveConfig(), all(word.times != UNKNOWN for word in unit.words)
    return limits.words_confidence if timed else limits.activity_confidence


def _side(words: Sequence[WordLabel], offset_s: float) -> SpokenSide:
    return SpokenSide(
        words=tuple(
            replace(
                word,
                start_s=round(word.start_s - offset_s, 6),
                end_s=round(word.end_s - offset_s, 6),
            )
            for word in words
        )
    )


def _moved(event: Event, start: int, length: int) -> Event:
    expect = event.expect
    if expect is not None:
        first, last = expect.window_samples
        window = (start + max(first, 0), start + min(last, length))
        expect = replace(expect, window_samples=window) if window[0] < window[1] else None
    return replace(
        event,
        start_sample=start + event.start_sample,
        end_sample=start + min(event.end_sample, length),
        expect=expect,
    )
