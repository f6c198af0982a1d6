"""The user talks to another person: the agent stays silent, or goes on."""

from __future__ import annotations

from collections.abc import Sequence

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.manifest import Utterance
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.timeline import Event
from microturn.datagen.dialogue.units import UnitBank, canonical
from microturn.datagen.labels.event_types import BACKGROUND_SPEECH
from microturn.datagen.scenarios.background.background import voice_at
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.counting import ask_to_count
from microturn.datagen.scenarios.turns.interruption import first_turn
from microturn.model.streams import normalise

KINDS = ("silent", "silent", "counting")
MIN_LENGTH_S, MAX_LENGTH_S = 0.9, 3.5
MIN_WORDS = 3  # shorter lines could be meant for the agent
OWN_VOICE_SHARE = 0.6
ANSWER_SHARE = 0.5  # how often a distant voice answers
ANSWER_GAP_S = (0.1, 0.6)
WORDS_LEFT = 2
TRIES = 20


@register
class SideTalkScenario:
    name = "side_talk"

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
        count = ask_to_count(segment, start, shortest=5)
        onset = count.inside(segment, 1, len(count.planned) - WORDS_LEFT)
        talk = _aside(segment, onset)
        first_turn(segment, count)
        window = (onset, max(min(talk.end_sample, count.end_sample), onset + 1))
        segment.user_event(self.name, talk, "resume", window)


def _aside(segment: SegmentBuilder, start: int) -> Span:
    options = segment.context.config.scenarios
    gain = float(segment.rng.uniform(*options.side_talk_db))
    phrases = segment.bank.recorded(options.side_talk_phrases)
    lines = segment.bank.lines(shortest_s=MIN_LENGTH_S, longest_s=MAX_LENGTH_S)
    if not phrases and not lines:
        raise ValueError(
            f"{segment.bank.corpus.folder} has nothing to be said aside in split "
            f"{segment.bank.split!r}; set families.side_talk=0 or give scenarios.side_talk_phrases "
            "that are recorded"
        )
    if phrases and (not lines or segment.chance(OWN_VOICE_SHARE)):
        unit = segment.bank.user(phrases[segment.choose(phrases)], segment.context.voice)
    else:
        unit = segment.bank.line(_line(segment, lines), segment.factor())
    return segment.place(unit, start, lane="user", gain_db=gain)


def _line(segment: SegmentBuilder, lines: Sequence[Utterance]) -> Utterance:
    """A line that could not be meant for the agent."""
    vocabulary = segment.questions.vocabulary
    phrases = (*vocabulary.stop_phrases, *vocabulary.backchannels, *vocabulary.greetings)
    meant = {canonical(text) for text in phrases}
    for _ in range(TRIES):
        line = lines[segment.choose(lines)]
        if len(words_of(line.text)) >= MIN_WORDS and canonical(line.text) not in meant:
            return line
    raise DoesNotFit


def _answered(segment: SegmentBuilder, start: int) -> int:
    """Place the answer of a distant voice if there is time; return the end of the talk."""
    try:
        span = voice_at(segment, start)
    except DoesNotFit:
        return start
    segment.event(
        Event(
            type=BACKGROUND_SPEECH,
            start_sample=span.start_sample,
            end_sample=span.end_sample,
            speaker="background",
            text=normalise(span.text),
        )
    )
    return span.end_sample
