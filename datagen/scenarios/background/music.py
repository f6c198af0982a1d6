"""Music plays in the room: the agent stays silent, goes on, or answers all the same."""

from __future__ import annotations

from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.event_types import MUSIC
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.counting import into_count
from microturn.datagen.scenarios.turns.interruption import first_turn
from microturn.datagen.scenarios.vocabulary import AT_ONCE

KINDS = ("silent", "counting", "question")
LEAD_S = (0.3, 1.0)


@register
class MusicScenario:
    name = "music"
    asks = (*AT_ONCE, "count")

    def build(self, segment: SegmentBuilder, start: int) -> None:
        getattr(self, KINDS[segment.choose(KINDS)])(segment, start)

    def silent(self, segment: SegmentBuilder, start: int) -> None:
        """Music in silence."""
        span = _play(segment, start)
        window = (
            span.start_sample,
            span.end_sample + segment.rules.samples(segment.timing.background_tail_s),
        )
        _music_event(segment, span, Expect(act="stay_silent", window_samples=window))
        segment.end_sample = max(segment.end_sample, window[1])

    def counting(self, segment: SegmentBuilder, start: int) -> None:
        """While the agent counts."""
        count, onset = into_count(segment, start)
        span = _play(segment, onset)
        first_turn(segment, count)
        last = max(min(span.end_sample, count.end_sample), onset + 1)
        _music_event(segment, span, Expect(act="resume", window_samples=(onset, last)))

    def question(self, segment: SegmentBuilder, start: int) -> None:
        """Under a question, which is answered all the same."""
        question = segment.questions.turn(segment.rng)
        span = _play(segment, start)
        asked = segment.ask(question, start + segment.draw(LEAD_S))
        segment.answer(question, asked)
        _music_event(segment, span, None)


def _play(segment: SegmentBuilder, start: int) -> Span:
    unit, gain_db = music(segment)
    return segment.place(unit, start, lane="background", gain_db=gain_db)


def music(segment: SegmentBuilder) -> tuple[Unit, float]:
    """A drawn stretch of a piece, and its level in dB relative to the user."""
    pieces = segment.bank.music()
    if not pieces:
        raise ValueError(
            f"{segment.bank.corpus.name} has no recording tagged `music`; set "
            "families.music=0 and scenarios.transplants.music=0"
        )
    options = segment.context.config.scenarios
    piece = pieces[segment.choose(pieces)]
    n = segment.draw(options.music_s)
    unit = segment.bank.music_from(piece, float(segment.rng.random()), n)
    return unit, float(segment.rng.uniform(*options.music_db))


def _music_event(segment: SegmentBuilder, span: Span, expect: Expect | None) -> None:
    segment.event(
        Event(
            type=MUSIC,
            start_sample=span.start_sample,
            end_sample=span.end_sample,
            speaker="background",
            expect=expect,
        )
    )
