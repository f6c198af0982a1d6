"""A request for the background agent: acknowledge, delegate, and say the result when it is there.

While the background agent works the user may ask something else, which is answered first.
"""

from microturn.datagen.dialogue.rules import RESPOND_S, RESULT_S, YIELD_S
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import DELEGATION, RESULT
from microturn.datagen.scenarios.base import SegmentBuilder, register

QUESTION_GAP_S = (0.3, 0.8)  # between the acknowledgement and another question


@register
class DelegationScenario:
    name = "delegation"

    def build(self, segment: SegmentBuilder, start: int) -> None:
        rules = segment.rules
        task = segment.questions.task(segment.rng)
        acknowledgement = segment.questions.vocabulary.acknowledgement
        asked = segment.ask(task, start)
        reply = rules.reply(asked.end)
        segment.delegate(reply)
        said = segment.say((acknowledgement,), reply)
        window = (asked.end, asked.end + rules.samples(RESPOND_S))
        segment.event(
            Event(
                type=DELEGATION,
                start=asked.start,
                end=asked.end,
                speaker="user",
                text=asked.text,
                expect=Expect(act="delegate", text=acknowledgement, window=window),
            )
        )
        if segment.chance(segment.timing.second_question_probability):
            self._with_question(segment, task.answer, said)
            return
        arrival = said.start + segment.draw(segment.timing.result_delay)
        known = segment.arrive(" ".join(task.answer), arrival)
        self._result(segment, task.answer, arrival, max(known, rules.free(said.end)))

    def _with_question(self, segment: SegmentBuilder, answer: tuple[str, ...], said: Span) -> None:
        """The result arrives once the agent can know of a new question, which goes first."""
        rules = segment.rules
        question = segment.questions.turn(segment.rng)
        other = segment.ask(question, said.end + segment.draw(QUESTION_GAP_S), may_pause=False)
        answered = segment.answer(question, other)
        noticed = other.start + rules.samples(YIELD_S)
        arrival = int(segment.rng.integers(noticed, answered.end + rules.samples(RESULT_S)))
        known = segment.arrive(" ".join(answer), arrival)
        self._result(segment, answer, arrival, max(known, rules.free(answered.end)))

    def _result(
        self, segment: SegmentBuilder, answer: tuple[str, ...], arrival: int, at: int
    ) -> None:
        rules = segment.rules
        segment.say(answer, at)
        free = rules.boundary(at - 1)
        segment.event(
            Event(
                type=RESULT,
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
