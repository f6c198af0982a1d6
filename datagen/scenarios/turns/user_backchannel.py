"""While the agent counts, the user says `uh huh` or the like; the agent goes on."""

from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import USER_BACKCHANNEL
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.counting import ask_to_count
from microturn.datagen.scenarios.turns.interruption import first_turn

MIN_COUNT = 5
WORDS_LEFT = 2
MAX_LENGTH_S = 1.2
TAIL_S = 1.0  # how long after the backchannel the agent must still be heard, if it has words left


@register
class UserBackchannelScenario:
    name = "user_backchannel"

    def build(self, segment: SegmentBuilder, start: int) -> None:
        vocabulary = segment.questions.vocabulary
        phrases = segment.bank.phrases(vocabulary.backchannels, longest_s=MAX_LENGTH_S)
        if not phrases:
            raise ValueError(
                f"no voice of split {segment.bank.split!r} says one of vocabulary.backchannels "
                f"within {MAX_LENGTH_S} s; set families.user_backchannel=0 or add a corpus"
            )
        count = ask_to_count(segment, start, shortest=MIN_COUNT)
        onset = count.inside(segment, 1, len(count.planned) - WORDS_LEFT)
        spoken = segment.utter(phrases[segment.choose(phrases)], onset)
        first_turn(segment, count)
        last = min(count.end_sample, spoken.end_sample + segment.rules.samples(TAIL_S))
        segment.event(
            Event(
                type=USER_BACKCHANNEL,
                start_sample=spoken.start_sample,
                end_sample=spoken.end_sample,
                speaker="user",
                text=spoken.text,
                expect=Expect(
                    act="resume", window_samples=(spoken.start_sample, max(last, spoken.end_sample))
                ),
            )
        )
