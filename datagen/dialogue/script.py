"""A script: the timeline of a dialogue and the recordings that make it sound."""

from __future__ import annotations

from dataclasses import dataclass, field

from microturn.datagen.dialogue.camera_acts import Acts
from microturn.datagen.dialogue.timeline import Timeline, Word
from microturn.datagen.dialogue.units import Unit

OVERLAY = "overlay"  # stands for a family where a voice was put over the dialogue
SOUND = "sound"  # and this where a sound was that the agent goes on through


class DoesNotFit(Exception):
    """A segment would run past the end of the dialogue."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A unit that sounds from `start_sample`; broken off after `n_samples`."""

    unit: Unit
    start_sample: int
    n_samples: int
    lane: str
    gain_db: float = 0.0
    place: str = ""  # "beside" for somebody beside the user; else where the lane belongs

    @property
    def end_sample(self) -> int:
        return self.start_sample + self.n_samples


@dataclass(kw_only=True)
class Script:
    """A timeline and the clips that make it sound.

    `parts` are the scripts of which it was put together, each with its family.
    """

    timeline: Timeline
    clips: list[Clip] = field(default_factory=list)
    acts: Acts = field(default_factory=Acts)  # in front of the camera
    parts: list[tuple[str, Script]] = field(default_factory=list)

    def extend(self, other: Script) -> None:
        self.timeline.extend(other.timeline)
        self.clips.extend(other.clips)
        self.acts.extend(other.acts)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where something that was said begins and ends."""

    start_sample: int
    end_sample: int
    text: str


def words_at(unit: Unit, start: int) -> list[Word]:
    """Return the words of a unit that sounds from a sample on."""
    return [
        Word(
            text=word.text,
            start_sample=start + word.start_sample,
            end_sample=start + word.end_sample,
            source=unit.source,
            voice=unit.voice,
            times=word.times,
        )
        for word in unit.words
    ]
