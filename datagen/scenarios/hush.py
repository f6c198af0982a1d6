"""Nobody says anything until the dialogue is over: whatever is heard is the room."""

from microturn.datagen.scenarios.base import Stage, register
from microturn.datagen.timeline import Event, Expect


@register
class Hush:
    """For evaluation: silence, noise or music for minutes, and nothing to say."""

    name = "hush"

    def build(self, stage: Stage, start: int) -> None:
        end = stage.n_samples
        stage.event(
            Event(
                type="silence",
                start=0,
                end=end,
                speaker="room",
                expect=Expect(act="stay_silent", window=(0, end)),
            )
        )
        stage.end = end
