"""A request that the agent refuses, or one that only looks like it and is answered."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register

NUMBER = "{number}"
ROOM_S = 2.5  # after any request, so that the time left does not tell whether it is forbidden


@register
class ForbiddenScenario:
    name = "forbidden"
    asks = ("number",)

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        options = config.scenarios
        asked = [*options.forbidden, *options.harmless]
        answers = [word for text in options.harmless.values() for word in text.split()]
        user = [word for text in asked for word in text.split()]
        return Words(
            agent=(options.refusal, *(word for word in answers if word != NUMBER)),
            user=tuple(word for word in user if word != NUMBER),
        )

    def build(self, segment: SegmentBuilder, start: int) -> None:
        options = segment.context.config.scenarios
        numbers = segment.questions.vocabulary.numbers
        number = numbers[segment.choose(numbers)]
        refused = not options.harmless or segment.chance(options.forbidden_share)
        requests = options.forbidden if refused else tuple(options.harmless)
        request = requests[segment.choose(requests)]
        words = request.replace(NUMBER, number).split()
        spans = segment.recite(words, start)
        asked = Span(start_sample=start, end_sample=spans[-1].end_sample, text=" ".join(words))
        segment.must_end_by(asked.end_sample + segment.rules.samples(ROOM_S))
        if refused:
            segment.react(asked, (options.refusal,), event=self.name, act="refuse")
        else:
            answer = options.harmless[request].replace(NUMBER, number)
            segment.react(asked, answer.split(), event=self.name)
