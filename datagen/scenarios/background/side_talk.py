"""The user talks to another person: the agent stays silent, or goes on."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.expectations import background_voice
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.scenarios.background.background import voice_at
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.counting import into_count
from microturn.datagen.scenarios.turns.interruption import first_turn

KINDS = ("silent", "silent", "counting")
ANSWER_SHARE = 0.5  # how often a distant voice answers
ANSWER_GAP_S = (0.1, 0.6)


@register
class SideTalkScenario:
    name = "side_talk"
    asks = ("count",)

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return Words(user=bank.recorded(config.scenarios.side_talk_phrases))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        getattr(self, KINDS[segment.choose(KINDS)])(segment, start)

    def silent(self, segment: SegmentBuilder, start: int) -> None:
        """While the agent says nothing."""
        talk = _aside(segment, start)
        end = talk.end_sample
        if segment.chance(ANSWER_SHARE):
            end = _answered(segment, end + segment.draw(ANSWER_GAP_S))
        window = (start, end + segment.rules.samples(segment.timing.background_tail_s))
        segment.user_event(self.name, talk, "stay_silent", window)
        segment.end_sample = max(segment.end_sample, window[1])

    def counting(self, segment: SegmentBuilder, start: int) -> None:
        """While the agent counts."""
        count, onset = into_count(segment, start)
        talk = _aside(segment, onset)
        first_turn(segment, count)
        window = (onset, max(min(talk.end_sample, count.end_sample), onset + 1))
        segment.user_event(self.name, talk, "resume", window)


def _aside(segment: SegmentBuilder, start: int) -> Span:
    options = segment.context.config.scenarios
    gain = float(segment.rng.uniform(*options.side_talk_db))
    phrases, speaker = segment.bank.recorded(options.side_talk_phrases), segment.speaker()
    lines = segment.context.mixture.asides(speaker)
    if not phrases and not lines:
        raise ValueError(
            f"{segment.bank.corpus.name} has nothing to be said aside in split "
            f"{segment.bank.split!r}; set families.side_talk=0 or give scenarios.side_talk_phrases "
            "that are recorded"
        )
    if phrases and not (speaker and lines):
        unit = segment.bank.user(phrases[segment.choose(phrases)], segment.context.voice)
    else:
        unit = segment.bank.line(lines[segment.choose(lines)], segment.variant())
    return segment.place(unit, start, lane="user", gain_db=gain)


def _answered(segment: SegmentBuilder, start: int) -> int:
    """Place the answer of a distant voice if there is time; return the end of the talk."""
    try:
        span = voice_at(segment, start)
    except DoesNotFit:
        return start
    segment.event(background_voice(span))
    return span.end_sample
