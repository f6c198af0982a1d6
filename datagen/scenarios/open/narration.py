"""The agent reads lines of one voice in their order; others stop it, agree, or talk beside it.

After it was stopped the agent is silent until it is asked to go on; it then begins the line again
in which it was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.open.speech import weights_of
from microturn.datagen.dialogue.script import DoesNotFit
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.open.floor import Floor
from microturn.datagen.scenarios.open.interjections import Interjections

MIN_LINES: Final = 3  # that a reader has recorded
REQUEST_S: Final = (0.8, 4.5)  # length of a user's line that asks the agent to read
PASSAGE: Final = (1, 3)  # lines that the agent reads in one go
WAIT_S: Final = (0.4, 1.6)  # between the phrase that stops the agent and the one to go on


@register
class NarrationScenario:
    name = "narration"
    asks = ()
    needs = f"a reader of at least {MIN_LINES} lines, and another speaker of the same language"

    def agents(self, sources: OpenSources) -> Mapping[str, float]:
        speech = sources.speech
        readers = [
            name
            for name in speech.agents
            if speech.speakers[name].n_told >= MIN_LINES and speech.has_partners(name)
        ]
        return weights_of(speech, readers)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        floor = Floor(segment, start)
        lines = self._lines(floor)
        interjections = Interjections(floor)
        if floor.user([_request(floor)]) is None:
            raise DoesNotFit
        read = 0
        while lines:
            passage = [floor.speech.agent_unit(one) for one in lines[: segment.whole(PASSAGE)]]
            planned = floor.fitting(floor.plan(passage))
            if not planned:
                break
            held = interjections.hold(planned)
            read += 1
            if held.stopped is None:
                lines = lines[len(planned) :]
                continue
            lines = lines[held.stopped :]
            if not self._goes_on(floor):
                break
        if not read:
            raise DoesNotFit
        floor.close()

    def _lines(self, floor: Floor) -> list[str]:
        """Ids of lines of the agent that follow one another, from a drawn one on."""
        segment = floor.segment
        chapters = [
            [line for line in chapter if line.is_told]
            for chapter in floor.speech.speakers[floor.cast.agent].chapters
        ]
        starts = [(number, at) for number, lines in enumerate(chapters) for at in range(len(lines))]
        number, first = starts[segment.choose(starts)]
        n = segment.whole(segment.context.config.scenarios.narrated_lines)
        chapter = chapters[number]
        first = max(min(first, len(chapter) - n), 0)
        return [line.id for line in chapter[first : first + n]]

    def _goes_on(self, floor: Floor) -> bool:
        """The user asks the agent to go on, if there is time for it and for an answer."""
        floor.wait(floor.segment.draw(WAIT_S))
        return floor.user([_request(floor)]) is not None


def _request(floor: Floor) -> Unit:
    """A phrase that asks to read on, where the user has recorded one, or a line of theirs."""
    user = floor.speech.speakers[floor.cast.user]
    ids: Sequence[str] = user.go_ons or [
        line.id for line in user.told if REQUEST_S[0] <= line.duration_s <= REQUEST_S[1]
    ]
    ids = ids or [line.id for line in user.told]
    return floor.user_unit(ids[floor.segment.choose(ids)])
