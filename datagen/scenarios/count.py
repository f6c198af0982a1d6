"""For evaluation, where every answer has to be longer than a word: the agent only ever counts.

count    nobody disturbs it
recount  the user takes the floor with another request to count
"""

from microturn.datagen.scenarios.base import Stage, register
from microturn.datagen.scenarios.counting import ask_to_count
from microturn.datagen.scenarios.interruption import WORDS_LEFT, first_turn, interrupted

SHORTEST_COUNT = 4
INTERRUPTED_COUNT = 5


@register
class Counted:
    name = "count"

    def build(self, stage: Stage, start: int) -> None:
        first_turn(stage, ask_to_count(stage, start, shortest=SHORTEST_COUNT))


@register
class Recounted:
    name = "recount"

    def build(self, stage: Stage, start: int) -> None:
        count = ask_to_count(stage, start, shortest=INTERRUPTED_COUNT)
        onset = count.inside(stage, 1, len(count.planned) - WORDS_LEFT)
        again = stage.questions.count(stage.rng, shortest=SHORTEST_COUNT)
        spoken = stage.ask(again, onset, may_pause=False)
        first_turn(stage, count, until=stage.give_way(onset))
        interrupted(stage, spoken)
        stage.answer(again, spoken)
