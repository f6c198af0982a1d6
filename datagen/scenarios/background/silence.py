"""Silence for as long as the dialogue allows, then two questions."""

from typing import Final

from microturn.datagen.dialogue.script import DoesNotFit
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import SILENCE
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.vocabulary import AT_ONCE, Question

QUESTION_S: Final = (14.0, 18.0)  # before the end of the dialogue
N_QUESTIONS: Final = 2  # so that no phrase is right by chance
BETWEEN_S: Final = (1.0, 2.0)
TRIES: Final = 64  # for a question that an echo of its last word does not answer


@register
class SilenceScenario:
    """For evaluation: silence, noise or music for minutes with nothing to say, then questions.

    Without these, an agent that is switched off would be perfect.
    """

    name = "hush"
    asks = AT_ONCE

    def build(self, segment: SegmentBuilder, start: int) -> None:
        end = segment.n_samples - segment.draw(QUESTION_S)
        if end <= start:
            raise DoesNotFit
        lead_in = round(segment.timing.lead_in_s[1] * segment.context.config.layout.sample_rate)
        begin = 0 if start <= lead_in else start  # nobody has spoken, or somebody has
        segment.event(
            Event(
                type=SILENCE,
                start_sample=begin,
                end_sample=end,
                speaker="room",
                expect=Expect(act="stay_silent", window_samples=(begin, end)),
            )
        )
        at = end
        for number in range(N_QUESTIONS):
            question = segment.questions.turn(segment.rng) if number else _no_echo(segment)
            spoken = segment.answer(question, segment.ask(question, at, may_pause=False))
            at = spoken.end_sample + segment.draw(BETWEEN_S)
        segment.end_sample = segment.n_samples


def _no_echo(segment: SegmentBuilder) -> Question:
    """A question whose answer is not its own last word, if the vocabulary has one."""
    for _ in range(TRIES):
        question = segment.questions.turn(segment.rng)
        if question.answer != question.words[-1:]:
            break
    return question
