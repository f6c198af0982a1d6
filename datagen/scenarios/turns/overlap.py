"""Something is said into the agent's count: the four situations of Full-Duplex-Bench v1.5.

The user interrupts, says a backchannel, or talks to another person; or a voice in the background
speaks. Each is as likely, and all of them begin while the agent is counting.
"""

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.scenarios.background.background import BackgroundScenario
from microturn.datagen.scenarios.background.side_talk import SideTalkScenario
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.turns.interruption import InterruptionScenario
from microturn.datagen.scenarios.turns.user_backchannel import UserBackchannelScenario
from microturn.datagen.scenarios.vocabulary import AT_ONCE

BUILDS = (
    InterruptionScenario().build,
    UserBackchannelScenario().build,
    SideTalkScenario().counting,
    BackgroundScenario().counting,
)


@register
class OverlapScenario:
    name = "overlap"
    asks = (*AT_ONCE, "count")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        kinds = (InterruptionScenario(), UserBackchannelScenario(), SideTalkScenario())
        return Words(user=tuple(text for kind in kinds for text in kind.words(config, bank).user))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        BUILDS[segment.choose(BUILDS)](segment, start)
