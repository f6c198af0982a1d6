"""A request for the background agent: acknowledge, delegate, and say the result when it is there.

While the background agent works the user may ask something else, which is answered first.
"""

from microturn.datagen.rules import RESPOND_S, RESULT_S, YIELD_S
from microturn.datagen.scenarios.base import Span, Stage, register
from microturn.datagen.timeline import Event, Expect

QUESTION_GAP_S = (0.3, 0.8)  # between the acknowledgement and another question


@register
class Delegation:
    name = "delegation"

    def build(self, stage: Stage, start: int) -> None:
        rules = stage.rules
        task = stage.questions.task(stage.rng)
        acknowledgement = stage.questions.vocabulary.acknowledgement
        asked = stage.ask(task, start)
        reply = rules.reply(asked.end)
        stage.delegate(reply)
        said = stage.say((acknowledgement,), reply)
        window = (asked.end, asked.end + rules.samples(RESPOND_S))
        stage.event(
            Event(
                type="delegation",
                start=asked.start,
                end=asked.end,
                speaker="user",
                text=asked.text,
                expect=Expect(act="delegate", text=acknowledgement, window=window),
            )
        )
        if stage.chance(stage.timing.second_question_probability):
            self._with_question(stage, task.answer, said)
            return
        arrival = said.start + stage.draw(stage.timing.result_delay)
        known = stage.arrive(" ".join(task.answer), arrival)
        self._result(stage, task.answer, arrival, max(known, rules.free(said.end)))

    def _with_question(self, stage: Stage, answer: tuple[str, ...], said: Span) -> None:
        """The result arrives once the agent can know of a new question, which goes first."""
        rules = stage.rules
        question = stage.questions.turn(stage.rng)
        other = stage.ask(question, said.end + stage.draw(QUESTION_GAP_S), may_pause=False)
        answered = stage.answer(question, other)
        noticed = other.start + rules.samples(YIELD_S)
        arrival = int(stage.rng.integers(noticed, answered.end + rules.samples(RESULT_S)))
        known = stage.arrive(" ".join(answer), arrival)
        self._result(stage, answer, arrival, max(known, rules.free(answered.end)))

    def _result(self, stage: Stage, answer: tuple[str, ...], arrival: int, at: int) -> None:
        rules = stage.rules
        stage.say(answer, at)
        free = rules.boundary(at - 1)
        stage.event(
            Event(
                type="result",
                start=arrival,
                end=arrival,
                speaker="background_agent",
                text=" ".join(answer),
                expect=Expect(
                    act="say",
                    text=" ".join(answer),
                    window=(free, free + rules.samples(RESULT_S)),
                ),
            )
        )
