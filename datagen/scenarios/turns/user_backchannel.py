"""While the agent counts, the user says `uh huh` or the like; the agent goes on."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import USER_BACKCHANNEL
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.counting import into_count
from microturn.datagen.scenarios.turns.interruption import first_turn

TAIL_S = 1.0  # how long after the backchannel the agent must still be heard, if it has words left


@register
class UserBackchannelScenario:
    name = "user_backchannel"
    asks = ("count",)

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return Words(user=bank.sayable(config.vocabulary.backchannels))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        count, onset = into_count(segment, start)
        spoken = segment.place(segment.backchannel(segment.speaker()), onset, lane="user")
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
