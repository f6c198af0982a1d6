"""Sounds that are put into a dialogue of open speech: a distant voice, a noise, music.

Each begins at a moment drawn over the whole dialogue, whatever is said there. Nothing else is
changed: the agent is expected to do what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from microturn.datagen.dialogue.expectations import expectation_during
from microturn.datagen.dialogue.script import SOUND, Script
from microturn.datagen.dialogue.timeline import Event
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.event_types import BACKGROUND_SPEECH, MUSIC, NOISE
from microturn.datagen.labels.voice_names import speaker_of
from microturn.datagen.scenarios.background.background import burst, level, voice
from microturn.datagen.scenarios.background.music import music
from microturn.datagen.scenarios.base import SegmentBuilder
from microturn.model.streams import normalise


def add_sound(segment: SegmentBuilder, script: Script, kind: str) -> None:
    """Put one sound of a kind into a script, if the dialogue is long enough for it."""
    unit, gain_db = _MAKERS[kind](segment, script)
    first = max((end for start, end in script.timeline.without_loss if not start), default=0)
    last = segment.n_samples - unit.n_samples
    if first >= last:
        return
    start = int(segment.rng.integers(first, last))
    span = segment.place(unit, start, lane="background", gain_db=gain_db)
    rules, tail_s = segment.rules, segment.timing.background_tail_s
    expect = expectation_during(
        script.timeline, start, span.end_sample, rate=rules.rate, tail=rules.samples(tail_s)
    )
    segment.event(
        Event(
            type=kind,
            start_sample=start,
            end_sample=span.end_sample,
            speaker="background",
            text=normalise(span.text),
            expect=expect,
        )
    )
    script.extend(segment.script)
    script.parts.append((SOUND, segment.script))


def _voice(segment: SegmentBuilder, script: Script) -> tuple[Unit, float]:
    """A voice of nobody who speaks in the dialogue."""
    present = {speaker_of(clip.unit.voice) for clip in script.clips}
    return voice(segment, present=present), level(segment)


def _noise(segment: SegmentBuilder, script: Script) -> tuple[Unit, float]:
    return burst(segment), level(segment)


def _music(segment: SegmentBuilder, script: Script) -> tuple[Unit, float]:
    return music(segment)


_MAKERS: Final[Mapping[str, Callable[[SegmentBuilder, Script], tuple[Unit, float]]]] = {
    BACKGROUND_SPEECH: _voice,
    NOISE: _noise,
    MUSIC: _music,
}
