"""While the agent counts, the user takes the floor with a question, a phrase, or both."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.rules import RESPOND_S, STOP_S
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import INTERRUPTION, TURN
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.counting import Count, into_count
from microturn.datagen.scenarios.vocabulary import Question


@register
class InterruptionScenario:
    """The user's own voice asks, or says a stop word; another says a phrase, and the user may ask.

    Whether something is asked is drawn apart from the voice, so that neither tells the other.
    """

    name = "interruption"
    asks = ("count", "number", "day")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return Words(user=bank.sayable(config.vocabulary.stop_words))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        count, onset = into_count(segment, start)
        speaker, asks = segment.speaker(), not segment.chance(_stop_share(segment))
        phrase = segment.stop_phrase(speaker) if speaker or not asks else None
        spoken = None if phrase is None else segment.place(phrase, onset, lane="user")
        if spoken is not None and not asks:
            question = None
        else:
            question = segment.questions.long_turn(segment.rng)
            spoken = _ask(segment, question, onset, spoken)
        first_turn(segment, count, until=segment.give_way(onset))
        interrupted(segment, spoken)
        if question is not None:
            segment.answer(question, spoken)


def _stop_share(segment: SegmentBuilder) -> float:
    return segment.questions.vocabulary.stop_share


def _ask(segment: SegmentBuilder, question: Question, onset: int, phrase: Span | None) -> Span:
    """The user asks at once, or after a phrase; the span of all of it."""
    if phrase is None:
        return segment.ask(question, onset, may_pause=False)
    at = phrase.end_sample + segment.draw(segment.timing.word_gap_s)
    asked = segment.ask(question, at, may_pause=False)
    text = f"{phrase.text} {asked.text}"
    return Span(start_sample=onset, end_sample=asked.end_sample, text=text)


def interrupted(segment: SegmentBuilder, spoken: Span) -> None:
    """The event of a user who has taken the floor: the agent falls silent in time."""
    onset = spoken.start_sample
    segment.event(
        Event(
            type=INTERRUPTION,
            start_sample=onset,
            end_sample=spoken.end_sample,
            speaker="user",
            text=spoken.text,
            expect=Expect(
                act="stop", window_samples=(onset, onset + segment.rules.samples(STOP_S))
            ),
        )
    )


def first_turn(segment: SegmentBuilder, count: Count, *, until: int | None = None) -> Span:
    """The agent answers the request to count, up to micro-turn `until` or to the end."""
    speech = segment.say(
        count.question.answer, segment.rules.reply(count.asked.end_sample), until=until
    )
    end = count.asked.end_sample
    segment.event(
        Event(
            type=TURN,
            start_sample=count.asked.start_sample,
            end_sample=end,
            speaker="user",
            text=count.asked.text,
            expect=Expect(
                act="respond",
                text=speech.text,
                window_samples=(end, end + segment.rules.samples(RESPOND_S)),
            ),
        )
    )
    return speech
