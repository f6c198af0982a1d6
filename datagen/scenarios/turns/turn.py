"""The user asks something and yields; the agent answers."""

from microturn.datagen.scenarios.base import SegmentBuilder, register


@register
class TurnScenario:
    name = "turn"

    def build(self, segment: SegmentBuilder, start: int) -> None:
        question = segment.questions.turn(segment.rng)
        asked = segment.ask(question, start)
        segment.answer(question, asked)
