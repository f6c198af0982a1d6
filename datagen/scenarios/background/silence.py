"""Silence for as long as the dialogue allows, then a question."""

from typing import Final

from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import SILENCE
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.vocabulary import AT_ONCE

QUESTION_S: Final = (8.0, 12.0)  # before the end of the dialogue


@register
class SilenceScenario:
    """For evaluation: silence, noise or music for minutes with nothing to say, then a question.

    Without the question, an agent that is switched off would be perfect.
    """

    name = "hush"
    asks = AT_ONCE

    def build(self, segment: SegmentBuilder, start: int) -> None:
        end = segment.n_samples - segment.draw(QUESTION_S)
        segment.event(
            Event(
                type=SILENCE,
                start_sample=0,
                end_sample=end,
                speaker="room",
                expect=Expect(act="stay_silent", window_samples=(0, end)),
            )
        )
        question = segment.questions.turn(segment.rng)
        segment.answer(question, segment.ask(question, end, may_pause=False))
        segment.end_sample = segment.n_samples
