"""The user says a sentence, and the agent says the same in its own voice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.script import DoesNotFit
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.open.floor import Floor

ROUNDS: Final = (1, 4)


@register
class RepeatAfterScenario:
    name = "repeat_after"
    asks = ()
    needs = "a text of at least two words that another speaker has recorded too"

    def agents(self, sources: OpenSources) -> Mapping[str, float]:
        found = sources.parallels.by_speaker
        return {name: len(found[name]) ** 0.5 for name in sources.speech.agents if name in found}

    def build(self, segment: SegmentBuilder, start: int) -> None:
        floor = Floor(segment, start)
        parallels, agent = floor.sources.parallels, floor.cast.agent
        texts = parallels.by_speaker[agent]
        takes = parallels.takes(texts[segment.choose(texts)])
        others = sorted(name for name in takes if name != agent)
        user = others[segment.choose(others)]
        floor.cast = replace(floor.cast, user=user, variant=segment.variant())
        shared = [text for text in texts if user in parallels.takes(text)]
        said = 0
        for _ in range(segment.whole(ROUNDS)):
            takes = parallels.takes(shared[segment.choose(shared)])
            if not self._round(floor, takes[user], takes[agent]):
                break
            said += 1
        if not said:
            raise DoesNotFit
        floor.close()

    def _round(self, floor: Floor, asked: str, answer: str) -> bool:
        """One sentence of both; False where there is no time for it."""
        heard, spoken = floor.user_unit(asked), floor.speech.agent_unit(answer)
        longest = 2 * floor.samples(floor.human.longest_gap_s)
        if floor.end + longest + heard.n_samples + spoken.n_samples > floor.segment.n_samples:
            return False
        if floor.user([heard]) is None:
            return False
        floor.agent(floor.plan([spoken], may_overlap=False))
        return True
