"""`three seconds monday`: the agent says a word after so many seconds, and not before."""

from microturn.datagen.rules import CUE_EARLY_S, CUE_LATE_S
from microturn.datagen.scenarios.base import Stage, register
from microturn.datagen.timeline import Event, Expect


@register
class TimedCue:
    name = "timed_cue"

    def build(self, stage: Stage, start: int) -> None:
        rules = stage.rules
        question = stage.questions.cue(stage.rng)
        asked = stage.ask(question, start)
        stage.say(question.answer, rules.cue(asked.end, question.seconds))
        due = asked.end + rules.samples(question.seconds)
        window = (due - rules.samples(CUE_EARLY_S), due + rules.samples(CUE_LATE_S))
        expect = Expect(act="say", text=" ".join(question.answer), window=window)
        stage.event(
            Event(
                type="timed_cue",
                start=asked.start,
                end=asked.end,
                speaker="user",
                text=asked.text,
                expect=expect,
            )
        )
