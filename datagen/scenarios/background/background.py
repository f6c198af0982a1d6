"""Voices and sounds that are not for the agent: it stays silent, or goes on as if alone."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.dialogue.expectations import background_voice
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.event_types import NOISE
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.counting import into_count
from microturn.datagen.scenarios.turns.interruption import first_turn
from microturn.datagen.scenarios.vocabulary import AT_ONCE

MIN_LENGTH_S, MAX_LENGTH_S = 0.8, 4.5
BURST_S = (0.2, 1.2)
KINDS = ("silent", "silent", "counting", "question", "noise", "silence")


@register
class BackgroundScenario:
    name = "background"
    asks = (*AT_ONCE, "count")

    def build(self, segment: SegmentBuilder, start: int) -> None:
        kind = KINDS[segment.choose(KINDS)]
        getattr(self, kind)(segment, start)

    def silent(self, segment: SegmentBuilder, start: int) -> None:
        """A voice in silence."""
        voice_alone(segment, voice_at(segment, start))

    def counting(self, segment: SegmentBuilder, start: int) -> None:
        """A voice while the agent counts."""
        count, onset = into_count(segment, start)
        span = voice_at(segment, onset)
        first_turn(segment, count)
        last = max(min(span.end_sample, count.end_sample), onset + 1)
        segment.event(background_voice(span, Expect(act="resume", window_samples=(onset, last))))

    def question(self, segment: SegmentBuilder, start: int) -> None:
        """A voice under a question, which is answered all the same."""
        question = segment.questions.turn(segment.rng)
        lead = segment.draw((0.0, 1.0))
        span = voice_at(segment, start)
        asked = segment.ask(question, start + lead)
        segment.answer(question, asked)
        segment.event(background_voice(span))

    def noise(self, segment: SegmentBuilder, start: int) -> None:
        """A burst of noise in silence."""
        span = segment.place(burst(segment), start, lane="background", gain_db=level(segment))
        window = (
            span.start_sample,
            span.end_sample + segment.rules.samples(segment.timing.background_tail_s),
        )
        segment.event(
            Event(
                type=NOISE,
                start_sample=span.start_sample,
                end_sample=span.end_sample,
                speaker="background",
                expect=Expect(act="stay_silent", window_samples=window),
            )
        )
        segment.end_sample = window[1]

    def silence(self, segment: SegmentBuilder, start: int) -> None:
        """Nothing at all for a while."""
        segment.end_sample = start + segment.draw(segment.timing.silence_s)
        segment.must_end_by(segment.end_sample)


def voice_at(segment: SegmentBuilder, start: int) -> Span:
    """Place a line of a distant voice."""
    unit = voice(segment)
    return segment.place(unit, start, lane="background", gain_db=level(segment))


def voice(segment: SegmentBuilder, *, present: Collection[str] = ()) -> Unit:
    """A drawn line of a distant voice: of nobody who is `present`."""
    return segment.bank.line(_line(segment, present), segment.variant())


def voice_alone(segment: SegmentBuilder, span: Span) -> None:
    """A far voice to which the agent says nothing, nor shortly after it."""
    window = (
        span.start_sample,
        span.end_sample + segment.rules.samples(segment.timing.background_tail_s),
    )
    segment.event(background_voice(span, Expect(act="stay_silent", window_samples=window)))
    segment.end_sample = max(segment.end_sample, window[1])


def _line(segment: SegmentBuilder, present: Collection[str]) -> Utterance:
    lines = segment.bank.lines(shortest_s=MIN_LENGTH_S, longest_s=MAX_LENGTH_S)
    cast = segment.context.cast
    if cast is not None:  # the agent's own voice is not heard around it
        lines = lines.where(~lines.is_one_of("speaker", (cast.agent, *present)))
    if not lines:
        raise ValueError(
            f"no voice of split {segment.bank.split!r} can be put into the background; set "
            "families.background=0, channel.overlay_probability=0 and "
            "scenarios.transplants.background_speech=0, or add a corpus"
        )
    return lines[segment.choose(lines)]


def level(segment: SegmentBuilder) -> float:
    """Draw the level of a distant voice or a noise, in dB relative to the user."""
    return float(segment.rng.uniform(*segment.context.config.channel.background_db))


def burst(segment: SegmentBuilder) -> Unit:
    """Noise that swells and dies away, coloured by a drawn first-order filter."""
    n, rng = segment.draw(BURST_S), segment.rng
    white = rng.standard_normal(n, dtype=np.float32)
    colour = np.float32(rng.uniform(-0.9, 0.9))
    audio = white.copy()
    audio[1:] += colour * white[:-1]
    audio *= np.sin(np.pi * (np.arange(n, dtype=np.float32) + 0.5) / n)
    audio *= np.float32(10 ** (-26 / 20) / np.sqrt(np.mean(np.square(audio))))
    return Unit(source="noise", voice="", text="", audio=audio, words=(), licence="")
