"""Somebody coughs, laughs, sighs or says `um` and no more: nothing is asked for.

The agent stays silent, or goes on. Recorded tics alone are used; the corpus that ships has
hesitations, throats that are cleared and laughs of its speakers.
"""

from __future__ import annotations

from typing import Final

from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import VOCAL_TIC
from microturn.datagen.scenarios.background.background import level
from microturn.datagen.scenarios.base import SegmentBuilder, register
from microturn.datagen.scenarios.counting import into_count
from microturn.datagen.scenarios.turns.interruption import first_turn
from microturn.datagen.scenarios.turns.user_backchannel import TAIL_S

KINDS: Final = ("silent", "silent", "counting")
OTHER_SHARE: Final = 0.25  # of somebody else in the room


@register
class VocalTicScenario:
    name = "vocal_tic"
    asks = ("count",)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        getattr(self, KINDS[segment.choose(KINDS)])(segment, start)

    def silent(self, segment: SegmentBuilder, start: int) -> None:
        """While the agent says nothing."""
        lane = _lane(segment)
        tic = _tic(segment, start, lane, into=False)
        window = (start, tic.end_sample + segment.rules.samples(segment.timing.background_tail_s))
        tic_event(segment, tic, lane, Expect(act="stay_silent", window_samples=window))
        segment.end_sample = max(segment.end_sample, window[1])

    def counting(self, segment: SegmentBuilder, start: int) -> None:
        """While the agent counts."""
        count, onset = into_count(segment, start)
        lane = _lane(segment)
        tic = _tic(segment, onset, lane, into=True)
        first_turn(segment, count)
        last = min(count.end_sample, tic.end_sample + segment.rules.samples(TAIL_S))
        window = (onset, max(last, onset + 1))
        tic_event(segment, tic, lane, Expect(act="resume", window_samples=window))


def tic_event(segment: SegmentBuilder, tic: Span, lane: str, expect: Expect) -> None:
    """The event of a vocal tic of the user, or of another person on lane `background`."""
    segment.event(
        Event(
            type=VOCAL_TIC,
            start_sample=tic.start_sample,
            end_sample=tic.end_sample,
            speaker=lane,
            text=tic.text,
            expect=expect,
        )
    )


def _lane(segment: SegmentBuilder) -> str:
    return "background" if segment.chance(OTHER_SHARE) else "user"


def _tic(segment: SegmentBuilder, start: int, lane: str, *, into: bool) -> Span:
    agent = segment.context.config.voices.agent
    unit = segment.context.mixture.tic(segment.rng, into=into, agent=agent)
    if unit is None:
        raise ValueError(
            f"nobody in split {segment.bank.split!r} of {segment.bank.corpus.name} has recorded a "
            "vocal tic alone; set families.vocal_tic=0, name transcripts in scenarios.vocal_tics "
            "or add a corpus"
        )
    gain = level(segment) if lane == "background" else 0.0
    return segment.place(unit, start, lane=lane, gain_db=gain)
