"""For evaluation, where every answer has to be longer than a word: the agent only ever counts.

count    undisturbed
recount  the user takes the floor with another request to count
"""

from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.counting import ask_to_count, into_count
from microturn.datagen.scenarios.turns.interruption import first_turn, interrupted

MIN_COUNT = 4


@register
class CountedScenario:
    name = "count"
    asks = ("count",)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        first_turn(segment, ask_to_count(segment, start, shortest=MIN_COUNT))


@register
class RecountedScenario:
    name = "recount"
    asks = ("count",)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        count, onset = into_count(segment, start)
        again = segment.questions.count(segment.rng, shortest=MIN_COUNT)
        spoken = segment.ask(again, onset, may_pause=False)
        first_turn(segment, count, until=segment.give_way(onset))
        interrupted(segment, spoken)
        segment.answer(again, spoken)
