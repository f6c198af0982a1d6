"""While the agent counts, the user takes the floor with a new question or a phrase to stop."""

from microturn.datagen.dialogue.rules import RESPOND_S, STOP_S
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import INTERRUPTION, TURN
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.counting import Count, ask_to_count

WORDS_LEFT = 3  # words that the agent still meant to say when it was interrupted
MIN_COUNT = 5


@register
class InterruptionScenario:
    name = "interruption"

    def build(self, segment: SegmentBuilder, start: int) -> None:
        count = ask_to_count(segment, start, shortest=MIN_COUNT)
        onset = count.inside(segment, 1, len(count.planned) - WORDS_LEFT)
        question = None
        vocabulary = segment.questions.vocabulary
        phrases = segment.bank.phrases(vocabulary.stop_phrases)
        if phrases and segment.chance(vocabulary.stop_phrase_share):
            spoken = segment.utter(phrases[segment.choose(phrases)], onset)
        elif vocabulary.stop_word_share and segment.chance(vocabulary.stop_word_share):
            text = vocabulary.stop_words[segment.choose(vocabulary.stop_words)]
            spoken = segment.place(
                segment.bank.user(text, segment.context.voice), onset, lane="user"
            )
        else:
            question = segment.questions.long_turn(segment.rng)
            spoken = segment.ask(question, onset, may_pause=False)
        first_turn(segment, count, until=segment.give_way(onset))
        interrupted(segment, spoken)
        if question is not None:
            segment.answer(question, spoken)


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
