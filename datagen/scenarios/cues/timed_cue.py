"""`three seconds monday`: the agent says a word after so many seconds, and not before."""

from microturn.datagen.dialogue.rules import CUE_EARLY_S, CUE_LATE_S
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import TIMED_CUE
from microturn.datagen.scenarios.base import SegmentBuilder, register


@register
class TimedCueScenario:
    name = "timed_cue"
    asks = ("cue",)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        rules = segment.rules
        question = segment.questions.cue(segment.rng)
        asked = segment.ask(question, start)
        segment.say(question.answer, rules.cue(asked.end_sample, question.seconds))
        due = asked.end_sample + rules.samples(question.seconds)
        window = (due - rules.samples(CUE_EARLY_S), due + rules.samples(CUE_LATE_S))
        expect = Expect(act="say", text=" ".join(question.answer), window_samples=window)
        segment.event(
            Event(
                type=TIMED_CUE,
                start_sample=asked.start_sample,
                end_sample=asked.end_sample,
                speaker="user",
                text=asked.text,
                expect=expect,
            )
        )
