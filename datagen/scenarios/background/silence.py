"""Silence until the dialogue is over: only the room is heard."""

from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import SILENCE
from microturn.datagen.scenarios.base import SegmentBuilder, register


@register
class SilenceScenario:
    """For evaluation: silence, noise or music for minutes, and nothing to say."""

    name = "hush"

    def build(self, segment: SegmentBuilder, start: int) -> None:
        end = segment.n_samples
        segment.event(
            Event(
                type=SILENCE,
                start_sample=0,
                end_sample=end,
                speaker="room",
                expect=Expect(act="stay_silent", window_samples=(0, end)),
            )
        )
        segment.end_sample = end
