"""While the agent counts, the user says `uh huh` or the like; the agent goes on."""

from microturn.datagen.scenarios.base import Stage, register
from microturn.datagen.scenarios.counting import ask_to_count
from microturn.datagen.scenarios.interruption import first_turn
from microturn.datagen.timeline import Event, Expect

SHORTEST_COUNT = 5
WORDS_LEFT = 2
LONGEST_S = 1.2
TAIL_S = 1.0  # how long after the backchannel the agent must still be heard, if it has words left


@register
class UserBackchannel:
    name = "user_backchannel"

    def build(self, stage: Stage, start: int) -> None:
        vocabulary = stage.questions.vocabulary
        phrases = stage.bank.phrases(vocabulary.backchannels, longest_s=LONGEST_S)
        if not phrases:
            raise ValueError(
                f"no voice of split {stage.bank.split!r} says one of vocabulary.backchannels "
                f"within {LONGEST_S} s; set families.user_backchannel=0 or add a corpus"
            )
        count = ask_to_count(stage, start, shortest=SHORTEST_COUNT)
        onset = count.inside(stage, 1, len(count.planned) - WORDS_LEFT)
        spoken = stage.utter(phrases[stage.choose(phrases)], onset)
        first_turn(stage, count)
        last = min(count.end, spoken.end + stage.rules.samples(TAIL_S))
        stage.event(
            Event(
                type="user_backchannel",
                start=spoken.start,
                end=spoken.end,
                speaker="user",
                text=spoken.text,
                expect=Expect(act="resume", window=(spoken.start, max(last, spoken.end))),
            )
        )
