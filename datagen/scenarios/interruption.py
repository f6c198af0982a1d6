"""While the agent counts, the user takes the floor with a new question or a phrase to stop."""

from microturn.datagen.rules import RESPOND_S, STOP_S
from microturn.datagen.scenarios.base import Span, Stage, register
from microturn.datagen.scenarios.counting import Count, ask_to_count
from microturn.datagen.timeline import Event, Expect

WORDS_LEFT = 3  # words that the agent still meant to say when it was interrupted
SHORTEST_COUNT = 5


@register
class Interruption:
    name = "interruption"

    def build(self, stage: Stage, start: int) -> None:
        count = ask_to_count(stage, start, shortest=SHORTEST_COUNT)
        onset = count.inside(stage, 1, len(count.planned) - WORDS_LEFT)
        question = None
        vocabulary = stage.questions.vocabulary
        phrases = stage.bank.phrases(vocabulary.stop_phrases)
        if phrases and stage.chance(vocabulary.stop_phrase_share):
            spoken = stage.utter(phrases[stage.choose(phrases)], onset)
        elif vocabulary.stop_word_share and stage.chance(vocabulary.stop_word_share):
            text = vocabulary.stop_words[stage.choose(vocabulary.stop_words)]
            spoken = stage.place(stage.bank.user(text, stage.cast.voice), onset, lane="user")
        else:
            question = stage.questions.long_turn(stage.rng)
            spoken = stage.ask(question, onset, may_pause=False)
        first_turn(stage, count, until=stage.give_way(onset))
        interrupted(stage, spoken)
        if question is not None:
            stage.answer(question, spoken)


def interrupted(stage: Stage, spoken: Span) -> None:
    """The event of a user who has taken the floor: the agent falls silent in time."""
    onset = spoken.start
    stage.event(
        Event(
            type="interruption",
            start=onset,
            end=spoken.end,
            speaker="user",
            text=spoken.text,
            expect=Expect(act="stop", window=(onset, onset + stage.rules.samples(STOP_S))),
        )
    )


def first_turn(stage: Stage, count: Count, *, until: int | None = None) -> Span:
    """The agent answers the request to count, up to micro-turn `until` or to the end."""
    said = stage.say(count.question.answer, stage.rules.reply(count.asked.end), until=until)
    end = count.asked.end
    stage.event(
        Event(
            type="turn",
            start=count.asked.start,
            end=end,
            speaker="user",
            text=count.asked.text,
            expect=Expect(
                act="respond", text=said.text, window=(end, end + stage.rules.samples(RESPOND_S))
            ),
        )
    )
    return said
