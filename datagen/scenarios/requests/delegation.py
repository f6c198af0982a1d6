"""A request for the background agent: acknowledge, delegate, and say the result when it is there.

While the background agent works the user may ask something else, which is answered first. A share
of the requests fails (`scenarios.failed_share`), which is a result, too.
"""

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.rules import RESPOND_S, RESULT_S, YIELD_S
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import DELEGATION, RESULT
from microturn.datagen.scenarios.base import SegmentBuilder, Words, failure_words, register
from microturn.datagen.scenarios.vocabulary import AT_ONCE

QUESTION_GAP_S = (0.3, 0.8)  # between the acknowledgement and another question


@register
class DelegationScenario:
    name = "delegation"
    asks = (*AT_ONCE, "task")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return failure_words(config)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        rules = segment.rules
        task = segment.worked_out(segment.questions.task(segment.rng))
        acknowledgement = segment.questions.vocabulary.acknowledgement
        asked = segment.ask(task, start)
        reply = rules.reply(asked.end_sample)
        segment.delegate(reply)
        speech = segment.say((acknowledgement,), reply)
        window = (asked.end_sample, asked.end_sample + rules.samples(RESPOND_S))
        segment.event(
            Event(
                type=DELEGATION,
                start_sample=asked.start_sample,
                end_sample=asked.end_sample,
                speaker="user",
                text=asked.text,
                expect=Expect(act="delegate", text=acknowledgement, window_samples=window),
            )
        )
        if segment.chance(segment.timing.second_question_probability):
            self._with_question(segment, task.answer, speech)
            return
        arrival = speech.start_sample + segment.draw(segment.timing.result_delay_s)
        known = segment.arrive(" ".join(task.answer), arrival)
        self._result(segment, task.answer, arrival, max(known, rules.free(speech.end_sample)))

    def _with_question(
        self, segment: SegmentBuilder, answer: tuple[str, ...], speech: Span
    ) -> None:
        """The result arrives once the agent can know of a new question, which goes first."""
        rules = segment.rules
        question = segment.questions.turn(segment.rng)
        other = segment.ask(
            question, speech.end_sample + segment.draw(QUESTION_GAP_S), may_pause=False
        )
        answered = segment.answer(question, other)
        noticed = other.start_sample + rules.samples(YIELD_S)
        arrival = int(segment.rng.integers(noticed, answered.end_sample + rules.samples(RESULT_S)))
        known = segment.arrive(" ".join(answer), arrival)
        self._result(segment, answer, arrival, max(known, rules.free(answered.end_sample)))

    def _result(
        self, segment: SegmentBuilder, answer: tuple[str, ...], arrival: int, at: int
    ) -> None:
        rules = segment.rules
        segment.say(answer, at)
        free = rules.boundary(at - 1)
        segment.event(
            Event(
                type=RESULT,
                start_sample=arrival,
                end_sample=arrival,
                speaker="background_agent",
                text=" ".join(answer),
                expect=Expect(
                    act="say",
                    text=" ".join(answer),
                    window_samples=(free, free + rules.samples(RESULT_S)),
                ),
            )
        )
