"""The user asks something and yields; the agent answers."""

from microturn.datagen.scenarios.base import Stage, register


@register
class Turn:
    name = "turn"

    def build(self, stage: Stage, start: int) -> None:
        question = stage.questions.turn(stage.rng)
        asked = stage.ask(question, start)
        stage.answer(question, asked)
