"""A dialogue whose turns were recorded one by one: one of its people is the agent.

Everybody else is a user. The next turn of a user may break the agent off, or a phrase of theirs;
backchannels, asides and distant voices leave it as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from microturn.datagen.dialogue.open.scripted_dialogues import SpeakerTurn
from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.script import DoesNotFit
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.open.floor import Floor
from microturn.datagen.scenarios.open.interjections import Interjections

TURN_GAP_S: Final = 0.4  # from one turn to the next, for the length of a dialogue


@register
class ScriptedScenario:
    name = "scripted"
    asks = ()
    needs = "a scripted dialogue in which they speak"

    def agents(self, sources: OpenSources) -> Mapping[str, float]:
        found = sources.scripted.by_agent
        return {name: len(dialogues) ** 0.5 for name, dialogues in found.items()}

    def build(self, segment: SegmentBuilder, start: int) -> None:
        floor = Floor(segment, start)
        dialogues = floor.sources.scripted
        places = dialogues.by_agent[floor.cast.agent]
        turns = _window(floor, dialogues.turns(places[segment.choose(places)]))
        others = [turn.speaker for turn in turns if turn.speaker != floor.cast.agent]
        if not others or len(others) == len(turns):
            raise DoesNotFit
        floor.cast = replace(floor.cast, user=others[0], variant=segment.variant())
        self._play(floor, turns)
        if not (segment.timeline.agent and segment.timeline.user):
            raise DoesNotFit
        floor.close()

    def _play(self, floor: Floor, turns: Sequence[SpeakerTurn]) -> None:
        """Place turn after turn until the dialogue or the time is over."""
        agent = floor.cast.agent
        calm = Interjections(floor, may_stop=False)
        eager = calm if floor.human.enabled else Interjections(floor)
        for number, turn in enumerate(turns):
            if turn.speaker != agent:
                span = floor.user(_said_by_user(floor, turn))
                if span is None:
                    return
                calm.listen(span)
                continue
            planned = floor.plan([floor.speech.agent_unit(line_id) for line_id in turn.lines])
            if len(floor.fitting(planned)) < len(planned):
                floor.talk_to_the_end(planned)
                return
            after = turns[number + 1] if number + 1 < len(turns) else None
            if after is None:
                calm.hold(planned)
                continue
            stop = floor.breaks_in(planned, next(_said_by_user(floor, after)))
            if stop is not None:
                floor.agent(planned, stop=stop)
            else:
                eager.hold(planned)


def _said_by_user(floor: Floor, turn: SpeakerTurn) -> Iterator[Unit]:
    """Lines of a turn of somebody who is not the agent, read when asked for."""
    return (floor.user_unit(line_id, turn.speaker) for line_id in turn.lines)


def _window(floor: Floor, turns: Sequence[SpeakerTurn]) -> list[SpeakerTurn]:
    """All turns if there is time for them, else those from a drawn one on."""
    corpus = floor.speech.bank.corpus
    left_s = (floor.segment.n_samples - floor.end) / floor.rules.rate
    ahead_s, firsts = 0.0, [0]
    for number in range(len(turns) - 1, -1, -1):
        ahead_s += TURN_GAP_S + sum(corpus[line].duration_s for line in turns[number].lines)
        if ahead_s >= left_s:
            firsts = list(range(number + 1))
            break
    first = firsts[floor.segment.choose(firsts)]
    return list(turns[first:])
