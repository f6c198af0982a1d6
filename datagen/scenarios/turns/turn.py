"""The user asks something and yields; the agent answers."""

from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.vocabulary import AT_ONCE


@register
class TurnScenario:
    name = "turn"
    asks = AT_ONCE

    def build(self, segment: SegmentBuilder, start: int) -> None:
        question = segment.questions.turn(segment.rng)
        asked = segment.ask(question, start)
        segment.answer(question, asked)
